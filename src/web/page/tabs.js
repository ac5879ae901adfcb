// Other tabs of this browser with the same page: where there is room for one of them only, a person goes on in another.

/** How long to wait for a tab to give way: one that is there needs a request to the device for it. */
const GIVES_WAY_MS = 700;

export class Tabs {
  #channel = null;
  #freed = () => {};
  /** Whether another tab watches, as far as it has answered. */
  elsewhere = false;

  /**
   * `name` tells this page from others of the same origin; `watching()` whether this tab watches, `giveWay()` ends that,
   * and resolves when the device knows; `changed()` says that `elsewhere` did.
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

  /** Asks the others. */
  look() {
    this.elsewhere = false;
    this.#say('who watches?');
  }

  /** Has the others give way; resolves when one has, or when there is none. */
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
