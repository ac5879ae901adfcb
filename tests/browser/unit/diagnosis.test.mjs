// The snapshots in tests/data/connecting were recorded from the browsers in their names, with nftables in between.
import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { test } from 'node:test';
import { diagnose, fate, local, reportText } from '../../../src/web/page/diagnosis.js';
import { snapshot } from '../../../src/web/page/snapshot.js';

const recorded = (name) => JSON.parse(readFileSync(new URL(`../../data/connecting/${name}.json`, import.meta.url), 'utf8'));
const said = (seen) => diagnose(seen).sentences.join(' ');
const both = (name) => ['chromium', 'firefox'].map((browser) => recorded(`${browser}-${name}`));

const end = (address, port, protocol = 'udp', kind = 'host') => ({ kind, protocol, address, port });
const pair = (remote, change = {}) => ({
  local: end('192.168.1.20', 50_000, remote.protocol),
  remote,
  state: 'in-progress',
  used: false,
  sent: 30,
  answered: 0,
  heard: 0,
  rtt_ms: null,
  ...change,
});
/** As Chromium reports it, with one port for all media. */
const seenWith = (pairs, change = {}) => ({
  ...recorded('chromium-udp-blocked'),
  host: '192.168.1.5',
  media_port: 8189,
  tcp: true,
  local: [end('192.168.1.20', 50_000)],
  remote: pairs.map((p) => p.remote),
  pairs,
  ...change,
});
const UDP = end('192.168.1.5', 8189);
const TCP = end('192.168.1.5', 8189, 'tcp');

test('a path that works, with the fate of each pair', () => {
  for (const seen of both('works')) {
    assert.match(said(seen), /^The path works: UDP to 10\.77\.9\.1:\d+\.$/);
    assert.equal(diagnose(seen).pairs.filter((p) => p.fate.startsWith('in use')).length, 1);
  }
});

test('blocked UDP: the port, and what to do', () => {
  for (const seen of both('udp-blocked')) {
    const text = said({ ...seen, tcp: false });
    assert.match(text, /^UDP port \d+ of 10\.77\.9\.1.* never answered\. TCP was not tried, because it is off/);
    assert.match(text, /open port \d+ \(UDP\)/);
    assert.equal(diagnose(seen).facts.find(([name]) => name === 'DTLS')[1], 'new');
  }
});

test('addresses with the same port are listed together', () => {
  const pairs = ['192.168.1.5', '192.168.1.5', '2001:db8::5'].map((a) => pair(end(a, 8189)));
  assert.match(said(seenWith(pairs)), /^UDP port 8189 of 192\.168\.1\.5 and 2001:db8::5 never answered\./);
});

test('UDP and TCP blocked', () => {
  const text = said(seenWith([pair(UDP), pair(TCP)]));
  assert.match(text, /^Neither UDP port 8189 of 192\.168\.1\.5 nor TCP port 8189 of 192\.168\.1\.5 answers\./);
  assert.match(text, /open port 8189 \(UDP and TCP\)/);
});

test('only TCP works', () => {
  const seen = seenWith([pair(UDP), pair(TCP, { state: 'succeeded', used: true, answered: 5 })], { dtls: 'connected', packets: 300, decoded: 20 });
  assert.match(said(seen), /^The path works: TCP to 192\.168\.1\.5:8189\. UDP port 8189 of 192\.168\.1\.5 never answered, so the picture comes over TCP/);
});

test('hidden addresses alone (mDNS) are no problem, and the report says so', () => {
  for (const seen of both('udp-blocked')) assert.match(said(seen), /hides its own addresses \(mDNS names\)\. That alone is no problem/);
  assert.doesNotMatch(said(seenWith([pair(UDP)])), /mDNS/);
});

test('an encryption handshake that does not finish', () => {
  for (const seen of both('dtls-stuck')) assert.match(said(seen), /^The device answers .*handshake \(DTLS\) over it does not finish\. .*MTU/);
  assert.match(said({ ...recorded('chromium-dtls-stuck'), dtls: 'failed' }), /\(DTLS\) over it failed\./);
});

test('packets that arrive in only one direction', () => {
  assert.match(said(recorded('chromium-one-way')), /this browser's do not reach the device/);
});

test('no H.264', () => {
  assert.match(said(seenWith([], { h264: false })), /^This browser cannot decode H\.264/);
});

test('no answer, no address, nothing to try', () => {
  assert.match(said(seenWith([pair(UDP)], { answered: false })), /^The device has not answered yet/);
  assert.match(said(seenWith([], { remote: [] })), /^The device offered no address/);
  assert.match(said(seenWith([], { remote: [UDP] })), /^No connection could be tried: .*UDP port 8189 of 192\.168\.1\.5/);
});

test('addresses of its own network do not help a page that is reached from outside', () => {
  const outside = said(seenWith([pair(UDP)], { host: 'camera.example.org' }));
  assert.match(outside, /only addresses of its own network \(192\.168\.1\.5\).*Forward port 8189 .*public_addresses/);
  for (const host of ['192.168.1.5', 'camera.local', 'camera', 'localhost', '[fd00::5]']) {
    assert.match(said(seenWith([pair(UDP)], { host })), /A firewall/, host);
  }
  assert.deepEqual(['10.1.2.3', '172.31.0.1', 'fe80::1', 'fd12::1', '::1'].map(local), [true, true, true, true, true]);
  assert.deepEqual(['203.0.113.1', '172.32.0.1', '2001:db8::1', '11.0.0.1'].map(local), [false, false, false, false]);
});

test('a path without pictures', () => {
  const used = pair(UDP, { state: 'succeeded', used: true, answered: 5 });
  assert.match(said(seenWith([used], { dtls: 'connected', packets: 0, decoded: 0 })), /no video packet has arrived/);
  assert.match(said(seenWith([used], { dtls: 'connected', packets: 90, decoded: 0 })), /none could be decoded yet/);
});

test('each failed server is reported once, with its error', () => {
  const errors = [
    { url: 'turn:t.example?transport=udp', code: 701, text: 'timed out' },
    { url: 'turn:t.example?transport=udp', code: 701, text: 'timed out' },
    { url: 'turn:u.example', code: 401, text: 'Unauthorized' },
  ];
  const text = said(seenWith([pair(UDP)], { errors }));
  assert.equal(text.match(/turn:t\.example/g).length, 1);
  assert.match(text, /t\.example\S* could not be used: it was not reached\./);
  assert.match(text, /u\.example could not be used: it rejected the user name and password\./);
});

test('a wrong clock', () => {
  assert.match(said(seenWith([pair(UDP)], { clock_off_s: -7200 })), /clock is 2 h 0 min behind/);
  assert.doesNotMatch(said(seenWith([pair(UDP)], { clock_off_s: 20 })), /clock is/);
});

test('the result of a pair, even if a browser reports little', () => {
  assert.equal(fate(pair(UDP)), 'never answered');
  assert.equal(fate(pair(UDP, { sent: null, state: 'in-progress' })), 'no answer yet');
  assert.equal(fate(pair(UDP, { sent: null, state: 'failed' })), 'never answered');
  assert.equal(fate(pair(UDP, { sent: 0, state: 'waiting' })), 'not tried yet');
  assert.equal(fate(pair(UDP, { answered: 1, state: 'succeeded' })), 'answered, but not chosen');
});

test('the report is text without secrets', () => {
  const stats = new Map(
    [
      { id: 'T', type: 'transport', dtlsState: 'new', iceLocalUsernameFragment: 'SECRET1' },
      { id: 'L', type: 'local-candidate', candidateType: 'host', protocol: 'udp', address: '192.0.2.1', port: 1, usernameFragment: 'SECRET2' },
      { id: 'R', type: 'remote-candidate', candidateType: 'host', protocol: 'udp', address: '192.0.2.2', port: 8189, usernameFragment: 'SECRET3' },
      { id: 'P', type: 'candidate-pair', localCandidateId: 'L', remoteCandidateId: 'R', state: 'in-progress', requestsSent: 4, responsesReceived: 0 },
      { id: 'C', type: 'certificate', fingerprint: 'SECRET4' },
    ].map((s) => [s.id, s]),
  );
  const { pairs: _, local: __, remote: ___, errors: ____, ...around } = recorded('chromium-udp-blocked');
  const text = reportText(snapshot(stats, { ice: 'checking', gathering: 'complete', connection: 'connecting', errors: [] }, around));
  assert.doesNotMatch(text, /SECRET/);
  assert.match(text, /192\.0\.2\.1:1 -> 192\.0\.2\.2:8189, UDP: never answered \(0 of 4 checks answered\)/);
  assert.match(text, /^DTLS: new$/m);
});

test('the report contains what the device said about the previous attempt', () => {
  const why = 'the encryption (DTLS) failed: the viewer refused it';
  for (const seen of [seenWith([pair(UDP)]), recorded('chromium-dtls-stuck'), { ...seenWith([]), answered: false }]) {
    assert.match(said({ ...seen, told: why }), /About the previous attempt the device says: the encryption \(DTLS\) failed: the viewer refused it\./);
    assert.match(reportText({ ...seen, told: why }), /The device said: the encryption/);
    assert.doesNotMatch(reportText({ ...seen, told: null }), /[Tt]he device sa/);
    assert.doesNotMatch(said(seen), /device says/);
  }
});
