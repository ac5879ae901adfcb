// What a page's browser is made to be before its first script runs.

/** A browser that opens no WebSocket to a certificate that the device made itself. */
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
