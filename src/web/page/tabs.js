// Other tabs of this browser with the same page: if there is room for only one of them, the person can continue in another.

/** How long to wait for a tab to stop watching, ms: it needs one request to the device. */
const GIVES_WAY_MS = 700;

export class Tabs {
  #channel = null;
  #freed = () => {};
  /** Whether another tab watches, as far as it has answered. */
  elsewhere = false;

  /**
   * `name` distinguishes this page from others of the same origin; `watching()` returns whether this tab watches; `giveWay()` stops it
   * and resolves when the device knows; `changed()` is called when `elsewhere` changed.
   */
  constructor(name, { watching, giveWay, changed }) {
    if (!('BroadcastChannel' in globalThis)) return;
    this.#channel = new BroadcastChannel(`peercam ${name}`);
    this.#channel.addEventListener('message', async ({ data }) => {
      if (data === 'who watches?' && watching()) this.#say('I do');
      if (data === 'I do' && !this.elsewhere) {
        this.elsewhere = true;
        changed();
      }
      if (data === 'give way' && watching()) {
        await giveWay();
        this.#say('go on');
      }
      if (data === 'go on') this.#freed();
    });
  }

  /** Asks the other tabs. */
  look() {
    this.elsewhere = false;
    this.#say('who watches?');
  }

  /** Asks the other tabs to stop; resolves when one has, or if there is none. */
  take() {
    return new Promise((done) => {
      this.#freed = done;
      setTimeout(done, GIVES_WAY_MS);
      this.#say('give way');
    });
  }

  #say(word) {
    this.#channel?.postMessage(word);
  }
}
