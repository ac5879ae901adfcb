// Picture-in-picture, with the two APIs that browsers have. Firefox has its own button on every picture and gives pages no API.

export class Corner {
  #video;

  /** `video()` is the element to show; `changed()` is called when one went there or came back. */
  constructor(video, changed) {
    this.#video = video;
    // In the capture phase, because not all of these events bubble.
    for (const type of ['enterpictureinpicture', 'leavepictureinpicture', 'webkitpresentationmodechanged']) {
      document.addEventListener(type, changed, true);
    }
  }

  get possible() {
    return Boolean(document.pictureInPictureEnabled || this.#video().webkitSupportsPresentationMode?.('picture-in-picture'));
  }

  get active() {
    return Boolean(document.pictureInPictureElement) || this.#video().webkitPresentationMode === 'picture-in-picture';
  }

  async toggle() {
    const video = this.#video();
    try {
      if (document.pictureInPictureElement) await document.exitPictureInPicture();
      else if (document.pictureInPictureEnabled) await video.requestPictureInPicture();
      else video.webkitSetPresentationMode(this.active ? 'inline' : 'picture-in-picture');
    } catch (e) {
      console.debug('no picture in a corner:', e.message); // The browser wants a click, or there is no picture yet.
    }
  }
}
