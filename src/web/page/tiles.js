// The cameras on the page, beside each other or one of them enlarged; and what a finger, a mouse and keys do with them.

import { $ } from './dom.js';
import { arrange, neighbour } from './grid.js';
import { t } from './language.js';
import { Tile } from './tile.js';

export class Tiles {
  #place = $('tiles');
  #hooks;
  #tileHooks;
  #columns = 1;
  #seen;
  #enlarged = null;
  /** One for each camera, in their order; never empty. The first one also plays the sound, of whichever camera is heard. */
  list;

  /**
   * `enlarge(name)` asks for a camera to be enlarged, `null` for all of them; `full()` for full screen; `moved()` says that tiles
   * came into the window or left it; the rest as for Tile.
   */
  constructor({ enlarge, full, moved, frame, changed, loud }) {
    this.#hooks = { enlarge, full };
    this.#tileHooks = { frame, changed };
    this.#seen = new IntersectionObserver((entries) => {
      for (const { target, isIntersecting } of entries) {
        const tile = this.list.find(({ element }) => element === target);
        if (tile) tile.inWindow = isIntersecting;
      }
      moved();
    });
    this.list = [this.#tie(new Tile(this.#place.firstElementChild, { frame, changed, loud }))];
    new ResizeObserver(() => this.#arrange()).observe(this.#place);
  }

  get several() {
    return this.list.length > 1;
  }
  get first() {
    return this.list[0];
  }
  of(name) {
    return this.list.find((tile) => tile.name === name) ?? null;
  }

  /** One tile for each of these cameras, and one in any case. */
  take(cameras) {
    const [first, ...others] = this.list;
    const [main, ...rest] = cameras;
    // A picture that stays keeps its place in the document, or it would blink; but the first tile plays the sound.
    const of = (camera) => others.find(({ name }) => name === camera.name) ?? this.#tie(this.#another());
    this.list = [first, ...rest.map(of)];
    for (const tile of others.filter((other) => !this.list.includes(other))) {
      tile.clear();
      this.#seen.unobserve(tile.element);
      tile.element.remove();
    }
    this.list.forEach((tile, n) => {
      tile.take(n ? rest[n - 1] : (main ?? first.camera));
      const there = this.#place.children[n];
      if (there !== tile.element) this.#place.insertBefore(tile.element, there ?? null);
    });
    this.#zoomable();
    if (this.list.length === others.length + 1) return;
    this.#place.classList.toggle('several', this.several);
    for (const [name, value] of [['role', 'group'], ['aria-label', t('Cameras')]]) {
      if (this.several) this.#place.setAttribute(name, value);
      else this.#place.removeAttribute(name);
    }
    this.#arrange();
  }

  /** Whether somebody who looks at the page sees it. */
  shows(tile) {
    if (document.pictureInPictureElement === tile.video) return true;
    return !document.hidden && tile.inWindow && (this.#enlarged === null || this.#enlarged === tile);
  }

  /** Shows the tile of that camera alone; `null`, or a camera that is not there: all of them. */
  enlarge(name) {
    const tile = this.several ? this.of(name) : null;
    if (tile === this.#enlarged) return;
    const focused = this.list.some(({ button }) => button === document.activeElement);
    this.#enlarged = tile;
    this.#place.classList.toggle('one', tile !== null);
    for (const { element } of this.list) element.classList.toggle('enlarged', element === tile?.element);
    this.#zoomable();
    // A button behind the enlarged tile has no focus.
    if (focused && tile) tile.button.focus({ preventScroll: true });
  }

  /** `describe(tile)` answers what a tile draws of its camera. */
  draw(describe) {
    for (const tile of this.list) tile.draw({ several: this.several, enlarged: tile === this.#enlarged, ...describe(tile) });
  }

  /** Whether a key meant a tile; then it is done. */
  key({ key, target }) {
    if (this.list.some(({ zoom }) => zoom.key(key, target))) return true;
    if (!this.several) return false;
    const at = this.list.findIndex(({ button }) => button === target);
    if (key === 'Escape' && this.#enlarged) return this.#go(null);
    if (/^[1-9]$/.test(key)) return key <= this.list.length && this.#go(this.list[key - 1], true);
    if (this.#enlarged) {
      // Nobody sees rows now: up and down are as left and right.
      const to = neighbour(this.list.indexOf(this.#enlarged), key, 1, this.list.length);
      return to !== null && (at >= 0 || target === document.body) && this.#go(this.list[to], true);
    }
    const to = at < 0 ? null : neighbour(at, key, this.#columns, this.list.length);
    if (to === null) return false;
    this.list[to].button.focus();
    return true;
  }

  /** Enlarges a tile, or with the one that is, or `null`, goes back to all. */
  #go(tile, focus = false) {
    const back = tile === this.#enlarged;
    this.#hooks.enlarge(back ? null : (tile?.name ?? null));
    if (focus) tile.button.focus({ preventScroll: true });
    return true;
  }

  /** Who zooms into a picture sees no other one. */
  #zoomable() {
    for (const tile of this.list) tile.zoom.enabled = !this.several || tile === this.#enlarged;
  }

  #another() {
    const element = this.first.element.cloneNode(true);
    element.querySelector('video').removeAttribute('id');
    element.querySelector('video').muted = true;
    this.#place.append(element);
    return new Tile(element, { ...this.#tileHooks, loud: false });
  }

  #tie(tile) {
    this.#seen.observe(tile.element);
    // The second click of two belongs to the first: full screen.
    tile.button.addEventListener('click', ({ detail }) => detail < 2 && this.#go(tile));
    tile.button.addEventListener('dblclick', () => {
      if (this.#enlarged !== tile) this.#go(tile);
      this.#hooks.full();
    });
    tile.video.addEventListener('dblclick', () => this.#hooks.full()); // where it is the only one
    return tile;
  }

  #arrange() {
    const { clientWidth, clientHeight } = this.#place;
    const { columns, width } = arrange(this.list.length, clientWidth, clientHeight);
    this.#columns = columns;
    this.#place.style.setProperty('--columns', columns);
    this.#place.style.setProperty('--tile', `${width}px`);
  }
}
