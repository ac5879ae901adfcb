// When to try again. Pure: time and randomness are arguments.

/** Pauses before the attempts, ms. A restarted daemon is back within the first few; a dead one gets few requests. */
const STEPS_MS = [0, 500, 1000, 2000, 4000, 8000, 10_000];
/** Each pause is shortened by up to this fraction, so that the viewers of a restarted daemon do not come all at once. */
const JITTER = 0.3;
/** A connection must last this long, ms, to restart the series: one that dies at once is no success. */
const LASTED_MS = 3000;

export class Backoff {
  #step = 0;
  #up_ms = null;
  #random;

  constructor(random = Math.random) {
    this.#random = random;
  }

  /** The connection works since `now_ms`. */
  up(now_ms) {
    this.#up_ms ??= now_ms;
  }

  /** The connection failed. Returns how many ms to wait before the next attempt. */
  down(now_ms) {
    if (this.#up_ms !== null && now_ms - this.#up_ms >= LASTED_MS) this.#step = 0;
    this.#up_ms = null;
    const pause = STEPS_MS[Math.min(this.#step, STEPS_MS.length - 1)];
    this.#step += 1;
    return Math.round(pause * (1 - JITTER * this.#random()));
  }

  /** Something changed (network, wake-up): the next failure is retried at once. */
  reset() {
    this.#step = 0;
    this.#up_ms = null;
  }
}
