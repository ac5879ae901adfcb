// The messages of signal.md carried by plain requests: WHEP (whep.md) for the viewer, /api/hello and /api/status for
// the rest. For browsers that open no WebSocket; everything arrives a little later than over one.

import { ask } from './api.js';
import { candidatesOf, fragment, iceOf, restarted } from './sdp.js';

/** How often the status is requested, ms: as often as a WebSocket would send it. */
const STATUS_MS = 2000;
/** Candidates that come within this time, ms, are sent in one request. */
const TRICKLE_MS = 60;
/** Largest number of candidates in one request, as in the daemon (src/viewer/sdp/fragment.rs). */
const MOST_CANDIDATES = 64;

/** The answer to the last viewer's offer. It outlives an instance of this class, as the viewer does: a restart needs it. */
let last = { viewer: null, answer: null };

export class Requests {
  #base;
  #hooks;
  #life = new AbortController();
  #poll = null;
  #trickle = null;
  /** Requests about the viewer, one after another: WHEP requires their order. */
  #turn = Promise.resolve();
  #viewer = null;
  #etag = null;
  #ice = null;
  /** The cameras in the last status. */
  #cameras = null;
  #waiting = [];
  /** When the daemon last answered. */
  heard_ms = performance.now();

  /** `hooks`: the same as in signaling.js. */
  constructor(base, { message, closed, denied }) {
    this.#base = base;
    this.#hooks = { message, closed, denied };
    this.#begin();
  }

  /** Sends a message of signal.md. */
  send(m) {
    switch (m.type) {
      case 'offer':
        // Candidates from now on belong to this offer, and wait for its answer.
        this.#ice = iceOf(m.sdp);
        this.#etag = null;
        this.#waiting = [];
        return this.#inTurn(() => (this.#viewer ? this.#restart(m.sdp) : this.#join(m)));
      case 'candidate':
        this.#waiting.push(m.candidate);
        this.#trickle ??= setTimeout(() => this.#inTurn(() => this.#flush()), TRICKLE_MS);
        return;
      case 'clock':
        return void this.#status(m.t0);
      case 'resume':
        return this.#inTurn(() => this.#resume(m.viewer));
      case 'sound':
        return this.#inTurn(() => this.#wishes({ sound: m.on }));
      case 'quality':
        return this.#inTurn(() => this.#wishes({ quality: m.quality, mid: m.mid }));
      case 'listen':
        return this.#inTurn(() => this.#wishes({ listen: m.camera }));
      case 'pause':
        return this.#inTurn(() => this.#wishes({ mid: m.mid, pause: m.on }));
      case 'bye':
        return void this.#leave(); // at once, because `close()` follows
    }
  }

  close() {
    this.#life.abort();
    clearTimeout(this.#trickle);
    clearTimeout(this.#poll);
  }

  async #begin() {
    const { ok, status, body, message } = await ask('GET', 'api/hello');
    if (!this.#here(status, message)) return;
    if (!ok) return this.#hooks.closed(message);
    this.#hooks.message({ ...body, type: 'hello' });
    const poll = async () => {
      await this.#status(null);
      if (this.#viewer) await this.#inTurn(() => this.#look());
      if (!this.#life.signal.aborted) this.#poll = setTimeout(poll, STATUS_MS);
    };
    poll();
  }

  async #status(t0) {
    const { ok, status, body, message, sent_ms } = await ask('GET', 'api/status');
    if (!this.#here(status, message) || !ok) return;
    this.#hooks.message({ type: 'clock', t0: sent_ms, mono_us: body.clock.mono_us });
    if (t0 !== null) return;
    const names = JSON.stringify((body.cameras ?? []).map(({ name, label }) => [name, label]));
    if (this.#cameras !== null && names !== this.#cameras) await this.#update();
    this.#cameras = names;
    this.#hooks.message({ ...body, type: 'status' });
  }

  /** Detects a change of cameras, which nobody announces here. */
  async #update() {
    const { ok, status, body, message } = await ask('GET', 'api/hello');
    if (!this.#here(status, message) || !ok) return;
    this.#hooks.message({ ...body, type: 'update' });
  }

  async #join({ sdp, sound, quality, cameras = [], listen }) {
    // The address has one size for all cameras; different sizes are requested afterwards.
    const query = new URLSearchParams(cameras.map(({ camera }) => ['camera', camera]));
    const all = cameras[0]?.quality ?? quality;
    query.set('quality', all);
    const reply = await this.#request('POST', `whep?${query}`, 'application/sdp', sdp);
    if (!reply) return;
    if (reply.status !== 201) return this.#refused(reply);
    this.#viewer = reply.headers.get('Location').split('/').at(-1);
    this.#etag = reply.headers.get('ETag');
    last = { viewer: this.#viewer, answer: reply.text };
    this.#hooks.message({ type: 'answer', viewer: this.#viewer, sdp: reply.text });
    await this.#flush();
    for (const { mid, quality: own } of cameras) if (own !== all) await this.#wishes({ quality: own, mid });
    if (listen !== cameras[0]?.camera) await this.#wishes({ listen });
    if (!sound) await this.#wishes({ sound }); // a client that offers audio is assumed to play it
  }

  async #restart(sdp) {
    if (last.viewer !== this.#viewer) return this.#hooks.message({ type: 'error', status: 404, message: null });
    const body = fragment(this.#ice, candidatesOf(sdp));
    const reply = await this.#patch('*', body);
    if (!reply) return;
    if (reply.status !== 200) return this.#refused(reply);
    this.#etag = reply.headers.get('ETag');
    last.answer = restarted(last.answer, reply.text);
    this.#hooks.message({ type: 'answer', viewer: this.#viewer, sdp: last.answer });
    await this.#flush();
  }

  /** Sends the collected candidates; without a viewer they wait for the answer. */
  async #flush() {
    this.#trickle = null;
    if (!this.#viewer || !this.#etag || !this.#waiting.length) return;
    const some = this.#waiting.splice(0, MOST_CANDIDATES);
    const reply = await this.#patch(this.#etag, fragment(this.#ice, some));
    if (reply?.status === 404) this.#ended();
    else if (this.#waiting.length) await this.#flush();
  }

  async #resume(viewer) {
    const reply = await this.#request('GET', `whep/${encodeURIComponent(viewer)}`);
    if (!reply) return;
    if (reply.status !== 204) return this.#hooks.message({ type: 'error', status: 404, message: null });
    this.#viewer = viewer;
    this.#hooks.message({ type: 'resumed' });
  }

  async #wishes(wishes) {
    if (!this.#viewer) return;
    await this.#request('PATCH', `whep/${encodeURIComponent(this.#viewer)}`, 'application/json', JSON.stringify(wishes));
  }

  /** Checks whether the viewer still exists: nobody announces its end here. */
  async #look() {
    if (!this.#viewer) return;
    const reply = await this.#request('GET', `whep/${encodeURIComponent(this.#viewer)}`);
    if (reply?.status === 404) this.#ended();
  }

  async #leave() {
    if (!this.#viewer) return;
    const viewer = this.#viewer;
    this.#forget();
    await this.#request('DELETE', `whep/${encodeURIComponent(viewer)}`);
  }

  #ended() {
    this.#forget();
    this.#hooks.message({ type: 'closed', reason: 'The device ended this connection' });
  }

  #forget() {
    this.#viewer = null;
    this.#etag = null;
    this.#waiting = [];
  }

  #refused({ status, text }) {
    let message = null;
    try {
      message = JSON.parse(text).detail;
    } catch {
      // The body is not a problem document.
    }
    this.#hooks.message({ type: 'error', status, message });
  }

  #patch(etag, body) {
    const path = `whep/${encodeURIComponent(this.#viewer)}`;
    return this.#request('PATCH', path, 'application/trickle-ice-sdpfrag', body, { 'If-Match': etag });
  }

  /** Sends a request. Returns { status, headers, text }; `null` if there is no answer, or after closing. */
  async #request(method, path, type, body, headers = {}) {
    if (this.#life.signal.aborted && method !== 'DELETE') return null;
    try {
      const response = await fetch(new URL(path, this.#base), {
        method,
        cache: 'no-store',
        headers: { ...(type && { 'Content-Type': type }), ...headers },
        body,
      });
      const text = await response.text();
      return this.#here(response.status, null) ? { status: response.status, headers: response.headers, text } : null;
    } catch {
      if (!this.#life.signal.aborted) this.#hooks.closed(null);
      return null;
    }
  }

  /** Records an answer; returns false if it can't be used. */
  #here(status, message) {
    if (this.#life.signal.aborted) return false;
    if (status === 401) this.#hooks.denied(message);
    else if (status !== 0) this.heard_ms = performance.now();
    return status !== 401 && status !== 0;
  }

  #inTurn(act) {
    this.#turn = this.#turn.then(() => (this.#life.signal.aborted ? null : act()));
    return this.#turn;
  }
}
