// One camera on the page: its picture, and where there are several its name, its state, and the button that it is then.

import { t, told } from './language.js';
import { Picture } from './picture.js';
import { tileWords } from './words.js';
import { Zoom } from './zoom.js';

export class Tile {
  #written = '';
  /** Since when it is looked at (`performance.now()`). */
  #back_ms = 0;
  element;
  picture;
  video;
  zoom;
  /** Of cameras.js; `null` until the daemon has told. */
  camera = null;
  /** Whether a picture of it was ever shown. */
  everLive = false;
  /** When a picture was decoded last. */
  decoded_ms = null;
  /** How many were by the last statistics. */
  decoded = null;
  /** What is said of it, in one word (words.js). */
  state = null;
  visible = true;
  paused = false;
  /** Whether the window shows that part of the page. */
  inWindow = true;

  /** `frame(tile, metadata, now_ms)` for each shown frame; the rest as for Picture. */
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

  /** It stands for this camera from now on. */
  take(camera) {
    if (this.camera && this.camera.name !== camera?.name) this.clear();
    this.camera = camera;
  }

  /** Nothing of what it showed stays. */
  clear() {
    this.everLive = false;
    this.picture.show([]);
    this.zoom.reset();
    this.startOver();
  }

  /** Another stream: what came so far belongs to the one before. */
  startOver() {
    this.decoded_ms = null;
    this.decoded = null;
    this.picture.restarted();
  }

  /** Whether somebody can see it now, and whether it is paused. */
  look(visible, paused, now_ms) {
    if (visible && !this.visible) this.#back_ms = now_ms;
    this.visible = visible;
    this.paused = paused;
  }

  /** The statistics say how many pictures were decoded. */
  counted(decoded, now_ms) {
    const grown = decoded !== null && decoded > (this.decoded ?? 0);
    this.decoded = decoded;
    if (!grown) return;
    this.decoded_ms = now_ms;
    // What nobody sees is shown nothing, and an old browser tells nothing: then decoding has to do.
    if (!this.visible || !this.picture.tells) this.picture.decoded(now_ms);
  }

  /** When its picture came last, for whoever asks whether it is old: while it is paused none is missing. */
  came_ms(now_ms) {
    if (this.paused) return now_ms;
    const { shown_ms } = this.picture;
    return shown_ms === null ? null : Math.max(shown_ms, this.#back_ms);
  }

  /** What the session wants to know of a picture that should be coming, see its `tick`. */
  get arrival() {
    const seen_ms = this.visible && this.picture.tells ? this.picture.shown_ms : this.decoded_ms;
    return { camera: this.name, decoded_ms: this.decoded_ms, seen_ms, since_ms: this.#back_ms };
  }

  /** `several` whether it is one of several; `watchers` as of cameras.js; `said` as of words.js. */
  draw({ several, enlarged, said, watchers }) {
    this.state = said.state;
    const { state, slate } = tileWords(said);
    const count = watchers.count || null;
    const name = [this.label, state, count && t('{count} watching', { count })].filter(Boolean).join(', ');
    const who = watchers.names?.length ? t('Watching: {names}', { names: watchers.names.map(told).join(', ') }) : '';
    const model = { camera: this.name, several, enlarged, label: this.label, state, slate, count, name, who, tone: said.tone };
    const text = JSON.stringify(model);
    if (text === this.#written) return; // A screen reader and the layout notice each write.
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
    // The button says the same and more.
    if (several) this.video.setAttribute('aria-hidden', 'true');
    else this.video.removeAttribute('aria-hidden');
  }
}
