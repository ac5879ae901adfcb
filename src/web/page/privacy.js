// The privacy switch of the panel in access.js: for all cameras and microphones, and if there are several cameras, for each camera
// with its microphone.

import { $ } from './dom.js';
import { t } from './language.js';

/** The key of the switch for all; the other switches have the cameras' names. */
const ALL = '';

export class Privacy {
  #set;
  /** The state just requested for a switch, until the status confirms it. */
  #asked = new Map();
  /** Whether the status says that privacy is on. */
  #known = new Map();
  #names = '';

  /** `set(on, camera)` changes privacy on the device (see page.js). */
  constructor(set) {
    this.#set = set;
    $('privacy').addEventListener('click', () => this.#press($('privacy'), ALL));
  }

  /** The panel was opened, by `me` of /api/session. */
  opened(me) {
    this.#known.set(ALL, me?.privacy ?? null);
  }

  closed() {
    $('privacy-error').textContent = '';
  }

  /** Draws the status; called while the panel is open. */
  draw(status) {
    const cameras = status?.cameras ?? [];
    if (status) this.#tell(ALL, status.privacy);
    for (const { name, private: on } of cameras) this.#tell(name, on);
    this.#list(cameras.length > 1 ? cameras : []);
    this.#switch($('privacy'), $('privacy-word'), ALL);
    for (const button of $('privacy-cameras').querySelectorAll('button')) {
      this.#switch(button, button.firstChild, button.dataset.camera);
      // While all are off, they are switched on together.
      button.disabled = this.#now(ALL) === true;
    }
  }

  #tell(camera, on) {
    this.#known.set(camera, on);
    if (this.#asked.get(camera) === on) this.#asked.delete(camera);
  }

  #now(camera) {
    return this.#asked.get(camera) ?? this.#known.get(camera);
  }

  /** A line with a switch for each camera. */
  #list(cameras) {
    const names = JSON.stringify(cameras.map(({ name, label }) => [name, label]));
    if (names === this.#names) return;
    this.#names = names;
    $('privacy-cameras').hidden = cameras.length === 0;
    $('privacy-cameras').replaceChildren(...cameras.map(({ name, label }) => this.#line(name, label)));
  }

  #line(name, label) {
    const [line, strong, button, word] = ['li', 'strong', 'button', 'span'].map((kind) => document.createElement(kind));
    strong.textContent = label;
    strong.id = `privacy-of-${name}`;
    button.className = 'switch';
    button.type = 'button';
    button.dataset.camera = name;
    button.setAttribute('role', 'switch');
    button.setAttribute('aria-labelledby', strong.id);
    button.setAttribute('aria-describedby', 'privacy-hint');
    word.setAttribute('aria-hidden', 'true');
    button.append(word);
    button.addEventListener('click', () => this.#press(button, name));
    line.append(strong, button);
    return line;
  }

  #switch(button, word, camera) {
    const off = this.#now(camera) === true;
    button.setAttribute('aria-checked', String(!off));
    if (camera === ALL) word.textContent = off ? t('They are off') : t('They are on');
    else word.textContent = off ? t('It is off') : t('It is on');
  }

  async #press(button, camera) {
    const on = button.getAttribute('aria-checked') === 'true';
    this.#asked.set(camera, on);
    const word = camera === ALL ? $('privacy-word') : button.firstChild;
    this.#switch(button, word, camera);
    const { ok, says } = await this.#set(on, camera === ALL ? undefined : camera);
    if (!ok) {
      this.#asked.delete(camera);
      this.#switch(button, word, camera);
    }
    $('privacy-error').textContent = says ?? '';
  }
}
