// The panels beside the picture. Each has a button, and one is open at a time.

import { $ } from './dom.js';

export class Panels {
  #app;
  #buttons;
  #changed;

  /** `buttons`: maps a button's id to a panel's id. `changed(panel)` gets the panel that opened, or `null`. */
  constructor(app, buttons, changed) {
    this.#app = app;
    this.#buttons = buttons;
    this.#changed = changed;
    for (const [button, panel] of Object.entries(buttons)) {
      $(button).addEventListener('click', () => this.toggle(panel));
      $(panel).querySelector('header button').addEventListener('click', () => this.toggle(panel));
    }
  }

  /** The id of the open panel, or `null`. */
  get open() {
    return Object.values(this.#buttons).find((panel) => !$(panel).hidden) ?? null;
  }

  /** Opens or closes a panel. A focus inside a closed panel goes back to its button. */
  toggle(panel) {
    const open = $(panel).hidden;
    // If a button inside was pressed and is now disabled, nothing has the focus.
    const inside = [document.body, null].includes(document.activeElement) || $(panel).contains(document.activeElement);
    for (const [b, p] of Object.entries(this.#buttons)) {
      const shown = open && p === panel;
      $(p).hidden = !shown;
      $(b).setAttribute('aria-expanded', String(shown));
      if (p === panel && inside) $(b).focus();
    }
    this.#app.classList.toggle('with-details', open);
    if (open) $(panel).scrollTop = 0;
    // Keyboard and screen reader continue inside the panel.
    if (open) $(panel).focus({ preventScroll: true });
    this.#changed(open ? panel : null);
  }

  close() {
    if (this.open) this.toggle(this.open);
  }
}
