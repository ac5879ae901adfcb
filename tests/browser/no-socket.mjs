// Changes to a page's browser before its first script runs.

/** A browser that opens no WebSocket to a server with a self-made certificate. */
export function noSocket() {
  window.WebSocket = class extends EventTarget {
    static OPEN = 1;
    readyState = 0;
    constructor() {
      super();
      setTimeout(() => {
        this.readyState = 3;
        this.dispatchEvent(new CloseEvent('close', { code: 1006 }));
      }, 20);
    }
    send() {}
    close() {}
  };
}
