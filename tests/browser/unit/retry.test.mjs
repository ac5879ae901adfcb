import assert from 'node:assert/strict';
import { mock, test } from 'node:test';
import { Retry } from '../../../src/web/page/retry.js';

test('one attempt waits at a time, and is started once', () => {
  mock.timers.enable({ apis: ['setTimeout'] });
  const [retry, started] = [new Retry(), []];
  retry.later(1000, () => started.push('first'));
  retry.later(500, () => started.push('second'));
  assert.ok(retry.waits && retry.told_ms === retry.at_ms && retry.at_ms > performance.now());
  mock.timers.tick(499);
  assert.deepEqual(started, []);
  mock.timers.tick(1);
  mock.timers.tick(5000);
  assert.deepEqual(started, ['second']);
  assert.deepEqual([retry.waits, retry.at_ms, retry.told_ms], [false, null, null]);

  // At once, quietly, and never; an attempt that starts may schedule another one.
  retry.later(1000, () => retry.later(10, () => started.push('fourth')), true);
  assert.ok(retry.waits && retry.told_ms === null && retry.at_ms !== null);
  retry.now();
  assert.ok(retry.waits);
  mock.timers.tick(10);
  assert.deepEqual(started, ['second', 'fourth']);
  retry.now();
  retry.later(10, () => started.push('fifth'));
  retry.cancel();
  mock.timers.tick(5000);
  assert.deepEqual(started, ['second', 'fourth']);
  mock.timers.reset();
});
