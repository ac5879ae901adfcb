// Full screen, with the three APIs that browsers have.

export class Fullscreen {
  #element;
  #video;

  /** Shows the whole `element` if the browser supports it. An iPhone can show only a video element, which `video()` returns. */
  constructor(element, video, changed) {
    this.#element = element;
    this.#video = video;
    document.addEventListener('fullscreenchange', changed);
    document.addEventListener('webkitfullscreenchange', changed);
  }

  get possible() {
    return Boolean(
      (this.#element.requestFullscreen && document.fullscreenEnabled) ||
        this.#element.webkitRequestFullscreen ||
        this.#video().webkitEnterFullscreen,
    );
  }

  get active() {
    return Boolean(document.fullscreenElement ?? document.webkitFullscreenElement);
  }

  async toggle() {
    try {
      if (this.active) await (document.exitFullscreen ?? document.webkitExitFullscreen).call(document);
      else if (this.#element.requestFullscreen) await this.#element.requestFullscreen({ navigationUI: 'hide' });
      else if (this.#element.webkitRequestFullscreen) this.#element.webkitRequestFullscreen();
      else this.#video().webkitEnterFullscreen();
    } catch (e) {
      console.debug('no full screen:', e.message); // The browser wants a click, or forbids it in a frame.
    }
  }
}
