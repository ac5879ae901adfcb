// Keeps the screen on while the picture is live, where the browser can and the person wants it (Screen Wake Lock).

import { keep, kept } from './kept.js';

export class Awake {
  #lock = null;
  #asking = false;
  /** Whether the browser refused: it is not asked again and again, but when the person wants it anew, or the page was hidden. */
  #refused = false;
  #live = false;
  /** Whether the person wants it, now and at the next visit. */
  wanted;
  possible = 'wakeLock' in navigator;

  constructor() {
    this.wanted = kept(() => localStorage, 'awake') !== 'no';
  }

  want(on) {
    this.wanted = on;
    this.#refused = false;
    keep(() => localStorage, 'awake', on ? null : 'no');
    this.look(this.#live);
  }

  /** Called now and then: whether something live is on the screen. The browser lets go by itself of a page that is hidden. */
  async look(live) {
    this.#live = live;
    const held = this.#lock && !this.#lock.released;
    if (document.hidden) this.#refused = false;
    const due = this.possible && this.wanted && live && !document.hidden && !this.#refused;
    if (!due && held) {
      const lock = this.#lock;
      this.#lock = null;
      return lock.release().catch(() => {});
    }
    if (!due || held || this.#asking) return;
    this.#asking = true;
    try {
      this.#lock = await navigator.wakeLock.request('screen');
    } catch (e) {
      this.#refused = true;
      console.debug('the screen may go off:', e.message); // The battery is low, or a policy forbids it.
    }
    this.#asking = false;
    if (this.#lock && (!this.wanted || !this.#live)) await this.look(this.#live);
  }
}
