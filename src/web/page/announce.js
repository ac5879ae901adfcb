// What a screen reader is told of the cameras' states, and when. Pure: time is an argument.

import { t } from './language.js';

/** A state is told once it has lasted this long, so that a passing one is not told at all, and the next one only once. */
const SETTLED_MS = { live: 500, connecting: 4000 };
const OTHERWISE_MS = 1500;

export class Announcer {
  /** Of each camera: what was told last, what is to be told next, and since when. */
  #cameras = new Map();
  #text = '';

  /**
   * The text of the live region at `now_ms`; `all` has { name, label, said } of each camera, `said` as `describe` (words.js) tells
   * it. A change is told once: what holds for all cameras as one thing, else with the labels of those for which it does.
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
    // Others to which the same has happened meanwhile are told with it.
    const texts = [...settled].map((text) => {
      const changed = all.filter(({ name }) => this.#cameras.get(name).next === text && this.#cameras.get(name).told !== text);
      for (const { name } of changed) this.#cameras.get(name).told = text;
      return changed.length === all.length ? text : t('{label}: {text}', { label: changed.map(({ label }) => label).join(', '), text });
    });
    if (texts.length) this.#text = texts.join(' ');
    return this.#text;
  }
}
