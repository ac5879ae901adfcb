// One camera on the page: its picture, and if there are several cameras its name, its state, and its button.

import { t, told } from './language.js';
import { Picture } from './picture.js';
import { tileWords } from './words.js';
import { Zoom } from './zoom.js';

export class Tile {
  #written = '';
  /** Since when the tile is visible (`performance.now()`). */
  #back_ms = 0;
  element;
  picture;
  video;
  zoom;
  /** The camera (cameras.js); `null` until the daemon has sent it. */
  camera = null;
  /** Whether a picture of this camera was ever displayed. */
  everLive = false;
  /** When the last picture was decoded. */
  decoded_ms = null;
  /** The number of decoded pictures in the last statistics. */
  decoded = null;
  /** The state of the camera in one word (words.js). */
  state = null;
  visible = true;
  paused = false;
  /** Whether the window shows this part of the page. */
  inWindow = true;
  /** The box that the whole picture would fill at the current zoom, in pixels of the screen; `null` until the tile was visible. */
  box = null;

  /** `frame(tile, metadata, now_ms)` is called for each displayed frame; the rest as for Picture. */
  constructor(element, { frame, changed, loud }) {
    this.element = element;
    this.video = element.querySelector('video');
    this.picture = new Picture(this.video, { frame: (metadata, now_ms) => frame(this, metadata, now_ms), changed, loud });
    this.zoom = new Zoom(element, this.video, { changed });
  }

  get button() {
    return this.element.querySelector('button');
  }
  get name() {
    return this.camera?.name ?? null;
  }
  get label() {
    return this.camera?.label ?? '';
  }

  /** Shows this camera from now on. */
  take(camera) {
    if (this.camera && this.camera.name !== camera?.name) this.clear();
    this.camera = camera;
  }

  /** Clears everything that was shown. */
  clear() {
    this.everLive = false;
    this.picture.show([]);
    this.zoom.reset();
    this.startOver();
  }

  /** A new stream starts: the pictures so far belong to the previous one. */
  startOver() {
    this.decoded_ms = null;
    this.decoded = null;
    this.picture.restarted();
  }

  /** Sets whether the tile is visible now, and whether it is paused. */
  look(visible, paused, now_ms) {
    if (visible && !this.visible) this.#back_ms = now_ms;
    this.visible = visible;
    this.paused = paused;
    if (!visible) return;
    const scale = this.zoom.scale * devicePixelRatio;
    this.box = { width: this.video.clientWidth * scale, height: this.video.clientHeight * scale };
  }

  /** Reads the number of decoded pictures from the statistics. */
  counted(decoded, now_ms) {
    const grown = decoded !== null && decoded > (this.decoded ?? 0);
    this.decoded = decoded;
    if (!grown) return;
    this.decoded_ms = now_ms;
    // Invisible tiles display no frames, and old browsers do not report them: then decoded frames are used instead.
    if (!this.visible || !this.picture.tells) this.picture.decoded(now_ms);
  }

  /** When the last picture arrived, to judge whether it is old. While the tile is paused, no picture is missing. */
  came_ms(now_ms) {
    if (this.paused) return now_ms;
    const { shown_ms } = this.picture;
    return shown_ms === null ? null : Math.max(shown_ms, this.#back_ms);
  }

  /** What the session needs about a picture that should be arriving (see its `tick`). */
  get arrival() {
    const seen_ms = this.visible && this.picture.tells ? this.picture.shown_ms : this.decoded_ms;
    return { camera: this.name, decoded_ms: this.decoded_ms, seen_ms, since_ms: this.#back_ms };
  }

  /** `several`: whether there are several cameras; `watchers` see cameras.js; `said` see words.js. */
  draw({ several, enlarged, said, watchers }) {
    this.state = said.state;
    const { state, slate } = tileWords(said);
    const count = watchers.count || null;
    const name = [this.label, state, count && t('{count} watching', { count })].filter(Boolean).join(', ');
    const who = watchers.names?.length ? t('Watching: {names}', { names: watchers.names.map(told).join(', ') }) : '';
    const model = { camera: this.name, several, enlarged, label: this.label, state, slate, count, name, who, tone: said.tone };
    const text = JSON.stringify(model);
    if (text === this.#written) return; // each write makes screen reader and layout react
    this.#written = text;
    this.#write(model);
  }

  #write({ camera, several, enlarged, label, state, slate, count, name, who, tone }) {
    const part = (kind) => this.element.querySelector(`.tile-${kind}`);
    this.element.dataset.camera = camera ?? '';
    this.element.dataset.tone = tone;
    part('slate').textContent = slate ?? '';
    part('slate').hidden = !several || slate === null;
    part('caption').hidden = !several;
    part('name').textContent = label;
    part('state').textContent = state;
    part('people').classList.toggle('none', count === null);
    part('watchers').textContent = count ?? '';
    this.button.hidden = !several;
    this.button.setAttribute('aria-label', name);
    this.button.setAttribute('aria-pressed', String(enlarged));
    this.button.title = who;
    // The button's label contains it.
    if (several) this.video.setAttribute('aria-hidden', 'true');
    else this.video.removeAttribute('aria-hidden');
  }
}
