// Decides when there is a report of why it does not connect, and from which snapshot. The report itself is made in diagnosis.js.

import { snapshot } from './snapshot.js';

/** Connecting for longer than this, ms, is slow, whatever the cause: on a working network it takes well under one second. */
const SLOW_MS = 5000;
/** A new attempt has no information before this time, ms; until then the previous one is reported. */
const YOUNG_MS = 4000;
/** States in which a report stays available once it was offered, so that it does not disappear and return with each attempt. */
const STAYS = ['connecting', 'no-path', 'frozen', 'ended', 'refused'];

export class Inquiry {
  #why = null;
  /** The snapshot that is reported, with its generation. */
  #seen = null;
  /** Whether there is a report, and whether it is open. */
  offered = false;
  open = false;
  /** The first sentence of the report; `null` before it is known. */
  first = null;

  /** Receives statistics of an attempt, one second apart; `around` as for snapshot(), with `generation` and `attempt_ms`. */
  look(report, states, around) {
    const seen = this.#seen;
    const speaks = !seen || seen.generation === around.generation || around.attempt_ms > YOUNG_MS;
    if (speaks && (report || !seen)) this.#seen = snapshot(report, states, around);
  }

  /** Decides from the state (words.js), the time since connecting began, and whether pictures are expected. */
  decide(state, connecting_ms, expected) {
    if (state === 'live') this.#seen = null;
    const slow = state === 'connecting' && connecting_ms > SLOW_MS && expected;
    // A report that somebody is reading is not removed because the device stops answering.
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
