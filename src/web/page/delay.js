// The delay of a shown picture, from its RTP timestamp and the daemon's clock. Pure.

const WRAP = 2 ** 32;

/** A delay outside this range is no delay but a clock we misread. Slightly negative ones are clock error. */
const PLAUSIBLE_MS = { least: -50, most: 60_000 };

/**
 * How long ago, in ms, the picture with RTP timestamp `rtp` was captured, when the daemon's clock shows `mono_us`.
 * RTP timestamps are `offset + mono * hz` modulo 2^32 (clock.rs); the nearest of the possible times is meant.
 */
export function age_ms(clock, rtp, mono_us) {
  const ticks = Math.floor((mono_us / 1e6) * clock.hz) + clock.offset - rtp;
  const wrapped = ((ticks % WRAP) + WRAP) % WRAP;
  return ((wrapped >= WRAP / 2 ? wrapped - WRAP : wrapped) / clock.hz) * 1000;
}

/** Between two refreshes of most screens; of the others they come sooner. */
const REFRESH_MS = 1000 / 60;

/**
 * When a picture is seen (`performance.now()`) of which the browser told at `told_ms` that it has it ready: at the screen's
 * next refresh. Browsers expect it at `expected_ms`, but some mean the refresh before, when the picture had not even come;
 * and Chromium stretches the interval that it adds to that of the pictures, 100 ms at ten a second, though it draws them
 * at once.
 */
export function on_screen_ms(told_ms, expected_ms = told_ms) {
  return Math.min(Math.max(expected_ms, told_ms), told_ms + REFRESH_MS);
}

/** Whether `ms` can be the delay of a live picture. */
export function plausible(ms) {
  return ms >= PLAUSIBLE_MS.least && ms <= PLAUSIBLE_MS.most;
}

/** The last `size` values, and what lies in their middle. */
export class Recent {
  #values = [];
  #size;

  constructor(size) {
    this.#size = size;
  }

  add(value) {
    this.#values.push(value);
    if (this.#values.length > this.#size) this.#values.shift();
  }

  clear() {
    this.#values = [];
  }

  get count() {
    return this.#values.length;
  }

  /** The value below which the part `p` (0 to 1) of them lies; `null` when there is none. */
  quantile(p) {
    if (!this.#values.length) return null;
    const sorted = [...this.#values].sort((a, b) => a - b);
    return sorted[Math.min(sorted.length - 1, Math.floor(p * sorted.length))];
  }
}
