// A video element: playing it in spite of autoplay rules, its sound, and the data of each displayed frame.

/** Window for counting the rate of displayed frames, ms; the rate is unknown until at least a part of it has passed. */
const RATE_MS = 2000;
const RATE_LEAST_MS = 400;

export class Picture {
  #video;
  #hooks;
  #times = [];
  /** When the last new frame was displayed (`performance.now()`); `null` before the first of this stream. */
  shown_ms = null;
  /** Frames shown since the page was opened. */
  frames = 0;
  /** Whether the browser refuses to play even without sound. */
  blocked = false;
  /** Whether the browser refused sound at the last attempt. */
  soundRefused = false;
  /** Whether this browser reports each displayed frame. */
  tells = 'requestVideoFrameCallback' in HTMLVideoElement.prototype;

  /** `frame(metadata)` is called for each displayed frame, `changed()` when playing or sound changed; `loud`: starts with sound. */
  constructor(video, { frame, changed, loud }) {
    this.#video = video;
    video.muted = !loud;
    this.#hooks = { frame, changed };
    video.addEventListener('volumechange', changed);
    video.addEventListener('resize', changed);
    // A live picture is never paused, but the system's own controls and the end of iOS full screen may pause it.
    video.addEventListener('pause', () => video.srcObject && !document.hidden && this.play());
    if (this.tells) video.requestVideoFrameCallback((_, metadata) => this.#frame(metadata));
  }

  get size() {
    return { width: this.#video.videoWidth, height: this.#video.videoHeight };
  }
  get sound() {
    return !this.#video.muted;
  }
  /** The id of the displayed track, as in statistics, or `null`. */
  get track() {
    return this.#video.srcObject?.getVideoTracks()[0]?.id ?? null;
  }
  get paused() {
    return this.#video.paused;
  }
  /** Displayed frames per second; `null` if not known, or not yet. */
  fps(now_ms) {
    while (this.#times.length && now_ms - this.#times[0] > RATE_MS) this.#times.shift();
    const over_ms = this.#times.at(-1) - this.#times[0];
    return over_ms >= RATE_LEAST_MS ? ((this.#times.length - 1) * 1000) / over_ms : null;
  }

  /** Displays these tracks from now on. The same tracks again, or an additional one, do not restart anything. */
  show(tracks) {
    const stream = this.#video.srcObject;
    const before = stream?.getTracks() ?? [];
    if (before.length && before.every((track) => tracks.includes(track))) {
      for (const track of tracks) stream.addTrack(track);
      return;
    }
    if (!tracks.length && !stream) return;
    this.#video.srcObject = tracks.length ? new MediaStream(tracks) : null;
    if (tracks.length) this.play();
  }

  /** The frames shown so far no longer count as the current picture. */
  restarted() {
    this.shown_ms = null;
    this.#times = [];
  }

  async play() {
    try {
      await this.#video.play();
      this.blocked = false;
    } catch (e) {
      if (e.name !== 'NotAllowedError') return; // AbortError: a newer stream replaced it.
      if (this.sound) {
        this.soundRefused = true;
        this.#video.muted = true;
        return this.play();
      }
      this.blocked = true;
    }
    this.#hooks.changed();
  }

  /** Turns the sound on or off. If the browser refuses, it stays off and `soundRefused` is true. */
  async setSound(on) {
    this.soundRefused = false;
    this.#video.muted = !on;
    await this.play();
  }

  /** Counts a frame that is known only from statistics. */
  decoded(now_ms) {
    this.shown_ms = now_ms;
  }

  #frame(metadata) {
    const now_ms = performance.now();
    this.#video.requestVideoFrameCallback((_, next) => this.#frame(next));
    this.frames += 1;
    this.shown_ms = now_ms;
    this.#times.push(now_ms);
    if (this.#times.length > 500) this.#times.shift();
    this.#hooks.frame(metadata, now_ms);
  }
}
