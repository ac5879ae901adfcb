import assert from 'node:assert/strict';
import { test } from 'node:test';
import { arrange, neighbour } from '../../../src/web/page/grid.js';

const columns = (count, width, height) => arrange(count, width, height).columns;

test('pictures are as large as they can be', () => {
  assert.deepEqual([1, 2, 3, 4, 5, 6, 9, 12].map((count) => columns(count, 1280, 720)), [1, 2, 2, 2, 3, 3, 3, 4]);
  assert.deepEqual([2, 3, 4, 9].map((count) => columns(count, 390, 620)), [1, 1, 1, 2], 'upright');
  assert.deepEqual([2, 3, 4].map((count) => columns(count, 1600, 300)), [2, 3, 4], 'wide and low');
});

test('no other number of columns gives larger pictures, and all fit', () => {
  for (let count = 1; count <= 16; count++) {
    for (const [width, height] of [[1280, 720], [1280, 660], [390, 640], [668, 390], [1920, 1010], [800, 800]]) {
      const best = arrange(count, width, height);
      for (let n = 1; n <= count; n++) {
        const rows = Math.ceil(count / n);
        const tile = Math.min((width - 6 * (n - 1)) / n, ((height - 6 * (rows - 1)) / rows) * (16 / 9));
        assert.ok(best.width + 1 > tile, `${count} on ${width}x${height}: ${n} columns`);
      }
      assert.ok(best.columns * best.width + 6 * (best.columns - 1) <= width, `${count} on ${width}x${height}`);
    }
  }
});

test('if there are too many to be legible, the page scrolls', () => {
  const { columns: beside, width } = arrange(30, 390, 640);
  assert.deepEqual([beside, width], [2, 192]);
  assert.deepEqual(arrange(3, 100, 50), { columns: 1, width: 100 });
  assert.deepEqual(arrange(2, 0, 0).width, 0);
});

test('arrow keys go to the next tile that way', () => {
  const to = (index, key) => neighbour(index, key, 3, 5);
  assert.deepEqual(['ArrowLeft', 'ArrowRight', 'ArrowUp', 'ArrowDown'].map((key) => to(1, key)), [0, 2, null, 4]);
  assert.deepEqual(['ArrowLeft', 'ArrowRight', 'ArrowUp', 'ArrowDown'].map((key) => to(4, key)), [3, null, 1, null]);
  assert.equal(to(0, 'a'), null);
});
