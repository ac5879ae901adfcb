import assert from 'node:assert/strict';
import { test } from 'node:test';
import { Recent, age_ms, on_screen_ms, plausible } from '../../../src/web/page/delay.js';

/** The same computation as in clock.rs, in integers. */
function ticks(clock, mono_us) {
  return Number((BigInt(clock.offset) + (BigInt(mono_us) * BigInt(clock.hz)) / 1_000_000n) % 2n ** 32n);
}

const near = (a, b) => Math.abs(a - b) < 0.03;

test('the age of a picture is the time since its capture', () => {
  const clock = { hz: 90_000, offset: 123_456_789 };
  const captured_us = 77_000_123_456;
  assert.ok(near(age_ms(clock, ticks(clock, captured_us), captured_us + 12_345), 12.345));
  assert.ok(near(age_ms(clock, ticks(clock, captured_us), captured_us), 0));
});

test('RTP timestamps wrap: in the offset, in time, and between capture and display', () => {
  for (const offset of [0, 1, 2 ** 31, 2 ** 32 - 1]) {
    const clock = { hz: 90_000, offset };
    const wrap_us = Math.ceil(((2 ** 32 - offset) / 90_000) * 1e6);
    for (const captured_us of [0, 1000, wrap_us - 5000, wrap_us, 400 * 86_400e6]) {
      const age = age_ms(clock, ticks(clock, captured_us), captured_us + 40_000);
      assert.ok(near(age, 40), `offset ${offset}, captured ${captured_us}: ${age}`);
    }
  }
});

test('a clock that is a little behind gives a small negative age, not half a day', () => {
  const clock = { hz: 90_000, offset: 4_294_967_000 };
  assert.ok(near(age_ms(clock, ticks(clock, 1_000_000), 999_000), -1));
});

test('a picture that is ready is visible at the next refresh, whatever interval the browser assumes', () => {
  assert.equal(on_screen_ms(1000, 1010), 1010);
  assert.equal(on_screen_ms(1000, 990), 1000); // not before it arrived
  assert.ok(near(on_screen_ms(1000, 1098), 1016.67)); // ten a second
  assert.equal(on_screen_ms(1000, undefined), 1000); // a browser without an expected time
});

test('implausible delays are rejected', () => {
  assert.ok(plausible(0) && plausible(-3) && plausible(8000));
  assert.ok(!plausible(-100) && !plausible(61_000) && !plausible(NaN));
});

test('quantiles of the last values', () => {
  const recent = new Recent(5);
  assert.equal(recent.quantile(0.5), null);
  for (const v of [1000, 1000, 9, 7, 8, 300, 6]) recent.add(v);
  assert.equal(recent.count, 5);
  assert.equal(recent.quantile(0.5), 8);
  assert.equal(recent.quantile(0.95), 300);
  assert.equal(recent.quantile(1), 300);
  recent.clear();
  assert.equal(recent.count, 0);
});
