// What the person wants of the viewer, and what of it the daemon knows.

import { changes, offerOf, toldBy, wantedOf } from './cameras.js';

export class Wishes {
  /** As cameras.js has them. */
  now = { sound: false, quality: 'auto', layout: { enlarged: null, last: null }, paused: new Set() };
  /** `null`: nothing. */
  #told = null;

  /** The daemon knows nothing of it. */
  forget() {
    this.#told = null;
  }

  /** What goes with an offer; where it is a viewer's later one, `heeds` tells whether the daemon reads all of it. */
  offer(hello, mids, { later, heeds }) {
    const wanted = wantedOf(hello, mids, this.now);
    if (!later) this.#told = toldBy(wanted);
    else if (heeds && this.#told) this.#told = toldBy(wanted, this.#told);
    return offerOf(wanted);
  }

  /** The messages that tell what the daemon does not know yet; from now on it does. */
  news(hello, mids) {
    const wanted = wantedOf(hello, mids, this.now);
    const messages = changes(this.#told, wanted);
    this.#told = wanted;
    return messages;
  }
}
