// Keeps the screen on while the picture is live, if the browser supports it and the person wants it (Screen Wake Lock).

import { keep, kept } from './kept.js';

export class Awake {
  #lock = null;
  #asking = false;
  /** Whether the browser refused. It is asked again only when the person switches this on again, or the page was hidden. */
  #refused = false;
  #live = false;
  /** Whether the person wants the screen kept on, now and at the next visit. */
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

  /** Called regularly with whether something live is on the screen. When a page is hidden, the browser releases the lock by itself. */
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
