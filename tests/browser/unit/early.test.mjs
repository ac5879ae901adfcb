import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { test } from 'node:test';
import vm from 'node:vm';

const text = readFileSync(new URL('../../../src/web/page/early.js', import.meta.url), 'utf8');
const CODECS = [['video/VP8'], ['video/rtx'], ['video/H264', 'packetization-mode=1'], ['video/H264', 'packetization-mode=0'], ['video/AV1']].map(
  ([mimeType, sdpFmtpLine]) => ({ mimeType, sdpFmtpLine }),
);

/** Runs the script in a browser that has stored `cameras`; returns the connections that it made, and `early`. */
function run(cameras, hash = '') {
  const made = [];
  class RTCPeerConnection {
    kinds = [];
    codecs = [];
    closed = false;
    constructor() {
      made.push(this);
    }
    addTransceiver(kind) {
      this.kinds.push(kind);
      return { setCodecPreferences: (codecs) => this.codecs.push(codecs.map((c) => c.mimeType).join()) };
    }
    createOffer() {
      return Promise.resolve({});
    }
    close() {
      this.closed = true;
    }
  }
  const self = {};
  vm.runInNewContext(text, {
    self, RTCPeerConnection, URL, location: { hash }, document: { baseURI: 'https://camera.local/' },
    WebSocket: class { static OPEN = 1; readyState = 1; },
    RTCRtpReceiver: { getCapabilities: () => ({ codecs: CODECS }) },
    localStorage: { getItem: (key) => (key === 'peercam.cameras' ? cameras : null) },
  });
  return { made, early: self.early };
}

test('the first offer has as many video sections as there were cameras at the last visit', () => {
  const { made, early } = run('3');
  assert.deepEqual(made[0].kinds, ['video', 'video', 'video', 'audio']);
  assert.deepEqual(made[0].codecs, Array(3).fill('video/rtx,video/H264'), 'short enough for a dozen');
  assert.equal(early.peer().pc, made[0], 'it is taken');
  assert.equal(early.peer(2).pictures, 2, 'and the next one made');
});

test('a single camera gets the same offer, whatever is stored', () => {
  for (const kept of [null, '1', '0', '-4', 'many', '']) {
    const { made } = run(kept);
    assert.deepEqual(made[0].kinds, ['video', 'audio'], kept);
    assert.deepEqual(made[0].codecs, []);
  }
  assert.equal(run('1000000000').made[0].kinds.length, 16 + 1);
});

test('if the number of cameras has changed, a new offer is made', () => {
  const { made, early } = run('2');
  const { pc, pictures } = early.peer(4);
  assert.deepEqual([made.length, pictures, made[0].closed], [2, 4, true]);
  assert.deepEqual(pc.kinds, ['video', 'video', 'video', 'video', 'audio']);
});

test('a link with a secret is handled first', () => {
  assert.equal(run(null, '#guest=x').made.length, 0);
});
