// The life of the connection: socket, viewer and media path, and how each of them is restored.
//
// Two things can break independently: the socket (offers, status) and the media path. A lost socket does not affect the picture and is
// reopened with `resume`. An interrupted media path is repaired by an ICE restart over the socket. Only if that fails, everything
// starts again, with a new Peer and a new socket.

import { Backoff } from './backoff.js';
import { camerasOf, sameCameras, statusOf } from './cameras.js';
import { ClockOffset } from './clock.js';
import { keepCount } from './layout.js';
import { Peer, receivesH264 } from './peer.js';
import { Retry } from './retry.js';
import { Signaling } from './signaling.js';
import { Wishes } from './wishes.js';

/** The daemon sends a message every 2 s. After this silence (three missed messages) the socket is dead, whatever TCP says. */
const SILENCE_MS = 7000;
/** How long the daemon may take to answer a probe after waking up or a network change; and the same when media stops. */
const PROBE_MS = 1000;
const PROBE_QUIET_MS = 500;
/** After this time without a decoded picture, check whether anything arrives at all. */
const LATE_MS = 500;
/** The path is dead after this time without a picture and half of it without any packet (reports come every 500 ms). */
const QUIET_MS = 1000;
/** Longest wait for each step of connecting before it starts again. */
const STEP_MS = { hello: 6000, resumed: 6000, answer: 10_000 };
/** Longest time from the answer to media: several rounds of ICE checks over a slow path. */
const MEDIA_MS = 15_000;
/** How long ICE restarts may take to repair an interrupted path, and the time between two of them. */
const MEND_MS = 10_000;
const MEND_AGAIN_MS = 3000;
/** After this time without a decoded picture, although daemon and path work, the decoder will not recover. */
const STUCK_MS = 8000;
/** Longest time in which pictures are decoded but not displayed: Firefox drops every picture that is due before the last one (libwebrtc 7253). */
const UNSEEN_MS = 3000;
/** Time between clock bursts, and exchanges in one burst: the best of five is within a fraction of a ms on a LAN. */
const CLOCK_MS = 10_000;
const CLOCK_BURST = 5;
/** Time to the next attempt after a refusal that can change by itself: too many viewers, or a new configuration. */
const REFUSED_MS = { 406: 60_000, 503: 8000 };
/** The daemon keeps a place for another second for the viewer that left it, who may return; and how long a departure counts as recent. */
const KEPT_MS = 1100;
const LEFT_LATELY_MS = 4000;
/** A gap of this length between ticks means that the machine or the tab slept. */
const SLEPT_MS = 5000;

export class Session {
  #base;
  #missed = {};
  #hooks = {
    tracks: (tracks) => (this.#missed.tracks = tracks),
    changed: () => {},
    denied: (reason) => (this.#missed.denied = { reason }),
  };
  #link = null;
  #peer = null;
  #backoff = new Backoff();
  #retry = new Retry();
  #step = null;
  #clockBurst = 0;
  #clockAsked_ms = -Infinity;
  #probe = null;
  #arrived = null;
  #mended_ms = -Infinity;
  #ticked_ms = performance.now();
  #wishes = new Wishes();
  /** When the status last showed that somebody had left. */
  #left_ms = -Infinity;
  /** Why the daemon ended the last viewer, until it accepts another. If access is denied too, this is the reason. */
  #parting = null;

  /** `hello` of the daemon that the page is, or was last, connected to. */
  hello = null;
  /** The last status message. */
  status = null;
  /** The offset between this page's clock and the daemon's. */
  clock = new ClockOffset();
  /** Sessions begun since the page was opened. */
  generation = 0;
  /** Why there is no session: { kind: 'unsupported'|'h264'|'full'|'refused'|'ended'|'away'|'path'|'elsewhere', message }. */
  trouble = null;
  /** Why the daemon ended an attempt that never brought a picture, until one does. */
  told = null;
  /** Since when the control connection is lost (`performance.now()`), until a new one has replaced it. */
  lost_ms = null;

  /** `base` is the page's own address. */
  constructor(base) {
    this.#base = base;
  }

  /**
   * Connects the session to the page, which may load later: `tracks({ sound, pictures })` gets the media (peer.js), `changed()` is
   * called after changes, `denied(reason)` when the daemon gives no access (any more); the session has stopped then. Earlier events
   * are delivered now.
   */
  tie({ tracks, changed, denied }) {
    const missed = this.#missed;
    this.#hooks = { tracks, changed, denied };
    if (missed.tracks) tracks(missed.tracks);
    if (missed.denied) denied(missed.denied.reason);
    changed();
  }

  /** 'opening', 'open' (hello came) or 'closed' */
  get socket() {
    if (!this.#link) return 'closed';
    return this.#step?.what === 'hello' ? 'opening' : 'open';
  }
  /** Whether `status` is current: it comes every 2 s, else the connection counts as lost. */
  get fresh() {
    return this.status !== null && this.lost_ms === null && this.socket === 'open';
  }
  /** The state of the Peer's media, or 'none'. */
  get media() {
    return this.#peer?.media ?? 'none';
  }
  get viewer() {
    return this.#peer?.viewer ?? null;
  }

  /** The states of the current connection and when it began (peer.js), or `null`. */
  get attempt() {
    return this.#peer && { ...this.#peer.states, begun_ms: this.#peer.begun_ms };
  }
  /** 'WebSocket' or 'requests', once there is a link. */
  get way() {
    return this.#link && (this.#link.socket ? 'WebSocket' : 'requests');
  }

  /** When the next attempt starts (`performance.now()`), while the page shows a countdown for it. */
  get retry_ms() {
    return this.#retry.told_ms;
  }

  /** The raw statistics of the media path, or `null`. */
  stats() {
    return this.#peer?.stats() ?? Promise.resolve(null);
  }

  /** Connects, and stays connected until `stop`. */
  start() {
    this.#backoff.reset();
    this.#restored();
    this.#open();
  }

  /** Leaves for good or until `start`. The daemon is notified even while the page is being closed. Resolves when it knows. */
  stop() {
    const viewer = this.viewer;
    const url = new URL(`whep/${encodeURIComponent(viewer)}`, this.#base);
    const told = viewer ? fetch(url, { method: 'DELETE', keepalive: true }).catch(() => {}) : Promise.resolve();
    this.#retry.cancel();
    this.#closeLink();
    this.#closePeer();
    return told;
  }

  /** What the person wants (wishes.js). */
  get wishes() {
    return this.#wishes.now;
  }

  /** Changes what the person wants. */
  wish(change) {
    Object.assign(this.#wishes.now, change);
    if (this.viewer) this.#tell();
  }

  /** Something has changed (waking up, visibility, network): check the connection now instead of waiting for a timeout. */
  nudge() {
    if (this.#retry.waits) {
      this.#backoff.reset();
      this.#retry.now();
    } else if (this.socket === 'open') {
      this.#ask();
    }
  }

  /**
   * Called a few times per second, with the pictures that should be arriving: { camera, decoded_ms, seen_ms, since_ms }, the camera's
   * name, when its last picture was decoded and displayed (`null`: never), and since when it is visible.
   */
  tick(now_ms, pictures) {
    const slept = now_ms - this.#ticked_ms > SLEPT_MS;
    this.#ticked_ms = now_ms;
    if (slept) {
      // Data that arrived meanwhile has not been delivered yet, so deadlines can't be checked now.
      this.clock.clear();
      if (this.#step) this.#step.by_ms = now_ms + STEP_MS.hello;
      if (this.#link) this.#link.heard_ms = now_ms;
      if (this.#peer) this.#peer.since_ms = now_ms;
      return this.nudge();
    }
    if (this.#step && now_ms > this.#step.by_ms) return this.#overdue();
    const link = this.#link;
    if (link && this.socket === 'open') {
      if (this.#probe && this.#probe.link !== link) this.#probe = null;
      const asked = this.#probe && link.heard_ms < this.#probe.at_ms ? this.#probe.at_ms + PROBE_MS : Infinity;
      if (this.#probe && link.heard_ms >= this.#probe.at_ms) this.#probe = null;
      if (now_ms > Math.min(asked, link.heard_ms + SILENCE_MS)) return this.#linkLost('The device has stopped answering');
      if (now_ms - this.#clockAsked_ms > CLOCK_MS) this.#askClock();
    }
    const peer = this.#peer;
    const newest = (last, p) => (p.decoded_ms === null ? last : Math.max(last, p.decoded_ms, p.since_ms));
    const decoded_ms = pictures.reduce(newest, null);
    if (peer?.media === 'up' && decoded_ms !== null && now_ms - decoded_ms > LATE_MS) this.#listen(peer, decoded_ms);
    if (!peer?.viewer || this.#retry.waits || this.socket !== 'open') return;
    const since = now_ms - peer.since_ms;
    if (peer.media === 'connecting' && since > MEDIA_MS) this.#begin('path', null);
    else if (peer.media === 'interrupted' && since > MEND_MS) this.#begin('path', null);
    else if (peer.media === 'interrupted' && now_ms - this.#mended_ms > MEND_AGAIN_MS) this.#mend();
    else if (peer.media === 'up' && this.#stuck(pictures, now_ms)) this.#begin('stuck', null);
  }

  /** Whether no camera's pictures arrive. If one camera's do, the connection works, and a new one would disturb it. */
  #stuck(pictures, now_ms) {
    const due = pictures.filter(({ camera }) => this.#delivers(camera));
    return due.length > 0 && due.every(({ decoded_ms, seen_ms, since_ms }) => {
      const from_ms = Math.max(since_ms, this.#peer.since_ms);
      const unseen = decoded_ms === null ? 0 : decoded_ms - Math.max(seen_ms ?? 0, from_ms);
      return now_ms - Math.max(decoded_ms ?? 0, from_ms) > STUCK_MS || unseen > UNSEEN_MS;
    });
  }

  // ---- socket ----

  #open() {
    this.#retry.cancel();
    this.#closeLink();
    // The socket comes first, because it takes a round trip. The browser's WebRTC needs tens of ms to start meanwhile.
    let link;
    try {
      link = new Signaling(this.#base, {
        message: (m) => this.#message(link, m),
        closed: (why) => this.#linkLost(why),
        denied: (reason) => this.#denied(reason),
      });
    } catch (e) {
      return this.#say('unsupported', `The browser blocks the connection: ${e.message}`);
    }
    this.#link = link;
    this.#expect('hello');
    if (!this.#able()) return this.#giveUp();
    if (!this.#peer && !this.#newPeer()) return this.#giveUp();
    this.#hooks.changed();
  }

  /** Whether this browser can play at all; if not, reports why. */
  #able() {
    if (!('RTCPeerConnection' in globalThis)) {
      this.#say('unsupported', 'This browser has no WebRTC, or it is switched off');
      return false;
    }
    if (receivesH264(globalThis.RTCRtpReceiver?.getCapabilities?.('video')) !== false) return true;
    // Firefox downloads its decoder some time after its first start: check again now and then.
    this.#say('h264', null);
    this.#later(10_000, () => this.#open(), true);
    return false;
  }

  #giveUp() {
    this.#closeLink();
    this.#expect(null);
    this.#hooks.changed();
  }

  async #message(link, m) {
    switch (m.type) {
      case 'hello':
        return this.#hello(m);
      case 'update':
        this.hello = { ...this.hello, ...m, type: 'hello' };
        this.#followCameras();
        return this.#hooks.changed();
      case 'clock':
        return this.#clockAnswer(m);
      case 'status': {
        const left = m.viewers?.count < this.status?.viewers?.count;
        this.status = m;
        if (left) this.#left_ms = performance.now();
        const free_ms = performance.now() + KEPT_MS;
        if (left && this.trouble?.kind === 'full' && this.#retry.at_ms > free_ms) this.#later(KEPT_MS, () => this.#join(), true);
        return this.#hooks.changed();
      }
      case 'candidate':
        return this.#peer?.candidate(m.candidate, m.mid);
      case 'answer':
        return this.#answer(link, m);
      case 'resumed':
        this.#expect(null);
        this.#restored();
        this.#backoff.up(performance.now());
        this.#wishes.forget();
        this.#followCameras();
        if (this.media === 'interrupted' || this.#peer?.unsettled) this.#mend();
        return this.#hooks.changed();
      case 'restart':
        // If an offer is pending, the next one follows its answer.
        if (this.viewer && this.#step?.what === 'answer') return this.#peer.restart();
        return this.#mend();
      case 'connected':
        return this.#hooks.changed();
      case 'closed':
        this.#parting = m.reason ?? null;
        // It is about a viewer that we left; it crossed with our next offer.
        if (this.#step?.what === 'answer' && !this.viewer) return;
        if (this.media === 'connecting' || this.media === 'failed') this.told = m.reason ?? null;
        this.#closePeer();
        this.#expect(null);
        this.#say('ended', m.reason ?? null);
        return this.#later(this.#backoff.down(performance.now()), () => this.#join());
      case 'error':
        return this.#refused(m);
    }
  }

  #hello(hello) {
    const before = this.hello;
    const same = before?.video_clock.offset === hello.video_clock.offset && before.audio_clock.offset === hello.audio_clock.offset;
    if (!same) this.clock.clear();
    this.hello = hello;
    this.#expect(null);
    this.#askClock();
    // A daemon with different RTP clocks is a new process, which knows no viewer of the old one.
    if (same && this.viewer && this.media !== 'failed') {
      this.#expect('resumed');
      this.#send({ type: 'resume', viewer: this.viewer });
      return this.#hooks.changed();
    }
    this.#join();
  }

  #linkLost(why) {
    this.#closeLink();
    this.#probe = null;
    // A peer that waits for its first answer can't get one any more.
    if (this.#peer?.sent && !this.viewer) this.#closePeer();
    this.#peer?.offerLost().catch((e) => console.debug('offer not taken back:', e.message));
    this.lost_ms ??= performance.now();
    // The first reason stays: a device that stops says why, and later attempts only find that nothing answers.
    const first = ['ended', 'away'].includes(this.trouble?.kind) ? this.trouble.message : null;
    this.#say('away', first ?? why);
    this.#expect(null);
    this.#later(this.#backoff.down(performance.now()), () => this.#open());
  }

  #denied(reason) {
    this.stop();
    this.trouble = null;
    this.#hooks.denied(reason ?? this.#parting);
  }

  // ---- viewer ----

  /** Sends an offer for a new viewer on the open socket. */
  async #join() {
    this.#retry.cancel();
    if (this.socket !== 'open') return this.#open();
    const names = camerasOf(this.hello).map(({ name }) => name);
    if (!names.length) {
      this.#closePeer();
      return this.#say('refused', 'There is no camera that you may watch');
    }
    keepCount(() => localStorage, names.length);
    if ((this.#peer?.pictures !== names.length || this.viewer) && !this.#newPeer()) return;
    this.generation += 1;
    this.#expect('answer');
    const peer = this.#peer;
    try {
      await peer.join(this.hello.ice_servers ?? [], names);
    } catch (e) {
      if (peer === this.#peer) this.#begin('refused', `The browser cannot create an offer: ${e.message}`);
    }
  }

  async #answer(link, m) {
    const peer = this.#peer;
    if (!peer || link !== this.#link) return;
    this.#parting = null;
    this.#expect(null);
    if (!peer.viewer) peer.since_ms = performance.now();
    peer.viewer = m.viewer;
    // The device is reachable and not full; whether a path is found is not known yet.
    this.#restored(['path', 'stuck']);
    try {
      await peer.answer(m.sdp);
    } catch (e) {
      if (peer === this.#peer) this.#begin('refused', `The browser does not accept the answer: ${e.message}`);
    }
    if (peer === this.#peer) this.#followCameras(); // apply what has changed since the offer
    this.#hooks.changed();
  }

  #refused({ status, message }) {
    const step = this.#step?.what;
    if (step === 'resumed') {
      this.#expect(null);
      return this.#join();
    }
    if (step !== 'answer') return console.debug('refused:', status, message);
    this.#expect(null);
    if (this.viewer) return this.#laterRefused(status);
    this.#closePeer();
    this.#say(status === 406 ? 'h264' : status === 503 ? 'full' : 'refused', message ?? null);
    // If all places are taken, wait until somebody leaves.
    const lately = status === 503 && performance.now() - this.#left_ms < LEFT_LATELY_MS;
    const pause_ms = lately ? KEPT_MS : (REFUSED_MS[status] ?? this.#backoff.down(performance.now()));
    this.#later(pause_ms, () => this.#join(), status === 503);
  }

  /**
   * The daemon refused a restart, or an offer that names a camera that has just gone: `update` came before the refusal then, and another
   * offer names the cameras that are there now.
   */
  async #laterRefused(status) {
    const peer = this.#peer;
    if (status !== 400 || sameCameras([...peer.mids.keys()], camerasOf(this.hello))) return this.#begin('path', null);
    await peer.rollBack();
    if (peer === this.#peer) this.#followCameras();
  }

  #newPeer() {
    this.#closePeer();
    let peer;
    try {
      const hooks = {
        send: (m) => this.#send(m),
        wishes: () => this.#wishes.offer(this.hello, peer.mids, { later: peer.viewer !== null, heeds: this.way === 'WebSocket' }),
        tracks: (t) => this.#hooks.tracks(t),
        changed: () => this.#mediaChanged(peer),
      };
      peer = new Peer(hooks, this.hello ? camerasOf(this.hello).length : undefined);
    } catch (e) {
      this.#say('unsupported', `The browser cannot start WebRTC: ${e.message}`);
      return false;
    }
    this.#peer = peer;
    return true;
  }

  // ---- media path ----

  #mediaChanged(peer) {
    if (peer.media === 'up') {
      this.told = null;
      // A picture that returns does not restore the control connection.
      if (this.lost_ms === null) {
        this.trouble = null;
        this.#backoff.up(performance.now());
      }
    } else if (peer.media === 'interrupted') {
      if (performance.now() - this.#mended_ms > MEND_AGAIN_MS) this.#mend(); // the checks of a restart look the same
    } else if (peer.media === 'failed' && !this.#retry.waits) {
      // If the socket is gone too, reopening it finds the failed path and joins again.
      if (this.socket === 'open') return this.#begin('path', null);
    }
    this.#hooks.changed();
  }

  /** Whether the daemon should be sending pictures of a camera now (including a slate). */
  #delivers(camera) {
    return ['live', 'gone', 'private'].includes(statusOf(this.status, camerasOf(this.hello), camera)?.video?.state);
  }

  /** Changes the viewer to the current cameras. Plain requests can't do this: there a new viewer replaces it. */
  #followCameras() {
    if (this.#step || this.#retry.waits) return;
    const [peer, cameras] = [this.#peer, camerasOf(this.hello)];
    if (peer?.viewer && sameCameras([...peer.mids.keys()], cameras)) return this.#tell();
    if (peer?.viewer && cameras.length && this.way === 'WebSocket') return this.#recast(cameras.map(({ name }) => name));
    if (peer?.viewer) this.#send({ type: 'bye' });
    if (peer?.viewer || !peer) this.#join();
  }

  #recast(names) {
    const peer = this.#peer;
    keepCount(() => localStorage, names.length);
    this.#expect('answer');
    peer.recast(names).catch((e) => peer === this.#peer && this.#begin('refused', `The browser cannot create an offer: ${e.message}`));
  }

  #mend() {
    if (this.socket !== 'open' || !this.viewer || this.#step) return;
    this.#mended_ms = performance.now();
    this.#expect('answer');
    this.#peer.restart().catch((e) => console.debug('no ICE restart:', e.message));
  }

  /**
   * Checks whether anything arrives on the path. If not, the network has changed, and a new path is searched for at once: over the
   * socket, or if that is dead too, over a new one.
   */
  async #listen(peer, decoded_ms) {
    const bytes = await peer.received();
    if (bytes === null || peer !== this.#peer) return;
    const now_ms = performance.now();
    const before = this.#arrived;
    if (before?.peer !== peer || before.decoded_ms !== decoded_ms) this.#arrived = { peer, bytes, decoded_ms, at_ms: decoded_ms };
    else if (before.bytes !== bytes) this.#arrived = { peer, bytes, decoded_ms, at_ms: now_ms };
    const quiet = now_ms - this.#arrived.at_ms > QUIET_MS;
    if (!quiet || now_ms - this.#mended_ms < MEND_AGAIN_MS || this.#retry.waits || this.socket !== 'open') return;
    this.#ask();
    this.#mend();
    const { link, at_ms } = this.#probe;
    setTimeout(() => {
      if (link === this.#link && link.heard_ms < at_ms) this.#linkLost('The device has stopped answering');
    }, PROBE_QUIET_MS);
  }

  /** Sends the daemon a probe; `tick` waits for the answer. */
  #ask() {
    this.#probe = { at_ms: performance.now(), link: this.#link };
    this.#askClock();
  }

  /** Gives this viewer up and starts again on a new socket: the old socket belongs to the old viewer. */
  #begin(kind, message) {
    this.#send({ type: 'bye' });
    this.#closeLink();
    this.#closePeer();
    this.#expect(null);
    this.#say(kind, message);
    this.#later(this.#backoff.down(performance.now()), () => this.#open());
  }

  // ---- clock ----

  #askClock() {
    this.#clockBurst = CLOCK_BURST;
    this.#clockAsked_ms = performance.now();
    this.#send({ type: 'clock', t0: this.#clockAsked_ms });
  }

  #clockAnswer({ t0, mono_us }) {
    this.clock.add(t0, mono_us, performance.now());
    this.#clockBurst -= 1;
    if (this.#clockBurst > 0) this.#send({ type: 'clock', t0: performance.now() });
  }

  // ---- small things ----

  #send(message) {
    this.#link?.send(message);
  }

  /** Sends what the daemon does not know yet. */
  #tell() {
    for (const message of this.#wishes.news(this.hello, this.#peer.mids)) this.#send(message);
  }

  /** Sets the answer that the connection waits for, with a deadline; `null`: none. */
  #expect(what) {
    this.#step = what && { what, by_ms: performance.now() + STEP_MS[what] };
  }

  #overdue() {
    const { what } = this.#step;
    if (what === 'answer') this.#begin('refused', 'The device does not answer the offer');
    else this.#linkLost('The device does not answer');
  }

  /** The control connection works: clears the trouble, unless it is one of these kinds. */
  #restored(but = []) {
    this.lost_ms = null;
    if (!but.includes(this.trouble?.kind)) this.trouble = null;
  }

  #say(kind, message) {
    this.trouble = { kind, message };
    this.#hooks.changed();
  }

  #later(pause_ms, act, quiet) {
    this.#retry.later(pause_ms, act, quiet);
    this.#hooks.changed();
  }

  #closeLink() {
    this.#link?.close();
    this.#link = null;
  }

  #closePeer() {
    this.#peer?.close();
    this.#peer = null;
  }
}
