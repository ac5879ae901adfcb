// Zooming into a tile's picture and moving it in its box: first where the picture lies, pure; then what wheel, fingers and keys do.

/** The largest scale; with 1 the whole picture is seen. */
const SCALE_MOST = 8;
/** Who zooms out to less than this wants the whole picture. */
const SCALE_WHOLE = 1.05;
/** What two taps zoom to. */
const SCALE_TAPS = 2.5;
/** What keys multiply the scale by, and where they look, in parts of the box. */
const SCALE_KEYS = { '+': 1.5, '=': 1.5, '-': 1 / 1.5 };
const LOOK_KEYS = { ArrowLeft: [-0.2, 0], ArrowRight: [0.2, 0], ArrowUp: [0, -0.2], ArrowDown: [0, 0.2] };
/** How far one pixel, line or page of a wheel is (`deltaMode`), and how far doubles the scale; one event does half of that at most. */
const WHEEL_PX = [1, 25, 500];
const WHEEL_DOUBLE_PX = 500;
const WHEEL_MOST = 0.5;
/** Two fingers on a trackpad come as a wheel with ctrl, in much smaller steps. */
const WHEEL_PINCH = 10;
/** Who moves further than this moves the picture, and presses nothing. */
const DRAG_PX = 6;
/** A finger is less steady: what moves no further, and nothing else, is a tap. */
const TAP_PX = 16;
/** A second tap comes within this time. */
const TAPS_MS = 300;
/** Other qualities of the same picture differ in their ratio by rounding only. */
const RATIO_SAME = 0.02;
const MIDDLE = Object.freeze({ x: 0, y: 0 });

/**
 * What is seen of a picture: its `scale`, and which point of it is in the middle of the box: `x` and `y` from the picture's own
 * middle, in widths and heights of the picture. So it is the same place in a box of another size.
 */
export const WHOLE = Object.freeze({ scale: 1, x: 0, y: 0 });

/** The size of a whole picture in its box, in pixels; `room` is the box and the ratio of the picture: { width, height, ratio }. */
function wholeSize({ width, height, ratio }) {
  const wide = Math.min(width, height * ratio);
  return { width: wide, height: wide / ratio };
}

/** The same, moved so that the picture fills the box where it is larger, and is in its middle where it is smaller. */
export function within({ scale, x, y }, room) {
  if (scale === 1) return WHOLE;
  const { width, height } = wholeSize(room);
  const bound = (at, box, size) => {
    const most = (1 - box / (size * scale)) / 2;
    return most > 0 ? Math.min(Math.max(at, -most), most) : 0;
  };
  return { scale, x: bound(x, room.width, width), y: bound(y, room.height, height) };
}

/** The same at another scale, with what lies at `from` moved to `to`: pixels from the middle of the box. */
export function moved(view, room, scale, from, to) {
  const whole = scale < SCALE_WHOLE && scale < view.scale;
  const next = whole ? 1 : Math.min(Math.max(scale, 1), SCALE_MOST);
  const { width, height } = wholeSize(room);
  const x = view.x + from.x / (width * view.scale) - to.x / (width * next);
  const y = view.y + from.y / (height * view.scale) - to.y / (height * next);
  return within({ scale: next, x, y }, room);
}

/** How far the picture's middle is from that of the box, in pixels. */
export function offset({ scale, x, y }, room) {
  const { width, height } = wholeSize(room);
  return { x: -x * width * scale, y: -y * height * scale };
}

/** What a wheel multiplies the scale by. */
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
  /** What is pressed on the tile, two at most, by the pointer's id: where it began, and where it is. */
  #pressed = new Map();
  /** Whether this press, or the last one, did something here: then it is no click. */
  #spent = false;
  /** Whether this press may still be a tap, and whether one came just before it. */
  #taps = false;
  #again = false;
  /** A tap that waits for another one: its timer, and what it clicks if none comes. */
  #tap = null;

  /** `element` is that of the tile, around its `video`; `changed()` is called after the scale changed. */
  constructor(element, video, { changed }) {
    this.#element = element;
    this.#video = video;
    this.#changed = changed;
    this.enabled = false; // Who is copied may have been zoomed into.
    element.addEventListener('wheel', (event) => this.#wheel(event), { passive: false });
    element.addEventListener('pointerdown', (event) => this.#down(event));
    element.addEventListener('pointermove', (event) => this.#move(event));
    element.addEventListener('pointerup', (event) => this.#up(event));
    element.addEventListener('pointercancel', ({ pointerId }) => this.#pressed.delete(pointerId));
    for (const type of ['click', 'dblclick']) element.addEventListener(type, (event) => this.#click(event), { capture: true });
    video.addEventListener('resize', () => this.#resized());
    new ResizeObserver(() => this.#resized()).observe(element);
  }

  /** 1, the whole picture, to 8. */
  get scale() {
    return this.#view.scale;
  }

  /** Whether wheel, fingers and keys zoom; where they don't, the picture is whole. */
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

  /** Whether a key zoomed, or moved the picture; then it is done. */
  key(key, target) {
    if (!this.#enabled) return false;
    const zoomed = this.scale > 1;
    const here = target === document.body || this.#element.contains(target); // Elsewhere, arrows scroll.
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
    // Also at the largest scale: the browser would zoom into the whole page then.
    if (zoomed || this.scale > 1) event.preventDefault();
  }

  #down(event) {
    if (!this.#enabled || event.button !== 0) return;
    if (event.isPrimary) {
      this.#pressed.clear(); // A mouse may have been let go elsewhere.
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
      this.#element.setPointerCapture(event.pointerId); // not before: a click goes to whoever has it
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

  /** Whether a tap waited. */
  #untap() {
    const tap = this.#tap;
    clearTimeout(tap?.timer);
    this.#tap = null;
    return tap !== null;
  }

  #click(event) {
    if (event.detail === 0) return; // by a key, or by a tap that waited
    if (this.#tap && event.detail === 1) this.#tap.target = event.target;
    else if (!this.#spent) return;
    event.stopPropagation();
  }

  /** The middle of what is pressed, and how far apart two of them are. */
  #grip() {
    const [{ at: a }, { at: b } = { at: a }] = this.#pressed.values();
    return { x: (a.x + b.x) / 2, y: (a.y + b.y) / 2, apart: Math.max(1, Math.hypot(a.x - b.x, a.y - b.y)) };
  }

  /** Where an event is, in pixels from the middle of the box. */
  #at({ clientX, clientY }) {
    const { left, top, width, height } = this.#element.getBoundingClientRect();
    return { x: clientX - left - width / 2, y: clientY - top - height / 2 };
  }

  /** The box and the ratio of the picture; `null` while one of them is not there. */
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
    // Whoever takes other cameras is done by then.
    if (view.scale !== before) queueMicrotask(this.#changed);
  }
}
