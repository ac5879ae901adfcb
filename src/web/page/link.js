// One WebSocket to the daemon, from opening to closing. Whether there is another after it is not its business.

export class Link {
  #socket;
  #life = new AbortController();
  /** When the daemon last said anything (`performance.now()`); it says something every 2 s. */
  heard_ms = performance.now();
  open = false;
  /** Whether it ever was open. */
  opened = false;

  /**
   * `message(object)` for each message, `closed(code, reason)` once when the other side or the network ends it.
   * Neither is called after `close()`. Throws where the browser forbids the socket.
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
        return; // Not ours; a later daemon may send what this page does not know.
      }
      message(parsed);
    };
    on('message', ({ data }) => hear(data));
    if (this.#socket.readyState === WebSocket.OPEN) opened();
    // Only once whoever makes this link has it.
    queueMicrotask(() => heard.forEach((data) => this.open && hear(data)));
    on('close', ({ code, reason }) => {
      this.close();
      closed(code, reason);
    });
  }

  /** Sends if the socket is open; else drops it, since what it was about has gone with the socket. */
  send(message) {
    if (this.open) this.#socket.send(JSON.stringify(message));
  }

  close() {
    this.open = false;
    this.#life.abort();
    this.#socket.close();
  }
}
