import assert from 'node:assert/strict';
import { test } from 'node:test';
import { ClockOffset } from '../../../src/web/page/clock.js';

/** An exchange with a daemon whose clock is ahead of ours by `ahead_ms`. */
function exchange(clock, { at_ms, there_ms, back_ms, ahead_ms = 5_000_000 }) {
  clock.add(at_ms, (at_ms + there_ms + ahead_ms) * 1000, at_ms + there_ms + back_ms);
}

test('nothing is known before the first exchange', () => {
  assert.equal(new ClockOffset().best(0), null);
});

test('the shortest round trip wins, and its half bounds the error', () => {
  const clock = new ClockOffset();
  exchange(clock, { at_ms: 0, there_ms: 40, back_ms: 2 });
  exchange(clock, { at_ms: 100, there_ms: 1, back_ms: 2 });
  exchange(clock, { at_ms: 200, there_ms: 3, back_ms: 30 });
  const best = clock.best(300);
  assert.equal(best.rtt_ms, 3);
  assert.ok(Math.abs(best.offset_ms - 5_000_000) <= best.error_ms, `${best.offset_ms} ± ${best.error_ms}`);
  assert.ok(best.error_ms < 1.6);
});

test('drift makes an old exchange lose against a fresh one that is nearly as good', () => {
  const clock = new ClockOffset();
  exchange(clock, { at_ms: 0, there_ms: 1, back_ms: 1, ahead_ms: 1000 });
  exchange(clock, { at_ms: 60_000, there_ms: 2, back_ms: 2, ahead_ms: 1003 });
  assert.equal(Math.round(clock.best(60_010).offset_ms), 1003);
});

test('answers from the past and broken answers are ignored', () => {
  const clock = new ClockOffset();
  clock.add(100, 1, 50);
  clock.add(100, undefined, 150);
  clock.add(undefined, 1, 150);
  assert.equal(clock.best(200), null);
});

test('a forgotten clock is unknown', () => {
  const clock = new ClockOffset();
  exchange(clock, { at_ms: 0, there_ms: 1, back_ms: 1 });
  clock.clear();
  assert.equal(clock.best(10), null);
});
