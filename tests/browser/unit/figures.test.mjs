import assert from 'node:assert/strict';
import { test } from 'node:test';
import { figures, videoOf } from '../../../src/web/page/figures.js';

function report(at_s, extra = {}) {
  return new Map(
    [
      {
        id: 'V', type: 'inbound-rtp', kind: 'video', timestamp: at_s * 1000, codecId: 'C', framesDecoded: at_s * 30,
        bytesReceived: at_s * 250_000, packetsReceived: at_s * 90, packetsLost: at_s * 10,
        jitterBufferEmittedCount: at_s * 30, jitterBufferDelay: at_s * 30 * 0.035,
        estimatedPlayoutTimestamp: 1_790_000_000_012, ...extra,
      },
      {
        id: 'A', type: 'inbound-rtp', kind: 'audio', timestamp: at_s * 1000, bytesReceived: at_s * 8000,
        estimatedPlayoutTimestamp: 1_790_000_000_000,
      },
      { id: 'C', type: 'codec', mimeType: 'video/H264', sdpFmtpLine: 'packetization-mode=1;profile-level-id=42e01f' },
      { id: 'T', type: 'transport', selectedCandidatePairId: 'P' },
      { id: 'P', type: 'candidate-pair', localCandidateId: 'L', remoteCandidateId: 'R', currentRoundTripTime: 0.0032 },
      { id: 'L', type: 'local-candidate', candidateType: 'host', protocol: 'udp' },
      { id: 'R', type: 'remote-candidate', candidateType: 'host' },
    ].map((s) => [s.id, s]),
  );
}

test('rates are differences between two reports', () => {
  const first = figures(report(10), 'P', null);
  assert.equal(first.video_bps, null);
  assert.equal(first.decoded, 300);
  const second = figures(report(11), 'P', first);
  assert.equal(Math.round(second.video_bps), 2_000_000);
  assert.equal(Math.round(second.audio_bps), 64_000);
  assert.equal(Math.round(second.decoded_fps), 30);
  assert.equal(second.lost_share, 0.1);
  assert.equal(second.rtt_ms, 3.2);
  assert.equal(second.codec, 'H264 42e01f');
  assert.equal(second.path, 'UDP, direct');
  assert.equal(Math.round(second.held_ms), 35);
  assert.equal(second.sound_behind_ms, 12);
});

test('with several video tracks, the figures are for the requested one', () => {
  const one = (id, trackIdentifier) => [id, { id, type: 'inbound-rtp', kind: 'video', trackIdentifier }];
  const several = new Map([one('V1', 'P1'), one('V2', 'P2')]);
  assert.equal(videoOf(several, 'P2').id, 'V2');
  assert.equal(videoOf(several, 'P3'), null, 'nothing came of it yet');
  assert.equal(videoOf(new Map([one('V1', undefined)]), 'P2').id, 'V1', 'a browser that does not tell them apart');
});

test('a new stream restarts the differences', () => {
  const first = figures(report(10), 'P', null);
  assert.equal(figures(report(11, { id: 'W' }), 'P', first).video_bps, null);
});

test('values that a browser does not report are null, not wrong', () => {
  const bare = new Map([['V', { id: 'V', type: 'inbound-rtp', kind: 'video', timestamp: 1 }]]);
  const told = figures(bare, 'P', figures(bare, 'P', null));
  for (const key of ['rtt_ms', 'path', 'codec', 'held_ms', 'sound_behind_ms', 'video_bps', 'lost_share', 'decoded', 'playout_unix_ms']) {
    assert.equal(told[key], null, key);
  }
  assert.equal(figures(new Map(), 'P', null).video, null);
});

test('playout time counts from 1900 or from 1970', () => {
  const unix = 1_790_000_000_000;
  assert.equal(figures(report(1, { estimatedPlayoutTimestamp: unix }), 'P', null).playout_unix_ms, unix);
  assert.equal(figures(report(1, { estimatedPlayoutTimestamp: unix + 2_208_988_800_000 }), 'P', null).playout_unix_ms, unix);
});
