import assert from 'node:assert/strict';
import { test } from 'node:test';
import { enlarge, keepCount, keepLayout, keptLayout } from '../../../src/web/page/layout.js';

function storage(kept = {}) {
  const own = { getItem: (key) => kept[key] ?? null, setItem: (key, value) => (kept[key] = value), removeItem: (key) => delete kept[key] };
  return () => own;
}

test('the enlarged camera and the last one are stored', () => {
  const own = storage();
  const none = keptLayout(own);
  assert.deepEqual(none, { enlarged: null, last: null });
  const back = enlarge(none, 'back');
  keepLayout(own, back);
  assert.deepEqual(keptLayout(own), { enlarged: 'back', last: 'back' });
  keepLayout(own, enlarge(back, null));
  assert.deepEqual(keptLayout(own), { enlarged: null, last: 'back' });
});

test('a browser that stores nothing does no harm', () => {
  const forbidden = () => {
    throw new DOMException('The operation is insecure.', 'SecurityError');
  };
  assert.deepEqual(keptLayout(forbidden), { enlarged: null, last: null });
  assert.doesNotThrow(() => keepLayout(forbidden, { enlarged: 'back', last: 'back' }));
});

test('the number of cameras is stored if there are several', () => {
  const kept = {};
  keepCount(storage(kept), 4);
  assert.equal(kept['peercam.cameras'], '4');
  keepCount(storage(kept), 1);
  assert.deepEqual(kept, {});
});
