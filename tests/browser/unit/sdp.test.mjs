import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { test } from 'node:test';
import { candidatesOf, fragment, iceOf, restarted } from '../../../src/web/page/sdp.js';

const offer = readFileSync(new URL('../../data/offer-chromium-156.sdp', import.meta.url), 'utf8');

test('the ICE session of an offer, and a fragment of it', () => {
  const ice = iceOf(offer);
  assert.match(ice.ufrag, /^\S{4,}$/);
  assert.match(ice.pwd, /^\S{22,}$/);
  assert.match(ice.media, /^m=(video|audio) /);
  const text = fragment(ice, ['candidate:1 1 udp 1 192.0.2.1 9 typ host', '']);
  assert.equal(
    text,
    `a=ice-ufrag:${ice.ufrag}\r\na=ice-pwd:${ice.pwd}\r\n${ice.media}\r\na=mid:${ice.mid}\r\n` +
      'a=candidate:1 1 udp 1 192.0.2.1 9 typ host\r\na=end-of-candidates\r\n',
  );
});

test('candidates that bundled sections repeat are counted once', () => {
  const sdp = 'm=audio 9\r\na=candidate:1 1 udp 1 192.0.2.1 9 typ host\r\nm=video 9\r\na=candidate:1 1 udp 1 192.0.2.1 9 typ host\r\n';
  assert.deepEqual(candidatesOf(sdp), ['candidate:1 1 udp 1 192.0.2.1 9 typ host']);
});

test('the answer to a restart is the previous one with new credentials and candidates', () => {
  const lines = [
    'v=0', 'o=- 1 2 IN IP4 127.0.0.1', 's=-', 't=0 0', 'a=group:BUNDLE 0 1',
    'm=video 9 UDP/TLS/RTP/SAVPF 96', 'a=mid:0', 'a=ice-ufrag:old0', 'a=ice-pwd:oldoldoldoldoldoldoldo', 'a=setup:active',
    'a=candidate:1 1 udp 1 192.0.2.1 1000 typ host', 'a=end-of-candidates',
    'm=audio 9 UDP/TLS/RTP/SAVPF 111', 'a=mid:1', 'a=ice-ufrag:old0', 'a=ice-pwd:oldoldoldoldoldoldoldo', 'a=setup:active',
  ];
  const theirs = 'a=ice-options:trickle\r\nm=video 9 UDP/TLS/RTP/SAVPF 96\r\na=mid:0\r\na=ice-ufrag:new1\r\na=ice-pwd:newnewnewnewnewnewnewn\r\n' +
    'a=candidate:2 1 udp 1 198.51.100.1 8189 typ host\r\na=end-of-candidates\r\n';
  assert.deepEqual(restarted(`${lines.join('\r\n')}\r\n`, theirs).split('\r\n'), [
    ...lines.slice(0, 7), 'a=ice-ufrag:new1', 'a=ice-pwd:newnewnewnewnewnewnewn', 'a=setup:active',
    'a=candidate:2 1 udp 1 198.51.100.1 8189 typ host', 'a=end-of-candidates',
    ...lines.slice(12, 14), 'a=ice-ufrag:new1', 'a=ice-pwd:newnewnewnewnewnewnewn', 'a=setup:active', '',
  ]);
});
