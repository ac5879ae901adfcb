// What a screen reader is told of the state, and when. Pure: time is an argument.

/** A state is told once it has lasted this long, so that a passing one is not told at all, and the next one only once. */
const SETTLED_MS = { live: 500, connecting: 4000 };
const OTHERWISE_MS = 1500;

export class Announcer {
  #told = '';
  #next = '';
  #since_ms = 0;

  /** The text of the live region at `now_ms`, for a state as `describe` (words.js) tells it. */
  tell({ state, spoken }, now_ms) {
    if (spoken !== this.#next) [this.#next, this.#since_ms] = [spoken, now_ms];
    const settled_ms = this.#told === '' ? 0 : (SETTLED_MS[state] ?? OTHERWISE_MS);
    if (now_ms - this.#since_ms >= settled_ms) this.#told = this.#next;
    return this.#told;
  }
}
