import assert from 'node:assert/strict';
import { test } from 'node:test';
import { Announcer } from '../../../src/web/page/announce.js';

const LIVE = { state: 'live', spoken: 'Live.' };
const FROZEN = { state: 'frozen', spoken: 'The picture is frozen.' };
const AWAY = { state: 'away', spoken: 'Device away.' };
const CONNECTING = { state: 'connecting', spoken: 'Connecting.' };

/** What the live region is told of states, each with how long it lasts, looked at every 250 ms. */
function told(...states) {
  const announcer = new Announcer();
  const all = [];
  let now_ms = 0;
  for (const [said, lasts_ms] of states) {
    for (const end_ms = now_ms + lasts_ms; now_ms < end_ms; now_ms += 250) {
      const text = announcer.tell(said, now_ms);
      if (text !== all.at(-1)) all.push(text);
    }
  }
  return all;
}

test('the first state is told at once', () => {
  assert.deepEqual(told([CONNECTING, 250]), ['Connecting.']);
});

test('a device that goes away and comes back is told twice, whatever lies between', () => {
  const lost = [[LIVE, 2000], [FROZEN, 1000], [AWAY, 5000], [CONNECTING, 750], [LIVE, 1000]];
  assert.deepEqual(told(...lost), ['Live.', 'Device away.', 'Live.']);
});

test('what passes is not told', () => {
  assert.deepEqual(told([LIVE, 2000], [FROZEN, 1000], [LIVE, 5000]), ['Live.']);
});

test('what lasts is told, and once', () => {
  assert.deepEqual(told([LIVE, 2000], [FROZEN, 60_000]), ['Live.', 'The picture is frozen.']);
  assert.deepEqual(told([LIVE, 2000], [CONNECTING, 9000]), ['Live.', 'Connecting.']);
});
