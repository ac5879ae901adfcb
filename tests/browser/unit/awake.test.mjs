import assert from 'node:assert/strict';
import { test } from 'node:test';
import { Awake } from '../../../src/web/page/awake.js';

/** A browser that grants or refuses screen locks, and counts requests and locks. */
function browser(refuses) {
  const seen = { asked: 0, held: 0 };
  const request = async () => {
    seen.asked += 1;
    if (refuses()) throw new DOMException('the battery is low', 'NotAllowedError');
    seen.held += 1;
    const lock = { released: false };
    return Object.assign(lock, { release: async () => ((lock.released = true), (seen.held -= 1)) });
  };
  globalThis.document = { hidden: false };
  Object.defineProperty(globalThis, 'navigator', { value: { wakeLock: { request } }, configurable: true });
  return seen;
}

/** What the page does four times a second. */
async function look(awake, live, times = 20) {
  for (let n = 0; n < times; n++) await awake.look(live);
}

test('the screen is kept on while the picture is live and the person wants that', async () => {
  const seen = browser(() => false);
  const awake = new Awake();
  await look(awake, false);
  assert.deepEqual(seen, { asked: 0, held: 0 });
  await look(awake, true);
  assert.deepEqual(seen, { asked: 1, held: 1 });
  await look(awake, false);
  assert.equal(seen.held, 0);
  await look(awake, true);
  awake.want(false);
  assert.equal(seen.held, 0);
});

test('a browser that refused is asked again when the person switches it on again, or comes back to the page', async () => {
  let refuses = true;
  const seen = browser(() => refuses);
  const awake = new Awake();
  await look(awake, true);
  assert.equal(seen.asked, 1);
  globalThis.document.hidden = true;
  await look(awake, true);
  globalThis.document.hidden = false;
  await look(awake, true);
  assert.equal(seen.asked, 2);
  awake.want(true);
  await look(awake, true);
  assert.equal(seen.asked, 3);
  refuses = false;
  awake.want(true);
  await look(awake, true);
  assert.deepEqual(seen, { asked: 4, held: 1 });
});
