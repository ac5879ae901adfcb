// A video element: playing it against autoplay rules, its sound, and what each shown frame tells.

/** Rate of shown frames is counted over this long, and not told before at least a part of it has passed. */
const RATE_MS = 2000;
const RATE_LEAST_MS = 400;

export class Picture {
  #video;
  #hooks;
  #times = [];
  /** When the last new frame was shown (`performance.now()`), `null` before the first of this stream. */
  shown_ms = null;
  /** Frames shown since the page was opened. */
  frames = 0;
  /** Whether the browser refuses to play even without sound. */
  blocked = false;
  /** Whether the browser refused sound the last time it was asked for. */
  soundRefused = false;
  /** Whether this browser tells of each shown frame. */
  tells = 'requestVideoFrameCallback' in HTMLVideoElement.prototype;

  /** `frame(metadata)` for each shown frame, `changed()` when playing or sound changed; `loud`: with sound from the start. */
  constructor(video, { frame, changed, loud }) {
    this.#video = video;
    video.muted = !loud;
    this.#hooks = { frame, changed };
    video.addEventListener('volumechange', changed);
    video.addEventListener('resize', changed);
    // Live pictures have no pause: the system's own controls and the end of iOS full screen may cause one.
    video.addEventListener('pause', () => video.srcObject && !document.hidden && this.play());
    if (this.tells) video.requestVideoFrameCallback((_, metadata) => this.#frame(metadata));
  }

  get size() {
    return { width: this.#video.videoWidth, height: this.#video.videoHeight };
  }
  get sound() {
    return !this.#video.muted;
  }
  /** The id of the track that is shown, as statistics have it, or `null`. */
  get track() {
    return this.#video.srcObject?.getVideoTracks()[0]?.id ?? null;
  }
  get paused() {
    return this.#video.paused;
  }
  /** Frames per second as shown, `null` where not told, or not yet. */
  fps(now_ms) {
    while (this.#times.length && now_ms - this.#times[0] > RATE_MS) this.#times.shift();
    const over_ms = this.#times.at(-1) - this.#times[0];
    return over_ms >= RATE_LEAST_MS ? ((this.#times.length - 1) * 1000) / over_ms : null;
  }

  /** Shows these tracks from now on; the same ones again, or one more beside them, begin nothing anew. */
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

  /** What was shown so far no longer counts as the present picture. */
  restarted() {
    this.shown_ms = null;
    this.#times = [];
  }

  async play() {
    try {
      await this.#video.play();
      this.blocked = false;
    } catch (e) {
      if (e.name !== 'NotAllowedError') return; // AbortError: a newer stream took its place.
      if (this.sound) {
        this.soundRefused = true;
        this.#video.muted = true;
        return this.play();
      }
      this.blocked = true;
    }
    this.#hooks.changed();
  }

  /** Turns the sound on or off; the browser may refuse, then it stays off and `soundRefused` says so. */
  async setSound(on) {
    this.soundRefused = false;
    this.#video.muted = !on;
    await this.play();
  }

  /** Takes notice of a frame that only statistics told of. */
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
