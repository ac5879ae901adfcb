// The control connection to the daemon: a WebSocket (link.js), or plain HTTP if the browser opens none (whep.js; iOS refuses wss with
// a certificate that the device made itself). Both send and receive the messages of signal.md.

import { ask } from './api.js';
import { Link } from './link.js';

/** Close code of a socket whose access was withdrawn. */
const WITHDRAWN = 4401;
/** Timeout for opening a WebSocket, ms: after this it will not open any more. */
const OPEN_MS = 4000;
/** Number of failures before plain requests are used: a restarting daemon refuses a WebSocket and answers the next request. */
const ATTEMPTS = 2;

export class Signaling {
  #base;
  #hooks;
  #way = null;
  #failed = 0;
  #timer = null;
  #reason = null;
  #heard_ms = performance.now();
  #ended = false;

  /**
   * `message(object)` is called for each message; `closed(why)` once when the daemon or the network ends the connection, with a
   * sentence or `null`; `denied(reason)` instead when the daemon gives no access (any more). None of them is called after `close()`.
   * Throws if the browser forbids the socket.
   */
  constructor(base, hooks) {
    this.#base = base;
    this.#hooks = hooks;
    this.#open();
  }

  /** Whether it uses a WebSocket; else plain requests. */
  get socket() {
    return this.#way instanceof Link;
  }
  /** When the last message of the daemon arrived (`performance.now()`). */
  get heard_ms() {
    return Math.max(this.#heard_ms, this.#way?.heard_ms ?? 0);
  }
  set heard_ms(now_ms) {
    this.#heard_ms = now_ms;
  }

  send(message) {
    this.#way?.send(message);
  }

  close() {
    this.#ended = true;
    clearTimeout(this.#timer);
    this.#way?.close();
  }

  #open() {
    const link = new Link({
      message: (m) => {
        clearTimeout(this.#timer);
        if (m.type === 'closed') this.#reason = m.reason;
        this.#hooks.message(m);
      },
      closed: (code, reason) => {
        clearTimeout(this.#timer);
        if (code === WITHDRAWN) this.#end(() => this.#hooks.denied(reason || this.#reason));
        else if (link.opened) this.#end(() => this.#hooks.closed(null));
        else this.#refused();
      },
    });
    this.#way = link;
    // One hanging attempt is enough.
    this.#timer = setTimeout(() => {
      link.close();
      this.#failed = ATTEMPTS;
      this.#refused();
    }, OPEN_MS);
  }

  /** Browsers give no reason why a socket did not open; a plain request to the same daemon gets one. */
  async #refused() {
    this.#failed += 1;
    const { status, body, message } = await ask('GET', 'api/session');
    if (this.#ended) return;
    this.#heard_ms = performance.now();
    if (body?.state === 'signed-in') {
      if (this.#failed < ATTEMPTS) return this.#open();
      return this.#byRequests();
    }
    if (body?.state) return this.#end(() => this.#hooks.denied(null));
    this.#end(() => this.#hooks.closed(status ? message : null));
  }

  async #byRequests() {
    const { Requests } = await import('./whep.js');
    if (this.#ended) return;
    this.#way = new Requests(this.#base, {
      message: (m) => this.#hooks.message(m),
      closed: (why) => this.#end(() => this.#hooks.closed(why)),
      denied: (why) => this.#end(() => this.#hooks.denied(why)),
    });
  }

  #end(tell) {
    if (this.#ended) return;
    this.close();
    tell();
  }
}
