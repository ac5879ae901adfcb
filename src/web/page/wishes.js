// What the person wants of the viewer, and which part of it the daemon knows.

import { changes, offerOf, toldBy, wantedOf } from './cameras.js';

export class Wishes {
  /**
   * `sound`: whether the person listens; with sound, the daemon prefers lip sync to the smallest delay. `quality`: the chosen size.
   * `layout`: which camera is enlarged (layout.js). `room`, `boxes`, `paused`: what is seen (cameras.js).
   */
  now = {
    sound: false,
    quality: 'auto',
    layout: { enlarged: null, last: null },
    room: { width: 0, height: 0 },
    boxes: new Map(),
    paused: new Set(),
  };
  /** What the daemon knows; `null`: nothing. */
  #told = null;

  /** The daemon knows nothing any more. */
  forget() {
    this.#told = null;
  }

  /** What goes with an offer. For a later offer of a viewer, `heeds` says whether the daemon reads all of it. */
  offer(hello, mids, { later, heeds }) {
    const wanted = wantedOf(hello, mids, this.now);
    if (!later) this.#told = toldBy(wanted);
    else if (heeds && this.#told) this.#told = toldBy(wanted, this.#told);
    return offerOf(wanted);
  }

  /** The messages with what the daemon does not know yet; they count as sent. */
  news(hello, mids) {
    const wanted = wantedOf(hello, mids, this.now);
    const messages = changes(this.#told, wanted);
    this.#told = wanted;
    return messages;
  }
}
