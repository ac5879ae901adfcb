import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { test } from 'node:test';
import { leftOut, mediaState, receivesH264 } from '../../../src/web/page/peer.js';

const state = (connectionState, iceConnectionState, wasUp = false) => mediaState({ connectionState, iceConnectionState }, wasUp);

test('the media path in one word', () => {
  assert.equal(state('new', 'new'), 'connecting');
  assert.equal(state('connecting', 'checking'), 'connecting');
  assert.equal(state('connecting', 'connected'), 'connecting', 'ICE without DTLS carries nothing');
  assert.equal(state('connected', 'connected'), 'up');
  assert.equal(state('connected', 'completed'), 'up');
  assert.equal(state('connected', 'disconnected'), 'interrupted', 'as Firefox reports it');
  assert.equal(state('disconnected', 'disconnected'), 'interrupted');
  assert.equal(state('failed', 'disconnected'), 'failed');
  assert.equal(state('closed', 'closed'), 'failed');
  assert.equal(state('connecting', 'checking', true), 'interrupted', 'an ICE restart');
});

test('H.264 counts only with packetization-mode 1', () => {
  const codec = (mimeType, sdpFmtpLine) => ({ mimeType, sdpFmtpLine });
  const h264 = (fmtp) => receivesH264({ codecs: [codec('video/VP8'), codec('video/H264', fmtp)] });
  assert.equal(h264('level-asymmetry-allowed=1;packetization-mode=1;profile-level-id=42001f'), true);
  assert.equal(h264('packetization-mode=1'), true);
  assert.equal(h264('level-asymmetry-allowed=1;packetization-mode=0;profile-level-id=42001f'), false);
  assert.equal(h264(undefined), false);
  assert.equal(receivesH264({ codecs: [codec('video/VP8'), codec('video/rtx')] }), false);
  assert.equal(receivesH264(undefined), null, 'a browser that does not tell');
});

test('extensions that the answer omits have names', () => {
  const offer = readFileSync(new URL('../../data/offer-extension-id-15.sdp', import.meta.url), 'utf8');
  const answer = (lines) => `v=0\r\nm=video 9 UDP/TLS/RTP/SAVPF 96\r\n${lines}`;
  const uri = 'http://www.ietf.org/id/draft-holmer-rmcat-transport-wide-cc-extensions-01';
  assert.deepEqual(leftOut(offer, answer(`a=extmap:6 ${uri}\r\n`)), ['playout-delay']);
  assert.deepEqual(leftOut(offer, answer('')), ['playout-delay', 'transport-cc']);
  assert.deepEqual(leftOut('', answer('')), []);
});
