// The life of the connection: socket, viewer, media path, and getting each of them back by itself.
//
// Two things can break apart: the socket (offers, status) and the media path. A lost socket leaves the picture
// alone and is reopened with `resume`; an interrupted media path is mended by an ICE restart over the socket;
// only what cannot be mended is begun anew, with a new Peer and a new socket.

import { Backoff } from './backoff.js';
import { camerasOf, sameCameras, statusOf } from './cameras.js';
import { ClockOffset } from './clock.js';
import { keepCount } from './layout.js';
import { Peer, receivesH264 } from './peer.js';
import { Retry } from './retry.js';
import { Signaling } from './signaling.js';
import { Wishes } from './wishes.js';

/** The daemon speaks every 2 s; three times missed and the socket is dead, whatever TCP believes. */
const SILENCE_MS = 7000;
/** After waking up or a change of network we ask, and a living daemon answers within this; when media stops, sooner. */
const PROBE_MS = 1000;
const PROBE_QUIET_MS = 500;
/** No picture decoded for so long: look whether anything arrives at all. */
const LATE_MS = 500;
/** No picture for so long, and for half of it nothing else (reports come every 500 ms): the path is dead. */
const QUIET_MS = 1000;
/** Longest wait for each step of connecting before it is begun anew. */
const STEP_MS = { hello: 6000, resumed: 6000, answer: 10_000 };
/** From the answer to media: several rounds of ICE checks over a slow path. */
const MEDIA_MS = 15_000;
/** How long ICE restarts may take to mend an interrupted path, and how long one gets before the next. */
const MEND_MS = 10_000;
const MEND_AGAIN_MS = 3000;
/** No picture decoded for so long although daemon and path are well: this decoder will not come back. */
const STUCK_MS = 8000;
/** Decoded but not shown: Firefox drops every picture that is due before the last one, for good (libwebrtc 7253). */
const UNSEEN_MS = 3000;
/** Between clock bursts, and exchanges in one: the best of five is within a fraction of a ms on a LAN. */
const CLOCK_MS = 10_000;
const CLOCK_BURST = 5;
/** Retry after a refusal that time alone can change: too many viewers, or a daemon configured anew. */
const REFUSED_MS = { 406: 60_000, 503: 8000 };
/** A place that somebody leaves is theirs for another second, in case they come back; who does so may leave again. */
const KEPT_MS = 1100;
const LEFT_LATELY_MS = 4000;
/** A gap this long between ticks means that the machine or the tab slept. */
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
  /** When the status told last that somebody had left. */
  #left_ms = -Infinity;
  /** Why the daemon ended the last viewer, until it takes another: where it also turns us away, that is the reason. */
  #parting = null;

  /** hello of the daemon that we are, or were last, connected to. */
  hello = null;
  /** Its last status message. */
  status = null;
  /** This page's clock against the daemon's. */
  clock = new ClockOffset();
  /** Sessions begun since the page was opened. */
  generation = 0;
  /** Why there is none: { kind: 'unsupported'|'h264'|'full'|'refused'|'ended'|'away'|'path'|'elsewhere', message }. */
  trouble = null;
  /** Why the daemon ended an attempt that never brought a picture, until one does. */
  told = null;
  /** Since when the control connection is lost (`performance.now()`), until a new one has taken its place. */
  lost_ms = null;

  /** `base` is the page's own address. */
  constructor(base) {
    this.#base = base;
  }

  /**
   * Ties it to the page, which may come later: `tracks({ sound, pictures })` brings media (peer.js), `changed()` says something
   * did, `denied(reason)` that the daemon does not, or no longer, let us in: then it has stopped. What came before is told now.
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
  /** Whether `status` is of now: it comes every 2 s, or the connection counts as lost. */
  get fresh() {
    return this.status !== null && this.lost_ms === null && this.socket === 'open';
  }
  /** As of the Peer, or 'none'. */
  get media() {
    return this.#peer?.media ?? 'none';
  }
  get viewer() {
    return this.#peer?.viewer ?? null;
  }

  /** What the present connection says of itself and since when it is tried (peer.js), or `null`. */
  get attempt() {
    return this.#peer && { ...this.#peer.states, begun_ms: this.#peer.begun_ms };
  }
  /** 'WebSocket' or 'requests', once there is one. */
  get way() {
    return this.#link && (this.#link.socket ? 'WebSocket' : 'requests');
  }

  /** When the next attempt starts (`performance.now()`), while waiting for it and telling so. */
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

  /** Leaves for good or until `start`: the daemon is told even while the page is being closed. Resolves when it knows. */
  stop() {
    const viewer = this.viewer;
    const url = new URL(`whep/${encodeURIComponent(viewer)}`, this.#base);
    const told = viewer ? fetch(url, { method: 'DELETE', keepalive: true }).catch(() => {}) : Promise.resolve();
    this.#retry.cancel();
    this.#closeLink();
    this.#closePeer();
    return told;
  }

  /** The person listens, or no longer: the daemon trades delay for lip sync by it. */
  setSound(on) {
    this.#wish({ sound: on });
  }

  /** Which size of the picture the person asks for. */
  get quality() {
    return this.#wishes.now.quality;
  }
  set quality(quality) {
    this.#wish({ quality });
  }

  /** Which camera is enlarged, and which was last (layout.js). */
  get layout() {
    return this.#wishes.now.layout;
  }
  set layout(layout) {
    this.#wish({ layout });
  }

  /** The names of the cameras whose pictures nobody sees. */
  set paused(names) {
    this.#wish({ paused: names });
  }

  /** Something around us changed (awake, visible, network): find out now instead of waiting for a timeout. */
  nudge() {
    if (this.#retry.waits) {
      this.#backoff.reset();
      this.#retry.now();
    } else if (this.socket === 'open') {
      this.#ask();
    }
  }

  /**
   * Called a few times a second, with the pictures that should be coming: { camera, decoded_ms, seen_ms, since_ms }, the camera by
   * its name, when its last picture was decoded and seen (`null` if none ever was), and since when it is looked at.
   */
  tick(now_ms, pictures) {
    const slept = now_ms - this.#ticked_ms > SLEPT_MS;
    this.#ticked_ms = now_ms;
    if (slept) {
      // What arrived meanwhile has not been delivered yet, so no deadline may be judged now.
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

  /** Whether no camera's pictures come: while one's do, the fault is not the connection's, and another would disturb it. */
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
    // First of all what takes a round trip: the browser's WebRTC takes tens of ms to wake up meanwhile.
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

  /** Whether this browser can play at all; else it says so. */
  #able() {
    if (!('RTCPeerConnection' in globalThis)) {
      this.#say('unsupported', 'This browser has no WebRTC, or it is switched off');
      return false;
    }
    if (receivesH264(globalThis.RTCRtpReceiver?.getCapabilities?.('video')) !== false) return true;
    // Firefox fetches its decoder some time after its first start: look again now and then.
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
        // With an offer out already, the next one follows its answer.
        if (this.viewer && this.#step?.what === 'answer') return this.#peer.restart();
        return this.#mend();
      case 'connected':
        return this.#hooks.changed();
      case 'closed':
        this.#parting = m.reason ?? null;
        // That of a viewer which we left, and our next offer crossed.
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
    // A daemon with other RTP clocks is another process, which knows no viewer of the one before.
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
    // A peer that waits for its first answer has lost its way to get one.
    if (this.#peer?.sent && !this.viewer) this.#closePeer();
    this.#peer?.offerLost().catch((e) => console.debug('offer not taken back:', e.message));
    this.lost_ms ??= performance.now();
    // The first reason stays: a device that stops says why, and later attempts only find that nobody answers.
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

  /** Offers, on the open socket, as a new viewer. */
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
    // It is neither away nor full; whether the path is found remains to be seen.
    this.#restored(['path', 'stuck']);
    try {
      await peer.answer(m.sdp);
    } catch (e) {
      if (peer === this.#peer) this.#begin('refused', `The browser does not accept the answer: ${e.message}`);
    }
    if (peer === this.#peer) this.#followCameras(); // What was changed since the offer.
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
    if (this.viewer) return this.#begin('path', null); // A restart that the daemon does not take.
    this.#closePeer();
    this.#say(status === 406 ? 'h264' : status === 503 ? 'full' : 'refused', message ?? null);
    // Where all places are taken, it is the next one that leaves who decides.
    const lately = status === 503 && performance.now() - this.#left_ms < LEFT_LATELY_MS;
    const pause_ms = lately ? KEPT_MS : (REFUSED_MS[status] ?? this.#backoff.down(performance.now()));
    this.#later(pause_ms, () => this.#join(), status === 503);
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
      // A picture that comes back brings no control connection with it.
      if (this.lost_ms === null) {
        this.trouble = null;
        this.#backoff.up(performance.now());
      }
    } else if (peer.media === 'interrupted') {
      if (performance.now() - this.#mended_ms > MEND_AGAIN_MS) this.#mend(); // Its own checks look like this, too.
    } else if (peer.media === 'failed' && !this.#retry.waits) {
      // With the socket gone too, its reopening finds the failed path and joins anew.
      if (this.socket === 'open') return this.#begin('path', null);
    }
    this.#hooks.changed();
  }

  /** Whether the daemon should be sending pictures of a camera now (a slate counts). */
  #delivers(camera) {
    return ['live', 'gone', 'private'].includes(statusOf(this.status, camerasOf(this.hello), camera)?.video?.state);
  }

  /** The viewer goes over to the cameras that there are now. Requests can't tell it so: there another one takes its place. */
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
   * Whether anything arrives on the path: if not, the way to the daemon has changed. A new one is looked for at once, over
   * the socket, or where that went the same way, over a new one.
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

  /** Asks the daemon for a sign of life, which `tick` waits for. */
  #ask() {
    this.#probe = { at_ms: performance.now(), link: this.#link };
    this.#askClock();
  }

  /** Gives this viewer up and begins anew, on a new socket: the old one belongs to the old viewer. */
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

  /** The person wants something else. */
  #wish(change) {
    Object.assign(this.#wishes.now, change);
    if (this.viewer) this.#tell();
  }

  /** Tells what the daemon does not know yet. */
  #tell() {
    for (const message of this.#wishes.news(this.hello, this.#peer.mids)) this.#send(message);
  }

  /** The next answer that the connection hangs on, by a deadline; `null`: none. */
  #expect(what) {
    this.#step = what && { what, by_ms: performance.now() + STEP_MS[what] };
  }

  #overdue() {
    const { what } = this.#step;
    if (what === 'answer') this.#begin('refused', 'The device does not answer the offer');
    else this.#linkLost('The device does not answer');
  }

  /** The control connection works, and has nothing to complain about but troubles of these kinds. */
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
