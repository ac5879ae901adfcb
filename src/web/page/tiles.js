// The cameras on the page, side by side or one of them enlarged, and how touch, mouse and keys control them.

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
  /** One tile for each camera, in order; never empty. The first one also plays the sound of the camera that is heard. */
  list;

  /**
   * `enlarge(name)` requests enlarging a camera (`null`: showing all of them); `full()` requests full screen; `moved()` is called when
   * tiles entered or left the window; the rest as for Tile.
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

  /** Makes one tile for each of these cameras, and at least one. */
  take(cameras) {
    const [first, ...others] = this.list;
    const [main, ...rest] = cameras;
    // A picture that stays keeps its place in the document, else it would flicker; but the first tile plays the sound.
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

  /** Whether the tile is visible to somebody who looks at the page. */
  shows(tile) {
    if (document.pictureInPictureElement === tile.video) return true;
    return !document.hidden && tile.inWindow && (this.#enlarged === null || this.#enlarged === tile);
  }

  /** Shows only the tile of that camera; `null`, or an unknown camera: all tiles. */
  enlarge(name) {
    const tile = this.several ? this.of(name) : null;
    if (tile === this.#enlarged) return;
    const focused = this.list.some(({ button }) => button === document.activeElement);
    this.#enlarged = tile;
    this.#place.classList.toggle('one', tile !== null);
    for (const { element } of this.list) element.classList.toggle('enlarged', element === tile?.element);
    this.#zoomable();
    // Buttons behind the enlarged tile can't have the focus.
    if (focused && tile) tile.button.focus({ preventScroll: true });
  }

  /** `describe(tile)` returns what a tile draws about its camera. */
  draw(describe) {
    for (const tile of this.list) tile.draw({ several: this.several, enlarged: tile === this.#enlarged, ...describe(tile) });
  }

  /** Handles a key; returns whether it was for a tile. */
  key({ key, target }) {
    if (this.list.some(({ zoom }) => zoom.key(key, target))) return true;
    if (!this.several) return false;
    const at = this.list.findIndex(({ button }) => button === target);
    if (key === 'Escape' && this.#enlarged) return this.#go(null);
    if (/^[1-9]$/.test(key)) return key <= this.list.length && this.#go(this.list[key - 1], true);
    if (this.#enlarged) {
      // No rows are visible now: up and down are the same as left and right.
      const to = neighbour(this.list.indexOf(this.#enlarged), key, 1, this.list.length);
      return to !== null && (at >= 0 || target === document.body) && this.#go(this.list[to], true);
    }
    const to = at < 0 ? null : neighbour(at, key, this.#columns, this.list.length);
    if (to === null) return false;
    this.list[to].button.focus();
    return true;
  }

  /** Enlarges a tile; for the enlarged tile, or `null`, shows all again. */
  #go(tile, focus = false) {
    const back = tile === this.#enlarged;
    this.#hooks.enlarge(back ? null : (tile?.name ?? null));
    if (focus) tile.button.focus({ preventScroll: true });
    return true;
  }

  /** Zooming is possible only in a picture that is shown alone. */
  #zoomable() {
    for (const tile of this.list) tile.zoom.enabled = !this.several || tile === this.#enlarged;
  }

  #another() {
    const element = this.first.element.cloneNode(true);
    element.classList.remove('enlarged'); // the copied tile may be enlarged
    element.querySelector('video').removeAttribute('id');
    element.querySelector('video').muted = true;
    this.#place.append(element);
    return new Tile(element, { ...this.#tileHooks, loud: false });
  }

  #tie(tile) {
    this.#seen.observe(tile.element);
    // The second click of a double click means full screen.
    tile.button.addEventListener('click', ({ detail }) => detail < 2 && this.#go(tile));
    tile.button.addEventListener('dblclick', () => {
      if (this.#enlarged !== tile) this.#go(tile);
      this.#hooks.full();
    });
    tile.video.addEventListener('dblclick', () => this.#hooks.full()); // if it is the only tile
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
