import assert from 'node:assert/strict';
import { test } from 'node:test';
import { camerasOf, changes, mainOf, offerOf, ownOf, qualityOf, sameCameras, statusOf, toldBy, wantedOf, watchersOf } from '../../../src/web/page/cameras.js';

const all = ['full', 'half', 'quarter'];
const camera = (name) => ({ name, label: name.toUpperCase(), has_audio: true, qualities: all, width: 1280, height: 720 });
const hello = { has_audio: true, qualities: all, cameras: ['front', 'back', 'yard'].map(camera) };
const mids = new Map([['front', '0'], ['back', '1'], ['yard', '2']]);
const wishes = { sound: false, quality: 'auto', layout: { enlarged: null, last: null }, room: { width: 1000, height: 700 }, boxes: new Map(), paused: new Set() };
const wanted = (change) => wantedOf(hello, mids, { ...wishes, ...change });
const qualities = ({ sections }) => sections.map(({ quality }) => quality);

test('an older daemon has one camera', () => {
  assert.deepEqual(camerasOf(null), []);
  assert.deepEqual(camerasOf({ has_audio: false, qualities: all }), [{ name: 'camera', label: 'Camera', has_audio: false, qualities: all }]);
  assert.equal(camerasOf(hello), hello.cameras);
});

test('the same cameras in another order are the same', () => {
  assert.equal(sameCameras(['back', 'yard', 'front'], hello.cameras), true);
  assert.equal(sameCameras(['back', 'front'], hello.cameras), false);
  assert.equal(sameCameras(['back', 'front', 'shed'], hello.cameras), false);
});

test('the main camera is the enlarged one, else the last one, else the first', () => {
  const main = (enlarged, last) => mainOf(hello.cameras, { enlarged, last })?.name;
  assert.equal(main('back', 'back'), 'back');
  assert.equal(main(null, 'yard'), 'yard');
  assert.equal(main(null, null), 'front');
  assert.equal(main('gone', 'gone'), 'front');
  assert.equal(mainOf([], { enlarged: null, last: null }), null);
});

test('the tiles of a window need less than an enlarged camera', () => {
  assert.deepEqual(qualities(wanted({})), ['half', 'half', 'half']);
  assert.deepEqual(qualities(wanted({ layout: { enlarged: 'back', last: 'back' } })), ['half', 'auto', 'half']);
  assert.deepEqual(qualities(wanted({ quality: 'full', layout: { enlarged: 'back', last: 'back' } })), ['half', 'full', 'half']);
  assert.deepEqual(qualities(wanted({ quality: 'quarter' })), ['quarter', 'quarter', 'quarter'], 'no larger than was chosen');
  const boxes = new Map([['front', { width: 300, height: 200 }], ['yard', { width: 1920, height: 1080 }]]);
  assert.deepEqual(qualities(wanted({ boxes })), ['quarter', 'half', 'auto'], 'once it is known, what is really there counts');
});

test('a picture is as large as its box needs', () => {
  const of = (width, height = 1080, wish = 'auto', offered = all) => qualityOf({ ...camera('a'), qualities: offered }, { width, height }, wish);
  assert.deepEqual([1280, 961, 960, 481, 480, 1].map((width) => of(width)), ['auto', 'auto', 'half', 'half', 'quarter', 'quarter']);
  assert.equal(of(1920, 500), 'half', 'a low box shows a whole picture, with bars at its sides');
  assert.deepEqual(['full', 'half', 'quarter'].map((wish) => of(1920, 1080, wish)), ['full', 'half', 'quarter'], 'a choice is a limit');
  assert.deepEqual(['full', 'half', 'quarter'].map((wish) => of(900, 900, wish)), ['half', 'half', 'quarter'], 'and so is the box');
  assert.equal(of(100, 100, 'auto', ['full', 'half']), 'half', 'no smaller one is available');
  assert.equal(of(100, 100, 'auto', ['full']), 'auto');
  assert.equal(of(0, 0), 'auto', 'the box is not known yet');
  assert.equal(qualityOf({ qualities: all }, { width: 9, height: 9 }, 'auto'), 'auto', 'nor the camera, or the daemon is older');
});

test('an offer names the camera of each of its sections', () => {
  assert.deepEqual(offerOf(wanted({ sound: true, layout: { enlarged: 'back', last: 'back' }, paused: new Set(['front']) })), {
    sound: true,
    listen: 'back',
    cameras: [
      { mid: '0', camera: 'front', quality: 'half' },
      { mid: '1', camera: 'back', quality: 'auto' },
      { mid: '2', camera: 'yard', quality: 'half' },
    ],
  });
});

test('a single camera has its section too, and an older daemon gets the old messages', () => {
  const one = { ...hello, cameras: [camera('front')] };
  const offer = offerOf(wantedOf(one, new Map([['front', '0']]), wishes));
  assert.deepEqual(offer, { sound: false, listen: 'front', cameras: [{ mid: '0', camera: 'front', quality: 'auto' }] });
  const older = { has_audio: true, qualities: all };
  const before = wantedOf(older, new Map([['camera', '0']]), wishes);
  assert.deepEqual(offerOf(before), { sound: false, quality: 'auto' });
  const after = wantedOf(older, new Map([['camera', '0']]), { ...wishes, sound: true, quality: 'half', paused: new Set(['camera']) });
  assert.deepEqual(JSON.parse(JSON.stringify(changes(toldBy(before), after))), [{ type: 'sound', on: true }, { type: 'quality', quality: 'half' }]);
});

test('only changes are sent', () => {
  const before = wanted({});
  assert.deepEqual(changes(before, wanted({})), []);
  const after = wanted({ layout: { enlarged: 'yard', last: 'yard' }, paused: new Set(['front']) });
  assert.deepEqual(changes(before, after), [
    { type: 'listen', camera: 'yard' },
    { type: 'pause', mid: '0', on: true },
    { type: 'quality', quality: 'auto', mid: '2' },
  ]);
  assert.deepEqual(changes(after, wanted({ layout: { enlarged: 'yard', last: 'yard' } })), [{ type: 'pause', mid: '0', on: false }]);
});

test('pauses from before the offer are sent after it', () => {
  const hidden = wanted({ paused: new Set(['back']) });
  assert.deepEqual(changes(toldBy(hidden), hidden), [{ type: 'pause', mid: '1', on: true }]);
});

test('a later offer does not contain pauses and the camera that is heard', () => {
  const before = wanted({ paused: new Set(['back']), layout: { enlarged: 'yard', last: 'yard' } });
  const offered = wanted({ paused: new Set(['front']), layout: { enlarged: 'back', last: 'back' } });
  // A different camera in a section that was paused is shown there.
  const moved = { ...offered, sections: offered.sections.map((s) => (s.mid === '1' ? { ...s, camera: 'attic' } : s)) };
  for (const [offer, paused] of [[offered, true], [moved, false]]) {
    const told = toldBy(offer, before);
    assert.equal(told.listen, 'yard');
    assert.deepEqual(told.sections.map((s) => s.paused), [false, paused, false]);
    assert.deepEqual(told.sections.map((s) => s.quality), offer.sections.map((s) => s.quality));
  }
});

test('everything is sent to a daemon that knows nothing', () => {
  assert.equal(changes(null, wanted({})).length, 2 + 2 * 3);
});

test('a camera that no longer exists is left out', () => {
  const less = { ...hello, cameras: hello.cameras.slice(1) };
  assert.deepEqual(wantedOf(less, mids, wishes).sections.map(({ mid }) => mid), ['1', '2']);
});

test('the status of one camera among several', () => {
  const [front, back] = [{ state: 'live' }, { state: 'gone', reason: 'unplugged' }];
  const status = {
    video: front, audio: { state: 'live' }, board: { pressure: null },
    cameras: [{ name: 'front', video: front, audio: {}, private: false }, { name: 'back', video: back, audio: {}, private: false }],
  };
  assert.equal(statusOf(status, hello.cameras, 'back').video, back);
  assert.equal(statusOf(status, hello.cameras, 'back').board, status.board);
  assert.equal(statusOf(status, hello.cameras, 'shed').video, undefined);
  assert.equal(statusOf(status, hello.cameras.slice(0, 1), 'front'), status, 'the only one stands at the top');
  assert.equal(statusOf(null, hello.cameras, 'front'), null);
  status.cameras[0].private = true;
  assert.equal(statusOf(status, hello.cameras, 'front').video.state, 'private');
});

test('who watches a camera', () => {
  const cameras = [{ name: 'front', viewers: 2 }, { name: 'back', viewers: 1 }];
  const list = [
    { who: 'owner', cameras: [{ camera: 'front', paused: false }, { camera: 'back', paused: true }] },
    { name: 'Ann', cameras: [{ camera: 'front', paused: false }, { camera: 'back', paused: false }] },
  ];
  assert.deepEqual(watchersOf({ cameras, viewers: { list } }, 'front'), { count: 2, names: ['owner', 'Ann'] });
  assert.deepEqual(watchersOf({ cameras, viewers: { list } }, 'back'), { count: 1, names: ['Ann'] });
  assert.deepEqual(watchersOf({ cameras, viewers: { count: 2 } }, 'back'), { count: 1, names: null });
  assert.deepEqual(watchersOf(null, 'back'), { count: undefined, names: null });
});

test('the own viewer is in the list for the owner, or in that for everybody else', () => {
  const all = [{ id: 'ab', link: 1 }, { id: 'cd', link: 2 }];
  assert.equal(ownOf({ viewers: { list: all } }, 'cdef')?.link, 2);
  assert.equal(ownOf({ viewers: { own: all } }, 'abcd')?.link, 1);
  for (const [status, viewer] of [[null, 'ab'], [{ viewers: { own: all } }, null], [{ viewers: { own: [] } }, 'abcd'], [{ viewers: {} }, 'ab']]) {
    assert.equal(ownOf(status, viewer), undefined);
  }
});
