// One RTCPeerConnection, from its first offer to its end. A new session is a new Peer: callbacks of an old one
// are cut off by its AbortController, so nothing stale can reach the page.

/** Largest number of server errors kept. Each server fails once for each address of the browser; more entries add nothing. */
const MOST_ERRORS = 16;

export class Peer {
  #pc;
  #life = new AbortController();
  #send;
  #wishes;
  #tracks;
  #offer;
  /** Remote candidates that came before the answer that they belong to; there are few (one per address). */
  #early = [];
  /** Local candidates from before the offer was sent. */
  #unsent = [];
  /** Whether the current offer was sent to the daemon. */
  sent = false;
  #again = false;
  #wasUp = false;
  /** Whether the daemon may have received an offer whose answer never arrived: only a new offer can tell. */
  unsettled = false;
  /** The number of video sections it was made for, and once offered, the video section of each camera by name. */
  pictures;
  mids = new Map();
  /** The transceivers of these sections by camera name; and the tracks that come: the sound, and the pictures by camera name. */
  #cast = new Map();
  #coming = { sound: null, pictures: new Map() };
  /** The viewer's id, once the daemon has answered. */
  viewer = null;
  /** State of the media: connecting, up, interrupted or failed. */
  media = 'connecting';
  since_ms = performance.now();
  /** When it was created, and the errors of STUN and TURN servers: for the report of why it does not connect. */
  begun_ms = performance.now();
  #errors = [];
  #leftOut = [];

  /**
   * `send(message)` sends to the daemon, `wishes()` returns what goes with an offer, `tracks({ sound, pictures })` gets the media (the
   * pictures by camera name) after each answer, always in the same object, `changed()` is called when `media` changed. The first offer
   * is made at once, while the socket is still opening (early.js), with this number of `pictures` if it is known.
   */
  constructor({ send, wishes, tracks, changed }, pictures) {
    this.#send = send;
    this.#wishes = wishes;
    this.#tracks = tracks;
    const early = self.early.peer(pictures);
    this.#pc = early.pc;
    this.#offer = early.offer;
    this.pictures = early.pictures;
    const on = (type, act) => this.#pc.addEventListener(type, act, { signal: this.#life.signal });
    on('icecandidate', ({ candidate }) => {
      if (candidate?.candidate === '') return; // Firefox reports the end twice; null is the real one.
      const message = { type: 'candidate', candidate: candidate?.candidate ?? '', mid: candidate?.sdpMid ?? '0' };
      if (this.sent) this.#send(message);
      else this.#unsent.push(message);
    });
    on('icecandidateerror', ({ url, errorCode, errorText }) => {
      if (this.#errors.length < MOST_ERRORS) this.#errors.push({ url, code: errorCode, text: errorText });
    });
    const follow = () => {
      const media = mediaState(this.#pc, this.#wasUp);
      if (media === this.media) return;
      this.#wasUp ||= media === 'up';
      this.media = media;
      this.since_ms = performance.now();
      changed();
    };
    on('connectionstatechange', follow);
    on('iceconnectionstatechange', follow);
  }

  /** Sends the first offer, for the cameras of these names. Gathering continues, and further candidates are sent as they come. */
  async join(iceServers, names) {
    const offer = await this.#offer;
    if (this.#life.signal.aborted) return;
    this.#pc.setConfiguration({ ...this.#pc.getConfiguration(), iceServers });
    const videos = this.#videos();
    this.#cast = new Map(names.map((name, n) => [name, videos[n]]));
    await this.#describe(offer);
  }

  /** The cameras have changed: those that stay keep their sections, and a new camera gets a free one. */
  async recast(names) {
    if (this.#life.signal.aborted || this.#pc.signalingState !== 'stable') return;
    const before = this.#cast;
    const kept = names.map((name) => before.get(name));
    const free = this.#videos().filter((video) => !kept.includes(video));
    this.#cast = new Map(names.map((name, n) => [name, kept[n] ?? free.shift() ?? self.early.another(this.#pc)]));
    for (const video of this.#cast.values()) video.direction = 'recvonly';
    for (const video of free) video.direction = 'inactive';
    this.pictures = names.length;
    await this.#describe(await this.#pc.createOffer());
  }

  #videos() {
    return this.#pc.getTransceivers().filter(({ receiver }) => receiver.track.kind === 'video');
  }

  /** Restarts ICE to find a new path for the media: the same viewer, new ICE credentials (RFC 8839 section 4.4.1.1.1). */
  async restart() {
    if (this.#life.signal.aborted) return;
    if (this.#pc.signalingState !== 'stable') {
      this.#again = true; // An offer is pending: restart after its answer.
      return;
    }
    await this.#describe(await this.#pc.createOffer({ iceRestart: true }));
  }

  /** The socket is gone, and with it the answer to a pending offer: takes that offer back. */
  async offerLost() {
    this.#again = false;
    this.unsettled ||= this.#pc.signalingState === 'have-local-offer';
    await this.rollBack();
  }

  /** Takes a pending offer back, so that another can be made (RFC 8829 section 4.1.10.2). */
  async rollBack() {
    if (this.#pc.signalingState === 'have-local-offer') await this.#pc.setLocalDescription({ type: 'rollback' });
  }

  async #describe(offer) {
    this.sent = false;
    this.#unsent = [];
    await this.#pc.setLocalDescription(offer);
    if (this.#life.signal.aborted) return;
    this.mids = new Map([...this.#cast].map(([name, { mid }]) => [name, mid]));
    this.#send({ type: 'offer', sdp: offer.sdp, ...this.#wishes() });
    this.sent = true;
    for (const message of this.#unsent.splice(0)) this.#send(message);
  }

  /** Applies the daemon's answer. */
  async answer(sdp) {
    this.#leftOut = leftOut(this.#pc.localDescription?.sdp ?? '', sdp);
    await this.#pc.setRemoteDescription({ type: 'answer', sdp });
    if (this.#life.signal.aborted) return;
    this.unsettled = false;
    this.#give();
    for (const early of this.#early.splice(0)) this.candidate(early.candidate, early.sdpMid);
    if (this.#again) {
      this.#again = false;
      await this.restart();
    }
  }

  /** Passes on the tracks that come after an answer. For a section that another camera uses from now on there is no `track` event. */
  #give() {
    const comes = ({ currentDirection }) => currentDirection?.includes('recv') ?? false;
    const sound = this.#pc.getTransceivers().find(({ receiver }) => receiver.track.kind === 'audio');
    this.#coming.sound = sound && comes(sound) ? sound.receiver.track : null;
    this.#coming.pictures.clear();
    for (const [name, own] of this.#cast) if (comes(own)) this.#coming.pictures.set(name, own.receiver.track);
    this.#tracks(this.#coming);
  }

  /** Adds one of the daemon's candidates; one that the browser cannot use is ignored. */
  candidate(candidate, mid) {
    const init = { candidate, sdpMid: mid ?? '0' };
    if (!this.#pc.remoteDescription || this.#pc.signalingState !== 'stable') this.#early.push(init);
    else this.#pc.addIceCandidate(init).catch((e) => console.debug('candidate not usable:', candidate, e.message));
  }

  /** The states of the connection. */
  get states() {
    const { iceConnectionState: ice, iceGatheringState: gathering, connectionState: connection } = this.#pc;
    return { ice, gathering, connection, errors: this.#errors, leftOut: this.#leftOut };
  }

  /** The raw statistics, or `null` when it is closed. */
  async stats() {
    const report = await this.#pc.getStats().catch(() => null);
    return this.#life.signal.aborted ? null : report;
  }

  /** Bytes received over all paths, media and reports, or `null`. */
  async received() {
    const report = await this.stats();
    if (!report) return null;
    let bytes = 0;
    for (const s of report.values()) {
      if (s.type === 'inbound-rtp' || s.type === 'candidate-pair') bytes += s.bytesReceived ?? 0;
    }
    return bytes;
  }

  close() {
    this.#life.abort();
    this.#pc.close();
  }
}

/** Header extensions that the device uses if it can: their common names, and their URIs. */
const EXTENSIONS = [
  ['playout-delay', 'http://www.webrtc.org/experiments/rtp-hdrext/playout-delay'],
  ['transport-cc', 'http://www.ietf.org/id/draft-holmer-rmcat-transport-wide-cc-extensions-01'],
];

/** Names of the extensions that an offer has and its answer omits, because their ids are too large for the device. */
export function leftOut(offer, answer) {
  const has = (sdp, uri) => sdp.split(/\r?\n/).some((l) => l.startsWith('a=extmap:') && l.split(' ')[1] === uri);
  return EXTENSIONS.filter(([, uri]) => has(offer, uri) && !has(answer, uri)).map(([name]) => name);
}

/**
 * One state for two state machines: Firefox reports an interruption in ICE first, and the checks of an ICE restart look like
 * connecting in both.
 */
export function mediaState({ connectionState, iceConnectionState }, wasUp) {
  const states = [connectionState, iceConnectionState];
  if (states.includes('failed') || states.includes('closed')) return 'failed';
  if (states.includes('disconnected')) return 'interrupted';
  if (connectionState === 'connected') return 'up';
  return wasUp ? 'interrupted' : 'connecting';
}

/**
 * Whether this browser can receive H.264 as the daemon sends it (packetization-mode 1, RFC 6184 section 6.2).
 * `null` if the browser does not say.
 */
export function receivesH264(capabilities) {
  if (!capabilities?.codecs) return null;
  return capabilities.codecs.some(
    (c) => c.mimeType.toLowerCase() === 'video/h264' && /(^|;)\s*packetization-mode=1/.test(c.sdpFmtpLine ?? ''),
  );
}
