import assert from 'node:assert/strict';
import { test } from 'node:test';
import { Backoff } from '../../../src/web/page/backoff.js';

const steps = (backoff, n) => Array.from({ length: n }, () => backoff.down(0));

test('at once, then slower, never more than 10 s', () => {
  assert.deepEqual(steps(new Backoff(() => 0), 9), [0, 500, 1000, 2000, 4000, 8000, 10_000, 10_000, 10_000]);
});

test('jitter only shortens, by less than a third', () => {
  assert.deepEqual(steps(new Backoff(() => 1), 3), [0, 350, 700]);
  assert.deepEqual(steps(new Backoff(() => 0.5), 3), [0, 425, 850]);
});

test('only a connection that lasted restarts the series', () => {
  const backoff = new Backoff(() => 0);
  steps(backoff, 3);
  backoff.up(1000);
  assert.equal(backoff.down(3000), 2000, 'died after 2 s');
  backoff.up(10_000);
  backoff.up(14_000);
  assert.equal(backoff.down(15_000), 0, 'lasted from its first moment');
  assert.equal(backoff.down(15_000), 500);
});

test('a reset retries at once', () => {
  const backoff = new Backoff(() => 0);
  steps(backoff, 6);
  backoff.reset();
  assert.equal(backoff.down(0), 0);
});
