// Runs before anything else is loaded, from within index.html: opens the socket and wakes the browser's WebRTC while the scripts
// that use them are on their way. Later sockets and connections are made here as well.
(() => {
  /** A link with a secret has to be looked at first. */
  const begun = !/^#(pair|guest)=/.test(location.hash);

  /** A socket to the daemon, and the messages that it has brought. */
  function open() {
    const url = new URL('api/signal', document.baseURI);
    url.protocol = url.protocol === 'https:' ? 'wss:' : 'ws:';
    const [socket, heard] = [new WebSocket(url), []];
    socket.onmessage = ({ data }) => heard.push(data);
    return { socket, heard };
  }

  /** A connection that receives, and the promise of its first offer, which needs nothing from the daemon. */
  function connect() {
    const pc = new RTCPeerConnection({ bundlePolicy: 'max-bundle' });
    for (const kind of ['video', 'audio']) pc.addTransceiver(kind, { direction: 'recvonly' });
    const offer = pc.createOffer();
    offer.catch(() => {}); // whoever awaits it is told
    return { pc, offer };
  }

  function attempt(make) {
    try {
      return make();
    } catch {
      return null; // whoever makes another learns why not
    }
  }

  const first = begun ? { link: attempt(open), peer: attempt(connect) } : {};
  function take(what) {
    const taken = first[what];
    delete first[what];
    return taken;
  }

  self.early = {
    begun,
    link() {
      const taken = take('link');
      return taken && taken.socket.readyState <= WebSocket.OPEN ? taken : open();
    },
    peer: () => take('peer') ?? connect(),
  };
})();
