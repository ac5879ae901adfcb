import assert from 'node:assert/strict';
import { test } from 'node:test';
import { stillName } from '../../../src/web/page/still.js';

const at = new Date(2026, 0, 2, 3, 4, 5);

test('a saved picture is named by camera and local time', () => {
  assert.equal(stillName('Front door', at), 'front-door-2026-01-02-030405.jpg');
  assert.equal(stillName('  Küche / 2 ', at), 'küche-2-2026-01-02-030405.jpg'.normalize('NFC'));
  assert.equal(stillName('../..', at), 'camera-2026-01-02-030405.jpg');
  assert.equal(stillName('', at), 'camera-2026-01-02-030405.jpg');
});
