// What a screen reader announces about the cameras' states, and when. Pure: time is an argument.

import { t } from './language.js';

/** How long a state must last before it is announced. Short states are not announced at all, and lasting ones only once. */
const SETTLED_MS = { live: 500, connecting: 4000 };
const OTHERWISE_MS = 1500;

export class Announcer {
  /** For each camera: what was announced last, what is to be announced next, and since when. */
  #cameras = new Map();
  #text = '';

  /**
   * The text of the live region at `now_ms`; `all` has { name, label, said } of each camera, `said` as `describe` (words.js)
   * returns it. A change is announced once: without labels if it is the same for all cameras, else with the labels of those it is for.
   */
  tell(all, now_ms) {
    const before = this.#cameras;
    this.#cameras = new Map(all.map(({ name }) => [name, before.get(name) ?? { told: '', next: '', since_ms: 0 }]));
    const settled = new Set();
    for (const { name, said } of all) {
      const camera = this.#cameras.get(name);
      if (said.spoken !== camera.next) Object.assign(camera, { next: said.spoken, since_ms: now_ms });
      const settled_ms = camera.told === '' ? 0 : (SETTLED_MS[said.state] ?? OTHERWISE_MS);
      if (camera.next !== camera.told && now_ms - camera.since_ms >= settled_ms) settled.add(camera.next);
    }
    // Cameras with the same change are announced together.
    const texts = [...settled].map((text) => {
      const changed = all.filter(({ name }) => this.#cameras.get(name).next === text && this.#cameras.get(name).told !== text);
      for (const { name } of changed) this.#cameras.get(name).told = text;
      return changed.length === all.length ? text : t('{label}: {text}', { label: changed.map(({ label }) => label).join(', '), text });
    });
    if (texts.length) this.#text = texts.join(' ');
    return this.#text;
  }
}
