import assert from 'node:assert/strict';
import { test } from 'node:test';
import { Pausing } from '../../../src/web/page/pausing.js';

const all = (...names) => ['front', 'back'].map((name) => ({ name, visible: names.includes(name) }));

test('an invisible picture is paused after ten seconds, and continues at once', () => {
  const pausing = new Pausing();
  const at = (now_ms, ...visible) => [...pausing.look(all(...visible), now_ms)];
  assert.deepEqual(at(0, 'front', 'back'), []);
  assert.deepEqual(at(1000, 'front'), []);
  assert.deepEqual(at(10_999, 'front'), []);
  assert.deepEqual(at(11_000, 'front'), ['back']);
  assert.deepEqual(at(12_000), ['back'], 'the whole page is hidden');
  assert.deepEqual(at(22_000), ['front', 'back']);
  assert.deepEqual(at(22_001, 'back'), ['front']);
});

test('looking now and then prevents a pause', () => {
  const pausing = new Pausing();
  for (let now_ms = 0; now_ms < 60_000; now_ms += 9000) {
    assert.equal(pausing.look(all(), now_ms).size, 0);
    assert.equal(pausing.look(all('front', 'back'), now_ms + 8999).size, 0);
  }
});
