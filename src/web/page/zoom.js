// Zooming into a tile's picture and moving it in its box: first the geometry, pure; then the handling of wheel, fingers and keys.

/** The largest scale; 1 shows the whole picture. */
const SCALE_MOST = 8;
/** Zooming out to less than this scale shows the whole picture. */
const SCALE_WHOLE = 1.05;
/** The scale after a double tap. */
const SCALE_TAPS = 2.5;
/** Factor of the scale for each key press, and step of the arrow keys as a fraction of the box. */
const SCALE_KEYS = { '+': 1.5, '=': 1.5, '-': 1 / 1.5 };
const LOOK_KEYS = { ArrowLeft: [-0.2, 0], ArrowRight: [0.2, 0], ArrowUp: [0, -0.2], ArrowDown: [0, 0.2] };
/** The size in pixels of one pixel, line or page of a wheel (`deltaMode`), and the distance that doubles the scale; one event does at most half of that. */
const WHEEL_PX = [1, 25, 500];
const WHEEL_DOUBLE_PX = 500;
const WHEEL_MOST = 0.5;
/** Factor for pinching on a trackpad, which is reported as a wheel with ctrl, in much smaller steps. */
const WHEEL_PINCH = 10;
/** A pointer that moves further than this, pixels, drags the picture and is not a click. */
const DRAG_PX = 6;
/** A finger that moves no further than this, pixels, is a tap: fingers are less steady. */
const TAP_PX = 16;
/** Longest time between the two taps of a double tap, ms. */
const TAPS_MS = 300;
/** Largest difference in aspect ratio between two sizes of the same picture, from rounding. */
const RATIO_SAME = 0.02;
const MIDDLE = Object.freeze({ x: 0, y: 0 });

/**
 * The visible part of a picture: its `scale`, and the point in the middle of the box: `x` and `y` from the middle of the picture, in
 * widths and heights of the picture. In a box of a different size it is therefore the same place.
 */
export const WHOLE = Object.freeze({ scale: 1, x: 0, y: 0 });

/** The size of a whole picture in its box, in pixels; `room` is the box and the ratio of the picture: { width, height, ratio }. */
function wholeSize({ width, height, ratio }) {
  const wide = Math.min(width, height * ratio);
  return { width: wide, height: wide / ratio };
}

/** The same, moved so that a larger picture fills the box and a smaller picture is centred. */
export function within({ scale, x, y }, room) {
  if (scale === 1) return WHOLE;
  const { width, height } = wholeSize(room);
  const bound = (at, box, size) => {
    const most = (1 - box / (size * scale)) / 2;
    return most > 0 ? Math.min(Math.max(at, -most), most) : 0;
  };
  return { scale, x: bound(x, room.width, width), y: bound(y, room.height, height) };
}

/** The same at a different scale, with the point at `from` moved to `to`: pixels from the middle of the box. */
export function moved(view, room, scale, from, to) {
  const whole = scale < SCALE_WHOLE && scale < view.scale;
  const next = whole ? 1 : Math.min(Math.max(scale, 1), SCALE_MOST);
  const { width, height } = wholeSize(room);
  const x = view.x + from.x / (width * view.scale) - to.x / (width * next);
  const y = view.y + from.y / (height * view.scale) - to.y / (height * next);
  return within({ scale: next, x, y }, room);
}

/** The distance of the picture's middle from that of the box, in pixels. */
export function offset({ scale, x, y }, room) {
  const { width, height } = wholeSize(room);
  return { x: -x * width * scale, y: -y * height * scale };
}

/** The factor of the scale for a wheel event. */
export function wheelFactor({ deltaMode, deltaY, ctrlKey }) {
  const turns = (-deltaY * WHEEL_PX[deltaMode] * (ctrlKey ? WHEEL_PINCH : 1)) / WHEEL_DOUBLE_PX;
  return 2 ** Math.min(Math.max(turns, -WHEEL_MOST), WHEEL_MOST);
}

export class Zoom {
  #element;
  #video;
  #changed;
  #enabled = null;
  #view = WHOLE;
  /** The ratio of the picture that was zoomed into. */
  #ratio = null;
  /** Pressed pointers on the tile, at most two, by pointer id: where each began, and where it is. */
  #pressed = new Map();
  /** Whether this press, or the last one, did something here: then it is not a click. */
  #spent = false;
  /** Whether this press may still be a tap, and whether a tap came just before it. */
  #taps = false;
  #again = false;
  /** A tap that may become a double tap: its timer, and what it clicks if no second tap comes. */
  #tap = null;

  /** `element` is the tile's element around its `video`; `changed()` is called after the scale changed. */
  constructor(element, video, { changed }) {
    this.#element = element;
    this.#video = video;
    this.#changed = changed;
    this.enabled = false; // the copied element may have been zoomed
    element.addEventListener('wheel', (event) => this.#wheel(event), { passive: false });
    element.addEventListener('pointerdown', (event) => this.#down(event));
    element.addEventListener('pointermove', (event) => this.#move(event));
    element.addEventListener('pointerup', (event) => this.#up(event));
    element.addEventListener('pointercancel', ({ pointerId }) => this.#pressed.delete(pointerId));
    for (const type of ['click', 'dblclick']) element.addEventListener(type, (event) => this.#click(event), { capture: true });
    video.addEventListener('resize', () => this.#resized());
    new ResizeObserver(() => this.#resized()).observe(element);
  }

  /** The scale, from 1 (the whole picture) to 8. */
  get scale() {
    return this.#view.scale;
  }

  /** Whether wheel, fingers and keys zoom; if not, the whole picture is shown. */
  set enabled(enabled) {
    if (enabled === this.#enabled) return;
    this.#enabled = enabled;
    this.#element.classList.toggle('zooms', enabled);
    if (enabled) return;
    this.#pressed.clear();
    this.#spent = false;
    this.#untap();
    this.reset();
  }

  /** Shows the whole picture. */
  reset() {
    this.#show(WHOLE);
  }

  /** Handles a key; returns whether it zoomed or moved the picture. */
  key(key, target) {
    if (!this.#enabled) return false;
    const zoomed = this.scale > 1;
    const here = target === document.body || this.#element.contains(target); // elsewhere, arrow keys scroll
    if (SCALE_KEYS[key] > 1 || (SCALE_KEYS[key] && zoomed)) this.#go(this.scale * SCALE_KEYS[key]);
    else if (zoomed && key === '0') this.reset();
    else if (zoomed && here && LOOK_KEYS[key]) this.#look(LOOK_KEYS[key]);
    else return false;
    return true;
  }

  #look([x, y]) {
    const { clientWidth, clientHeight } = this.#element;
    this.#go(this.scale, { x: x * clientWidth, y: y * clientHeight }, MIDDLE);
  }

  #wheel(event) {
    if (!this.#enabled || event.deltaY === 0) return;
    const zoomed = this.scale > 1;
    this.#go(this.scale * wheelFactor(event), this.#at(event));
    // Even at the largest scale, because otherwise the browser would zoom the whole page.
    if (zoomed || this.scale > 1) event.preventDefault();
  }

  #down(event) {
    if (!this.#enabled || event.button !== 0) return;
    if (event.isPrimary) {
      this.#pressed.clear(); // a mouse button may have been released elsewhere
      this.#spent = false;
      this.#again = this.#untap();
    }
    if (this.#pressed.size === 2) return;
    this.#taps = event.isPrimary && event.pointerType === 'touch';
    const at = this.#at(event);
    this.#pressed.set(event.pointerId, { began: at, at });
  }

  #move(event) {
    const pressed = this.#pressed.get(event.pointerId);
    if (!pressed || event.buttons === 0) return;
    const before = this.#grip();
    const { began } = pressed;
    const at = this.#at(event);
    pressed.at = at;
    if (!this.#spent) {
      const far_px = Math.hypot(at.x - began.x, at.y - began.y);
      if (far_px > TAP_PX) this.#taps = false;
      if (far_px <= DRAG_PX || (this.#pressed.size < 2 && this.scale === 1)) return;
      this.#spent = true;
      this.#taps = false;
      this.#element.setPointerCapture(event.pointerId); // not earlier: clicks go to the element with the capture
    }
    const now = this.#grip();
    this.#go((this.scale * now.apart) / before.apart, before, now);
  }

  #up(event) {
    if (!this.#pressed.delete(event.pointerId) || !this.#taps) return;
    this.#taps = false;
    if (!this.#again) {
      const timer = setTimeout(() => {
        const { target } = this.#tap;
        this.#tap = null;
        target?.click();
      }, TAPS_MS);
      this.#tap = { timer, target: null };
      return;
    }
    this.#spent = true;
    if (this.scale > 1) this.reset();
    else this.#go(SCALE_TAPS, this.#at(event));
  }

  /** Ends a waiting tap; returns whether there was one. */
  #untap() {
    const tap = this.#tap;
    clearTimeout(tap?.timer);
    this.#tap = null;
    return tap !== null;
  }

  #click(event) {
    if (event.detail === 0) return; // from a key, or from a tap that waited
    if (this.#tap && event.detail === 1) this.#tap.target = event.target;
    else if (!this.#spent) return;
    event.stopPropagation();
  }

  /** The middle of the pressed pointers, and the distance between two of them. */
  #grip() {
    const [{ at: a }, { at: b } = { at: a }] = this.#pressed.values();
    return { x: (a.x + b.x) / 2, y: (a.y + b.y) / 2, apart: Math.max(1, Math.hypot(a.x - b.x, a.y - b.y)) };
  }

  /** The position of an event, in pixels from the middle of the box. */
  #at({ clientX, clientY }) {
    const { left, top, width, height } = this.#element.getBoundingClientRect();
    return { x: clientX - left - width / 2, y: clientY - top - height / 2 };
  }

  /** The size of the box and the ratio of the picture; `null` while one of them is unknown. */
  #room() {
    const { clientWidth: width, clientHeight: height } = this.#element;
    const ratio = this.#video.videoWidth / this.#video.videoHeight;
    return width && height && ratio ? { width, height, ratio } : null;
  }

  #go(scale, from = MIDDLE, to = from) {
    const room = this.#room();
    if (room) this.#show(moved(this.#view, room, scale, from, to), room);
  }

  #resized() {
    const room = this.#room();
    if (!room || this.scale === 1) return;
    if (Math.abs(room.ratio / this.#ratio - 1) > RATIO_SAME) this.reset();
    else this.#show(within(this.#view, room), room);
  }

  #show(view, room) {
    const before = this.scale;
    const zoomed = view.scale > 1;
    this.#view = view;
    if (zoomed) {
      const { x, y } = offset(view, room);
      this.#ratio = room.ratio;
      this.#video.style.transform = `translate(${x}px, ${y}px) scale(${view.scale})`;
    } else this.#video.style.transform = '';
    this.#element.classList.toggle('zoomed', zoomed);
    // By then the tiles have changed to the new cameras.
    if (view.scale !== before) queueMicrotask(this.#changed);
  }
}
