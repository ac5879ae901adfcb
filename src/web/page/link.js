// One WebSocket to the daemon, from opening to closing. It does not reconnect.

export class Link {
  #socket;
  #life = new AbortController();
  /** When the last message of the daemon arrived (`performance.now()`); it sends one every 2 s. */
  heard_ms = performance.now();
  open = false;
  /** Whether the socket was ever open. */
  opened = false;

  /**
   * `message(object)` is called for each message, `closed(code, reason)` once when the daemon or the network ends the socket. Neither
   * is called after `close()`. Throws if the browser forbids the socket.
   */
  constructor({ message, closed }) {
    const { socket, heard } = self.early.link();
    this.#socket = socket;
    socket.onmessage = null;
    const on = (type, act) => this.#socket.addEventListener(type, act, { signal: this.#life.signal });
    const opened = () => {
      this.open = true;
      this.opened = true;
      this.heard_ms = performance.now();
    };
    on('open', opened);
    const hear = (data) => {
      this.heard_ms = performance.now();
      let parsed;
      try {
        parsed = JSON.parse(data);
      } catch {
        return; // Unknown: a newer daemon may send messages that this page does not know.
      }
      message(parsed);
    };
    on('message', ({ data }) => hear(data));
    if (this.#socket.readyState === WebSocket.OPEN) opened();
    // Deferred until the caller has this object.
    queueMicrotask(() => heard.forEach((data) => this.open && hear(data)));
    on('close', ({ code, reason }) => {
      this.close();
      closed(code, reason);
    });
  }

  /** Sends a message if the socket is open; else drops it, because its context is gone with the socket. */
  send(message) {
    if (this.open) this.#socket.send(JSON.stringify(message));
  }

  close() {
    this.open = false;
    this.#life.abort();
    this.#socket.close();
  }
}
