import assert from 'node:assert/strict';
import { test } from 'node:test';
import { keepQuality, keptQuality } from '../../../src/web/page/quality.js';
import { qualityChoices, receivedQuality } from '../../../src/web/page/sizes.js';

const rungs = [
  { name: 'full', width: 1280, height: 720 },
  { name: 'half', width: 640, height: 360 },
  { name: 'quarter', width: 320, height: 180 },
];
const all = ['full', 'half', 'quarter'];

function storage(kept = {}) {
  return () => ({ getItem: (key) => kept[key] ?? null, setItem: (key, value) => (kept[key] = value) });
}

const forbidden = () => {
  throw new DOMException('The operation is insecure.', 'SecurityError');
};

test('a choice is stored for the next visit, and auto is the default', () => {
  const own = storage();
  assert.equal(keptQuality(own), 'auto');
  keepQuality(own, 'half');
  assert.equal(keptQuality(own), 'half');
});

test('a browser that stores nothing, or wrong data, does no harm', () => {
  assert.equal(keptQuality(forbidden), 'auto');
  assert.equal(keptQuality(() => null), 'auto');
  assert.equal(keptQuality(storage({ 'peercam.quality': 'best' })), 'auto');
  assert.doesNotThrow(() => keepQuality(forbidden, 'half'));
});

test('each size is offered with its pixels once they are known', () => {
  assert.deepEqual(qualityChoices(all, rungs, 'auto'), [
    { value: 'auto', text: 'Auto' },
    { value: 'full', text: 'Full, 1280×720' },
    { value: 'half', text: 'Half, 640×360' },
    { value: 'quarter', text: 'Quarter, 320×180' },
  ]);
  assert.deepEqual(qualityChoices(['full', 'half'], undefined, 'half').map((c) => c.text), ['Auto', 'Full', 'Half']);
});

test('there is no choice with one size, or if the daemon reports none', () => {
  assert.deepEqual(qualityChoices(['full'], rungs, 'half'), []);
  assert.deepEqual(qualityChoices(undefined, undefined, 'auto'), []);
});

test('a choice that is not available now stays chosen', () => {
  const texts = qualityChoices(['full', 'half'], rungs, 'quarter').map((c) => c.text);
  assert.deepEqual(texts, ['Auto', 'Full, 1280×720', 'Half, 640×360', 'Quarter (not available now)']);
});

test('the received quality is recognised by its size', () => {
  assert.equal(receivedQuality(rungs, 640, 360), 'Half');
  assert.equal(receivedQuality(rungs, 642, 360), null, 'between two sizes');
  assert.equal(receivedQuality(rungs, null, null), null);
  assert.equal(receivedQuality(undefined, 640, 360), null);
});

test('what is sent is explained where it is less than was requested', () => {
  const received = (quality, rung, pictures) => receivedQuality(rungs, 640, 360, { quality, rung, pictures });
  assert.equal(received('half', 'half', 'all'), 'Half');
  assert.equal(received('auto', 'half', 'all'), 'Half, because the network carries no more');
  assert.equal(received('half', 'half', 'base'), 'Half, every second picture, because the network carries no more');
  assert.equal(received('quarter', 'half', 'all'), 'Half', 'a larger size, because the requested one is not available');
  assert.equal(received('auto', null, 'all'), 'Half', 'not known yet');
});
