// An attempt that waits for its time; one at a time.

export class Retry {
  #timer = null;
  #act = null;
  /** When it starts (`performance.now()`), and when the page says that it does; `null` where none waits, or without a word. */
  at_ms = null;
  told_ms = null;

  get waits() {
    return this.#act !== null;
  }

  /** Starts `act` in `pause_ms`, in place of what waited before. `quiet`: without a countdown on the page. */
  later(pause_ms, act, quiet = false) {
    this.cancel();
    this.#act = act;
    this.#timer = setTimeout(() => this.now(), pause_ms);
    this.at_ms = performance.now() + pause_ms;
    this.told_ms = quiet ? null : this.at_ms;
  }

  /** Starts at once what waits. */
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
