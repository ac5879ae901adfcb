import assert from 'node:assert/strict';
import { test } from 'node:test';
import { WHOLE, moved, offset, wheelFactor, within } from '../../../src/web/page/zoom.js';

const MIDDLE = { x: 0, y: 0 };
/** A picture that fits, one with bars at the sides, and one with bars above and below. */
const EXACT = { width: 1280, height: 720, ratio: 16 / 9 };
const SIDES = { width: 1280, height: 720, ratio: 4 / 3 };
const ABOVE = { width: 390, height: 620, ratio: 16 / 9 };
const ROOMS = [EXACT, SIDES, ABOVE];

const zoom = (room, scale, at = MIDDLE, view = WHOLE) => moved(view, room, scale, at, at);
const pan = (room, view, x, y) => moved(view, room, view.scale, MIDDLE, { x, y });

/** The edges of the picture in pixels from the middle of the box, as the transform puts them. */
function edges(view, room) {
  const width = Math.min(room.width, room.height * room.ratio) * view.scale;
  const height = Math.min(room.height, room.width / room.ratio) * view.scale;
  const { x, y } = offset(view, room);
  return { left: x - width / 2, right: x + width / 2, top: y - height / 2, bottom: y + height / 2 };
}

/** The position of a point of the box within the picture, as fractions from its left and upper edge. */
function under({ x, y }, view, room) {
  const { left, right, top, bottom } = edges(view, room);
  return [(x - left) / (right - left), (y - top) / (bottom - top)];
}

function near(got, wanted, what) {
  got.forEach((value, n) => assert.ok(Math.abs(value - wanted[n]) < 1e-6, `${what}: ${got} is not ${wanted}`));
}

test('the point under the pointer stays there', () => {
  for (const at of [MIDDLE, { x: 200, y: -90 }, { x: -640, y: 360 }]) {
    const twice = zoom(EXACT, 2, at);
    near(under(at, twice, EXACT), under(at, WHOLE, EXACT), 'in');
    const more = zoom(EXACT, 5.5, { x: -at.y, y: at.x / 2 }, twice);
    near(under({ x: -at.y, y: at.x / 2 }, more, EXACT), under({ x: -at.y, y: at.x / 2 }, twice, EXACT), 'further in');
  }
  // Two fingers that move while they spread.
  const [from, to] = [{ x: 30, y: 10 }, { x: -20, y: 25 }];
  near(under(to, moved(WHOLE, EXACT, 3, from, to), EXACT), under(from, WHOLE, EXACT), 'fingers');
});

test('the scale is bounded, and a scale near 1 becomes 1', () => {
  assert.equal(zoom(EXACT, 50).scale, 8);
  assert.equal(zoom(EXACT, 0.2), WHOLE);
  assert.equal(zoom(EXACT, 1), WHOLE);
  assert.equal(zoom(EXACT, 1.01).scale, 1.01, 'small steps lead in');
  assert.equal(zoom(EXACT, 1.04, MIDDLE, zoom(EXACT, 1.2)), WHOLE);
  assert.equal(zoom(EXACT, 1.06, MIDDLE, zoom(EXACT, 1.2)).scale, 1.06);
});

test('a whole picture is centred, however it was moved before', () => {
  for (const room of ROOMS) {
    assert.equal(pan(room, WHOLE, 300, -200), WHOLE);
    assert.equal(zoom(room, 1, { x: 50, y: 60 }, pan(room, zoom(room, 4), 900, 900)), WHOLE);
    near(Object.values(offset(WHOLE, room)), [0, 0], 'offset');
  }
});

test('a larger picture fills the box, and a smaller one is centred', () => {
  for (const room of ROOMS) {
    for (const scale of [1.01, 1.2, 1.5, 2, 3, 8]) {
      for (const [x, y] of [[0, 0], [1e5, 1e5], [-1e5, 1e5], [70, -1e5], [-33, 21]]) {
        const { left, right, top, bottom } = edges(pan(room, zoom(room, scale), x, y), room);
        for (const [start, end, box] of [[left, right, room.width], [top, bottom, room.height]]) {
          if (end - start > box) assert.ok(start <= -box / 2 + 1e-6 && end >= box / 2 - 1e-6, `${start} to ${end} of ${box}`);
          else near([start + end], [0], `${start} to ${end} of ${box}`);
        }
      }
    }
  }
});

test('moving stops at the edge of the picture', () => {
  const view = zoom(EXACT, 2);
  near(Object.values(offset(pan(EXACT, view, 100, -50), EXACT)), [100, -50], 'as far as the finger');
  near(Object.values(offset(pan(EXACT, view, 5000, -5000), EXACT)), [640, -360], 'to the edges');
  near(Object.values(offset(pan(SIDES, zoom(SIDES, 1.2), 100, 50), SIDES)), [0, 50], 'not where there are bars');
  near(Object.values(offset(pan(ABOVE, zoom(ABOVE, 2), 100, 50), ABOVE)), [100, 0], 'nor there');
});

test('in a box of a different size the same place is in the middle', () => {
  const view = pan(EXACT, zoom(EXACT, 4), 300, 200);
  const half = { ...EXACT, width: 640, height: 360 };
  assert.deepEqual(within(view, half), view);
  near(Object.values(offset(view, half)), [150, 100], 'half the way in half the box');
  const upright = { ...SIDES, width: 390, height: 620 };
  const edge = pan(upright, zoom(upright, 2), 5000, 0);
  near([edges(edge, upright).left, edges(within(edge, SIDES), SIDES).left], [-195, -640], 'no further than there is picture');
  assert.equal(within(WHOLE, upright), WHOLE);
});

test('wheels have different units, and none jumps', () => {
  const wheel = (deltaY, deltaMode = 0, ctrlKey = false) => wheelFactor({ deltaY, deltaMode, ctrlKey });
  near([wheel(-100), wheel(-4, 1), wheel(100)], [2 ** 0.2, 2 ** 0.2, 2 ** -0.2], 'a notch');
  near([wheel(-120) * wheel(120)], [1], 'there and back');
  near([wheel(-5, 0, true)], [2 ** 0.1], 'two fingers on a trackpad');
  near([wheel(-1, 2), wheel(9000), wheel(-100, 0, true)], [2 ** 0.5, 2 ** -0.5, 2 ** 0.5], 'at most');
});
