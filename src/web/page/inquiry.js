// When there is a report of why it does not connect, and by which snapshot of the attempts. What is said is in diagnosis.js.

import { snapshot } from './snapshot.js';

/** Connecting longer than this is slow, whatever it waits for: on a network that works it takes well under one second. */
const SLOW_MS = 5000;
/** A new attempt has nothing to tell before this; until then the one before speaks. */
const YOUNG_MS = 4000;
/** States in which a report that was offered stays, so that it does not come and go with each attempt. */
const STAYS = ['connecting', 'no-path', 'frozen', 'ended', 'refused'];

export class Inquiry {
  #why = null;
  /** The snapshot that counts, with the generation it belongs to. */
  #seen = null;
  /** Whether there is a report to read, and whether it is being read. */
  offered = false;
  open = false;
  /** Its first sentence, `null` before it is known. */
  first = null;

  /** Takes statistics of an attempt, a second apart; `around` as for snapshot(), with `generation` and `attempt_ms`. */
  look(report, states, around) {
    const seen = this.#seen;
    const speaks = !seen || seen.generation === around.generation || around.attempt_ms > YOUNG_MS;
    if (speaks && (report || !seen)) this.#seen = snapshot(report, states, around);
  }

  /** Decides, by the state that is told (words.js), how long it has been connecting, and whether pictures are to come. */
  decide(state, connecting_ms, expected) {
    if (state === 'live') this.#seen = null;
    const slow = state === 'connecting' && connecting_ms > SLOW_MS && expected;
    // One that is being read is not taken away because the device does not answer meanwhile.
    const stays = this.offered && (STAYS.includes(state) || (this.open && state === 'away'));
    this.offered = this.#seen !== null && (state === 'no-path' || slow || stays);
    if (this.offered) return this.#draw();
    [this.open, this.first] = [false, null];
    this.#why?.clear();
  }

  async #draw() {
    if (!this.#why) {
      const loaded = await import('./why.js').catch(() => null);
      if (!loaded) return; // as in page.js
      this.#why ??= new loaded.Why();
    }
    if (this.#seen) this.first = this.#why.draw(this.#seen);
  }
}
