// Measurements of the main picture: its delay, and the figures from its statistics.

import { Recent, age_ms, on_screen_ms, plausible } from './delay.js';
import { figures } from './figures.js';

/** The reported delay is the median of this many pictures: two seconds at 30 per second. */
const DELAYS = 60;

export class Measure {
  #delays = new Recent(DELAYS);
  /** How long the browser held pictures back while it played no sound, ms. */
  #heldMuted_ms = 0;
  /** Figures of the current session, see figures.js. */
  figures = null;
  /** Whether the browser reports the RTP timestamp of what it shows; `null` until it showed something. */
  measurable = null;

  /** The main picture has changed: drops the measurements of the previous one. */
  startOver() {
    this.#delays.clear();
    this.figures = null;
  }

  /** The sound was turned on or off: the delay changes with it. */
  soundTurned() {
    this.#delays.clear();
  }

  /** A frame is displayed, or about to be; `clock` and `hello` are those of the session. */
  shown(metadata, now_ms, { clock, hello }) {
    this.measurable = metadata.rtpTimestamp !== undefined;
    const best = clock.best(now_ms);
    if (!this.measurable || !best || !hello) return;
    const mono_us = (on_screen_ms(now_ms, metadata.expectedDisplayTime) + best.offset_ms) * 1000;
    this.#add(age_ms(hello.video_clock, metadata.rtpTimestamp, mono_us));
  }

  /** Reads a report (`null` if there is none) for the video track. */
  read(report, track, sound, now_ms, session) {
    this.figures = report && figures(report, track, this.figures);
    if (!report) return;
    if (!sound && this.figures.held_ms !== null) this.#heldMuted_ms = this.figures.held_ms;
    if (this.measurable === false) this.#fromReport(now_ms, session);
  }

  /**
   * { delay_ms, delay_p95_ms, sync_ms, sound_behind_ms }: median and 95th percentile of the time from capture to display; the part of
   * it in which the picture waits for the sound, compared with muted playback; and how far the sound is behind the picture, as the
   * browser estimates it, positive if the sound is late.
   */
  delays(sound) {
    const { held_ms = null, sound_behind_ms = null } = this.figures ?? {};
    return {
      delay_ms: this.#delays.quantile(0.5),
      delay_p95_ms: this.#delays.quantile(0.95),
      sync_ms: sound && held_ms !== null ? Math.max(0, held_ms - this.#heldMuted_ms) : null,
      sound_behind_ms: sound ? sound_behind_ms : null,
    };
  }

  /**
   * For browsers that do not report the RTP timestamp of a displayed frame: the sender's wall clock at the capture of what plays now,
   * which the browser derives from RTCP sender reports.
   */
  #fromReport(now_ms, { clock, status }) {
    const best = clock.best(now_ms);
    const daemon = status?.clock;
    if (this.figures.playout_unix_ms === null || !best || !daemon) return;
    const unix_ms = now_ms + best.offset_ms + daemon.unix_ms - daemon.mono_us / 1000;
    this.#add(unix_ms - this.figures.playout_unix_ms);
  }

  #add(delay_ms) {
    if (plausible(delay_ms)) this.#delays.add(delay_ms);
  }
}
