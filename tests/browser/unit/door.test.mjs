import assert from 'node:assert/strict';
import { test } from 'node:test';
import { next, secretOf } from '../../../src/web/page/door.js';
import { retryAfter } from '../../../src/web/page/api.js';

const signedIn = (role) => ({ state: 'signed-in', role });
const guest = { kind: 'guest', secret: 'x' };
const pair = { kind: 'pair', secret: 'x' };

test('the secret of a link is in its fragment, and other fragments are ignored', () => {
  assert.deepEqual(secretOf('#pair=abc-_9'), { kind: 'pair', secret: 'abc-_9' });
  assert.deepEqual(secretOf('#guest=Z'), { kind: 'guest', secret: 'Z' });
  for (const other of ['', '#', '#details', '#pair=', '#pair=a&guest=b', '#pair=<b>', '#owner=abc', 'guest=a', `#guest=${'a'.repeat(129)}`]) {
    assert.equal(secretOf(other), null, other);
  }
});

test('what is shown follows from the session and the link', () => {
  assert.equal(next({ state: 'unpaired' }, null), 'unpaired');
  assert.equal(next({ state: 'unpaired' }, pair), 'pair');
  assert.equal(next({ state: 'signed-out' }, null), 'sign-in');
  assert.equal(next({ state: 'signed-out' }, guest), 'guest');
  assert.equal(next(signedIn('owner'), null), 'watch');
  assert.equal(next(null, null), 'watch', 'nobody answers: the session says so');
});

test('a guest whose link has ended reads that, and is not asked for a password', () => {
  assert.equal(next({ state: 'signed-out' }, null, true), 'link-ended');
  assert.equal(next({ state: 'signed-out' }, guest, true), 'guest', 'a newer link is tried');
  assert.equal(next({ state: 'unpaired' }, null, true), 'unpaired');
  assert.equal(next(signedIn('guest'), null, true), 'watch');
});

test('somebody who may do more keeps that when trying a guest link', () => {
  assert.equal(next(signedIn('owner'), guest), 'watch');
  assert.equal(next(signedIn('viewer'), guest), 'watch');
  assert.equal(next(signedIn('guest'), guest), 'guest', 'a newer link lasts longer');
});

test('a new pairing link sets a new password, even if somebody is signed in', () => {
  assert.equal(next(signedIn('owner'), pair), 'pair');
  assert.equal(next({ state: 'signed-out' }, pair), 'pair');
});

test('Retry-After in seconds and as a date', () => {
  const now = Date.parse('Fri, 20 Nov 2026 12:00:00 GMT');
  assert.equal(retryAfter('7', now), 7);
  assert.equal(retryAfter('Fri, 20 Nov 2026 12:00:30 GMT', now), 30);
  assert.equal(retryAfter('Fri, 20 Nov 2026 11:00:00 GMT', now), 0);
  assert.equal(retryAfter(null, now), null);
  assert.equal(retryAfter('soon', now), null);
});
