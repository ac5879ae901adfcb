// Full screen, in the three dialects that browsers speak.

export class Fullscreen {
  #element;
  #video;

  /** The whole `element` where the browser can; on an iPhone only the video itself can, which `video()` tells. */
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
