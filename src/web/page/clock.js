// The offset between the daemon's monotonic clock and this page's `performance.now()`. Pure: time is an argument.

/** Two free-running quartz clocks drift apart by at most this much (100 ppm, generous). */
const DRIFT = 1e-4;
/** Number of samples kept: enough for a minute of bursts. Older ones are useless because of drift. */
const KEEP = 32;

export class ClockOffset {
  #samples = [];

  /**
   * One exchange: sent at `sent_ms`, answered with `mono_us`, received at `got_ms`.
   * An answer that arrived before its request (a suspended clock) is not a measurement.
   */
  add(sent_ms, mono_us, got_ms) {
    const rtt_ms = got_ms - sent_ms;
    if (!Number.isFinite(mono_us) || !(rtt_ms >= 0)) return;
    this.#samples.push({ offset_ms: mono_us / 1000 - (sent_ms + got_ms) / 2, rtt_ms, at_ms: got_ms });
    if (this.#samples.length > KEEP) this.#samples.shift();
  }

  /** Forgets everything: it is a different daemon, or this machine has slept and its clock may have stopped. */
  clear() {
    this.#samples = [];
  }

  /**
   * The exchange with the smallest possible error now: half its round trip, plus the drift since then. `null` before the first
   * exchange.
   */
  best(now_ms) {
    let best = null;
    for (const s of this.#samples) {
      const error_ms = s.rtt_ms / 2 + (now_ms - s.at_ms) * DRIFT;
      if (!best || error_ms < best.error_ms) best = { offset_ms: s.offset_ms, rtt_ms: s.rtt_ms, error_ms };
    }
    return best;
  }
}
