// A scheduled attempt; only one at a time.

export class Retry {
  #timer = null;
  #act = null;
  /** When the attempt starts (`performance.now()`), and the same as the page shows it; `null` if there is none, or if it is quiet. */
  at_ms = null;
  told_ms = null;

  get waits() {
    return this.#act !== null;
  }

  /** Starts `act` in `pause_ms` and cancels any earlier attempt. `quiet`: without a countdown on the page. */
  later(pause_ms, act, quiet = false) {
    this.cancel();
    this.#act = act;
    this.#timer = setTimeout(() => this.now(), pause_ms);
    this.at_ms = performance.now() + pause_ms;
    this.told_ms = quiet ? null : this.at_ms;
  }

  /** Starts the scheduled attempt at once. */
  now() {
    const act = this.#act;
    this.cancel();
    act?.();
  }

  cancel() {
    clearTimeout(this.#timer);
    this.#act = null;
    this.at_ms = null;
    this.told_ms = null;
  }
}
