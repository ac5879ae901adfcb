// The delay of a displayed picture, from its RTP timestamp and the daemon's clock. Pure.

const WRAP = 2 ** 32;

/** A value outside this range is not a delay but a clock error. Slightly negative values are normal inaccuracy of the clocks. */
const PLAUSIBLE_MS = { least: -50, most: 60_000 };

/**
 * How long ago, in ms, the picture with RTP timestamp `rtp` was captured, when the daemon's clock shows `mono_us`.
 * RTP timestamps are `offset + mono * hz` modulo 2^32 (clock.rs); of the possible times the nearest is used.
 */
export function age_ms(clock, rtp, mono_us) {
  const ticks = Math.floor((mono_us / 1e6) * clock.hz) + clock.offset - rtp;
  const wrapped = ((ticks % WRAP) + WRAP) % WRAP;
  return ((wrapped >= WRAP / 2 ? wrapped - WRAP : wrapped) / clock.hz) * 1000;
}

/** Time between two refreshes of most screens, ms; the other screens refresh more often. */
const REFRESH_MS = 1000 / 60;

/**
 * When a picture becomes visible (`performance.now()`) that the browser reported as ready at `told_ms`: at the next refresh of the
 * screen. Browsers report `expected_ms`, but some mean the refresh before, when the picture had not arrived yet. Chromium adds the
 * interval between pictures (100 ms at ten per second), although it draws them at once.
 */
export function on_screen_ms(told_ms, expected_ms = told_ms) {
  return Math.min(Math.max(expected_ms, told_ms), told_ms + REFRESH_MS);
}

/** Whether `ms` can be the delay of a live picture. */
export function plausible(ms) {
  return ms >= PLAUSIBLE_MS.least && ms <= PLAUSIBLE_MS.most;
}

/** The last `size` values and their quantiles. */
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

  /** The quantile `p` (0 to 1) of the values; `null` if there are none. */
  quantile(p) {
    if (!this.#values.length) return null;
    const sorted = [...this.#values].sort((a, b) => a - b);
    return sorted[Math.min(sorted.length - 1, Math.floor(p * sorted.length))];
  }
}
