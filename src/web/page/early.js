// Runs before everything else, from index.html: opens the socket and starts the browser's WebRTC while the scripts that use them are
// still loading. Later sockets and connections are made here too.
(() => {
  /** A link with a secret must be handled first. */
  const begun = !/^#(pair|guest)=/.test(location.hash);
  /** Largest number of video sections to offer before the daemon has said how many cameras it has, whatever the browser remembers. */
  const MOST = 16;

  /** A socket to the daemon, and the messages received so far. */
  function open() {
    const url = new URL('api/signal', document.baseURI);
    url.protocol = url.protocol === 'https:' ? 'wss:' : 'ws:';
    const [socket, heard] = [new WebSocket(url), []];
    socket.onmessage = ({ data }) => heard.push(data);
    return { socket, heard };
  }

  /** The number of cameras at the last visit (layout.js). */
  function remembered() {
    try {
      const count = parseInt(localStorage.getItem('peercam.cameras'), 10);
      return Math.min(Math.max(count || 1, 1), MOST);
    } catch {
      return 1;
    }
  }

  /** Offers only H.264: with all codecs of a browser, an offer with a dozen sections would exceed the size limit of a message. */
  function onlyH264(transceiver) {
    const { codecs } = RTCRtpReceiver.getCapabilities('video');
    const useful = ({ mimeType, sdpFmtpLine }) => /\/rtx$/i.test(mimeType) || (/\/h264$/i.test(mimeType) && /packetization-mode=1/.test(sdpFmtpLine));
    transceiver.setCodecPreferences(codecs.filter(useful));
  }

  /** Adds a video section. */
  function another(pc) {
    const transceiver = pc.addTransceiver('video', { direction: 'recvonly' });
    attempt(() => onlyH264(transceiver));
    return transceiver;
  }

  /** A connection with this many video sections, and the promise of its first offer, which needs nothing else from the daemon. */
  function connect(pictures) {
    const pc = new RTCPeerConnection({ bundlePolicy: 'max-bundle' });
    if (pictures === 1) pc.addTransceiver('video', { direction: 'recvonly' });
    else for (let n = 0; n < pictures; n++) another(pc);
    pc.addTransceiver('audio', { direction: 'recvonly' });
    const offer = pc.createOffer();
    offer.catch(() => {}); // the caller that awaits it gets the error
    return { pc, offer, pictures };
  }

  function attempt(make) {
    try {
      return make();
    } catch {
      return null; // the next attempt reports why
    }
  }

  const first = begun ? { link: attempt(open), peer: attempt(() => connect(remembered())) } : {};
  function take(what) {
    const taken = first[what];
    delete first[what];
    return taken;
  }

  self.early = {
    begun,
    another,
    link() {
      const taken = take('link');
      return taken && taken.socket.readyState <= WebSocket.OPEN ? taken : open();
    },
    /** `pictures`: the number of video sections, once that is known. */
    peer(pictures = remembered()) {
      const taken = take('peer');
      if (taken?.pictures === pictures) return taken;
      taken?.pc.close();
      return connect(pictures);
    },
  };
})();
