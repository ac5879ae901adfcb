// Runs before anything else is loaded, from within index.html: opens the socket and wakes the browser's WebRTC while the scripts
// that use them are on their way. Later sockets and connections are made here as well.
(() => {
  /** A link with a secret has to be looked at first. */
  const begun = !/^#(pair|guest)=/.test(location.hash);
  /** Whatever the browser has kept, no more sections than this are offered before the daemon has told how many cameras it has. */
  const MOST = 16;

  /** A socket to the daemon, and the messages that it has brought. */
  function open() {
    const url = new URL('api/signal', document.baseURI);
    url.protocol = url.protocol === 'https:' ? 'wss:' : 'ws:';
    const [socket, heard] = [new WebSocket(url), []];
    socket.onmessage = ({ data }) => heard.push(data);
    return { socket, heard };
  }

  /** How many cameras there were last time (layout.js). */
  function remembered() {
    try {
      const count = parseInt(localStorage.getItem('peercam.cameras'), 10);
      return Math.min(Math.max(count || 1, 1), MOST);
    } catch {
      return 1;
    }
  }

  /** With all codecs of a browser in each of its sections an offer of a dozen would be longer than a message may be. */
  function onlyH264(transceiver) {
    const { codecs } = RTCRtpReceiver.getCapabilities('video');
    const useful = ({ mimeType, sdpFmtpLine }) => /\/rtx$/i.test(mimeType) || (/\/h264$/i.test(mimeType) && /packetization-mode=1/.test(sdpFmtpLine));
    transceiver.setCodecPreferences(codecs.filter(useful));
  }

  /** One more section for a picture. */
  function another(pc) {
    const transceiver = pc.addTransceiver('video', { direction: 'recvonly' });
    attempt(() => onlyH264(transceiver));
    return transceiver;
  }

  /** A connection that receives so many pictures, and the promise of its first offer, which needs nothing else from the daemon. */
  function connect(pictures) {
    const pc = new RTCPeerConnection({ bundlePolicy: 'max-bundle' });
    if (pictures === 1) pc.addTransceiver('video', { direction: 'recvonly' });
    else for (let n = 0; n < pictures; n++) another(pc);
    pc.addTransceiver('audio', { direction: 'recvonly' });
    const offer = pc.createOffer();
    offer.catch(() => {}); // whoever awaits it is told
    return { pc, offer, pictures };
  }

  function attempt(make) {
    try {
      return make();
    } catch {
      return null; // whoever makes another learns why not
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
    /** `pictures`: how many, once that is known. */
    peer(pictures = remembered()) {
      const taken = take('peer');
      if (taken?.pictures === pictures) return taken;
      taken?.pc.close();
      return connect(pictures);
    },
  };
})();
