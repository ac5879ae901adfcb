// When to say why it does not connect, and by which snapshot of the attempts. What is said is in diagnosis.js.

import { snapshot } from './snapshot.js';

/** Connecting longer than this is slow, whatever it waits for: on a network that works it takes well under one second. */
const SLOW_MS = 5000;
/** A new attempt has nothing to tell before this; until then the one before speaks. */
const YOUNG_MS = 4000;
/** States in which a report that is shown stays shown, so that it does not come and go with each attempt. */
const STAYS = ['connecting', 'no-path', 'frozen', 'ended'];

export class Inquiry {
  #changed;
  #why = null;
  #closed = false;
  /** The snapshot that counts, with the generation it belongs to. */
  seen = null;
  /** Whether the report is on the stage. */
  shown = false;

  /** `changed()` when the report was closed or has come. */
  constructor(changed) {
    this.#changed = changed;
    document.getElementById('why-close').addEventListener('click', () => {
      this.#closed = true;
      this.shown = false;
      this.#changed();
    });
  }

  /** Takes statistics of an attempt, a second apart; `around` as for snapshot(), with `generation` and `attempt_ms`. */
  look(report, states, around) {
    const { seen } = this;
    const speaks = !seen || seen.generation === around.generation || around.attempt_ms > YOUNG_MS;
    if (speaks && (report || !seen)) this.seen = snapshot(report, states, around);
  }

  /** Decides, by the state that is told (words.js), how long it has been connecting, and whether pictures are to come. */
  decide(state, connecting_ms, expected) {
    if (state === 'live') [this.seen, this.#closed] = [null, false];
    const slow = state === 'connecting' && connecting_ms > SLOW_MS && expected;
    const stays = this.shown && STAYS.includes(state);
    this.shown = !this.#closed && this.seen !== null && (state === 'no-path' || slow || stays);
    if (this.shown) this.#draw();
    else this.#why?.clear();
  }

  async #draw() {
    if (!this.#why) {
      const { Why } = await import('./why.js');
      this.#why ??= new Why();
    }
    if (this.seen) this.#why.draw(this.seen);
  }
}
