import assert from 'node:assert/strict';
import { test } from 'node:test';
import { Announcer } from '../../../src/web/page/announce.js';

const LIVE = { state: 'live', spoken: 'Live.' };
const FROZEN = { state: 'frozen', spoken: 'The picture is frozen.' };
const AWAY = { state: 'away', spoken: 'Device unreachable.' };
const CONNECTING = { state: 'connecting', spoken: 'Connecting.' };

/** What is announced for a series of states, each with its duration, checked every 250 ms. */
function told(...states) {
  const announcer = new Announcer();
  const all = [];
  let now_ms = 0;
  for (const [said, lasts_ms] of states) {
    for (const end_ms = now_ms + lasts_ms; now_ms < end_ms; now_ms += 250) {
      const text = announcer.tell([{ name: 'camera', label: 'Camera', said }], now_ms);
      if (text !== all.at(-1)) all.push(text);
    }
  }
  return all;
}

test('the first state is announced at once', () => {
  assert.deepEqual(told([CONNECTING, 250]), ['Connecting.']);
});

test('a device that goes away and comes back is announced twice, whatever happens in between', () => {
  const lost = [[LIVE, 2000], [FROZEN, 1000], [AWAY, 5000], [CONNECTING, 750], [LIVE, 1000]];
  assert.deepEqual(told(...lost), ['Live.', 'Device unreachable.', 'Live.']);
});

test('a short state is not announced', () => {
  assert.deepEqual(told([LIVE, 2000], [FROZEN, 1000], [LIVE, 5000]), ['Live.']);
});

test('a lasting state is announced once', () => {
  assert.deepEqual(told([LIVE, 2000], [FROZEN, 60_000]), ['Live.', 'The picture is frozen.']);
  assert.deepEqual(told([LIVE, 2000], [CONNECTING, 9000]), ['Live.', 'Connecting.']);
});

const GONE = { state: 'camera-gone', spoken: 'Camera gone.' };

/** The same for a front and a back camera: pairs of states, each with its duration. */
function toldOfTwo(...states) {
  const announcer = new Announcer();
  const all = [];
  let now_ms = 0;
  for (const [front, back, lasts_ms] of states) {
    for (const end_ms = now_ms + lasts_ms; now_ms < end_ms; now_ms += 250) {
      const cameras = [{ name: 'front', label: 'Front door', said: front }, { name: 'back', label: 'Yard', said: back }];
      const text = announcer.tell(cameras, now_ms);
      if (text !== all.at(-1)) all.push(text);
    }
  }
  return all;
}

test('a state of all cameras is announced as one', () => {
  const lost = [[CONNECTING, CONNECTING, 250], [LIVE, CONNECTING, 250], [LIVE, LIVE, 2000], [FROZEN, LIVE, 250], [FROZEN, FROZEN, 500], [AWAY, AWAY, 5000]];
  assert.deepEqual(toldOfTwo(...lost), ['Connecting.', 'Live.', 'Device unreachable.']);
});

test('a change of one camera is announced once, with its label', () => {
  const unplugged = [[LIVE, LIVE, 2000], [LIVE, GONE, 9000], [LIVE, LIVE, 9000]];
  assert.deepEqual(toldOfTwo(...unplugged), ['Live.', 'Yard: Camera gone.', 'Yard: Live.']);
});

test('two changes at once are both announced', () => {
  assert.deepEqual(toldOfTwo([LIVE, LIVE, 2000], [FROZEN, GONE, 5000]), [
    'Live.',
    'Front door: The picture is frozen. Yard: Camera gone.',
  ]);
});

test('a new camera is announced, and a removed one is forgotten', () => {
  const announcer = new Announcer();
  const one = (name, said) => ({ name, label: name, said });
  assert.equal(announcer.tell([one('front', LIVE)], 0), 'Live.');
  assert.equal(announcer.tell([one('front', LIVE), one('shed', CONNECTING)], 1000), 'shed: Connecting.');
  assert.equal(announcer.tell([one('front', LIVE)], 9000), 'shed: Connecting.', 'nothing new');
});
