// What nobody sees is not sent: which cameras are paused. Pure: time is an argument.

/** Who looks away for less than this finds the picture going on, and costs no keyframe. */
const HIDDEN_MS = 10_000;

export class Pausing {
  /** Since when a camera is not seen, by its name. */
  #since_ms = new Map();

  /** The names of those that are paused at `now_ms`; `all` is [{ name, visible }]. One that is seen again is not, at once. */
  look(all, now_ms) {
    const before = this.#since_ms;
    const hidden = all.filter(({ visible }) => !visible);
    this.#since_ms = new Map(hidden.map(({ name }) => [name, before.get(name) ?? now_ms]));
    return new Set(hidden.map(({ name }) => name).filter((name) => now_ms - this.#since_ms.get(name) >= HIDDEN_MS));
  }
}
