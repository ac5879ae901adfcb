// When to try again. Pure: time and chance are arguments.

/** At once, then slower: a restarted daemon is back within the first few, a dead one is not hammered. */
const STEPS_MS = [0, 500, 1000, 2000, 4000, 8000, 10_000];
/** Each pause is shorter by up to this part, so that the viewers of a restarted daemon do not come as one. */
const JITTER = 0.3;
/** Only a connection that lasted starts the series anew: one that dies at once is no success. */
const LASTED_MS = 3000;

export class Backoff {
  #step = 0;
  #up_ms = null;
  #random;

  constructor(random = Math.random) {
    this.#random = random;
  }

  /** It works since `now_ms`. */
  up(now_ms) {
    this.#up_ms ??= now_ms;
  }

  /** It failed: how many ms to wait before the next attempt. */
  down(now_ms) {
    if (this.#up_ms !== null && now_ms - this.#up_ms >= LASTED_MS) this.#step = 0;
    this.#up_ms = null;
    const pause = STEPS_MS[Math.min(this.#step, STEPS_MS.length - 1)];
    this.#step += 1;
    return Math.round(pause * (1 - JITTER * this.#random()));
  }

  /** Something changed (network, wake-up): the next failure is retried at once again. */
  reset() {
    this.#step = 0;
    this.#up_ms = null;
  }
}
