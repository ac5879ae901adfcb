import assert from 'node:assert/strict';
import { test } from 'node:test';
import { bitrate, board, delayWords, describe, duration, expires, explained, fps, frozenAfter, mode, ms, since, sources, strain, tileWords, title, together, waitWords, watchers } from '../../../src/web/page/words.js';

const camera = { video: { state: 'live', source: 'camera' }, audio: { state: 'live', source: 'microphone' } };
const NOW = 100_000;
const base = {
  socket: 'open',
  lost_ms: null,
  media: 'up',
  trouble: null,
  retry_ms: null,
  status: camera,
  everLive: true,
  since_ms: NOW,
  shown_ms: NOW - 30,
  blocked: false,
  offline: false,
  owner: false,
  elsewhere: false,
  firefox: false,
};
const at = (change) => {
  const known = { ...base, ...change };
  return describe({ newest_ms: known.shown_ms, ...known }, NOW);
};

test('live, with a camera and a microphone, needs no more words', () => {
  const plain = { again: '', mark: null, card: false, act: null, steps: [] };
  assert.deepEqual(at({}), { state: 'live', tone: 'ok', head: 'Live', text: '', spoken: 'Live.', ...plain });
  assert.equal(title(at({})), '● live — peercam');
});

test('a network that carries no pictures is not a frozen picture', () => {
  const said = at({ unsent: true, shown_ms: NOW - 9_000 });
  assert.deepEqual([said.state, said.head, said.mark, said.card], ['no-picture', 'No picture', 'Not live', false]);
  assert.match(said.text, /network carries too little/);
  assert.equal(at({ unsent: true, shown_ms: null, everLive: false }).mark, null, 'nor one that never came');
  for (const state of ['private', 'starting', 'gone']) {
    assert.notEqual(at({ unsent: true, status: { video: { state } } }).state, 'no-picture', 'the camera has its own reason');
  }
  assert.notEqual(at({ unsent: true, lost_ms: NOW - 9_000, shown_ms: NOW - 9_000 }).state, 'no-picture', 'that was long ago');
});

test('test picture and tone are said plainly', () => {
  const pattern = { video: { state: 'live', source: 'pattern' }, audio: { state: 'live', source: 'tone' } };
  assert.match(at({ status: pattern }).text, /Test picture and test tone/);
  assert.equal(at({ status: pattern }).state, 'live');
  assert.match(sources({ ...camera, audio: pattern.audio }), /^Test tone, not a microphone\.$/);
  assert.match(sources({ ...camera, video: pattern.video }), /^Test picture, not a camera\.$/);
});

test('a missing microphone is reported with its reason', () => {
  const status = { ...camera, audio: { state: 'gone', source: 'microphone', reason: 'microphone unplugged' } };
  assert.equal(at({ status }).text, 'No sound: Microphone unplugged.');
});

test('a reduced picture is live, and says to what and why', () => {
  const why = 'encoding takes 41 ms per picture, more than the 33 ms available';
  const status = { ...camera, video: { ...camera.video, reduced: { width: 1280, height: 720, fps: 20, why } } };
  const said = at({ status });
  assert.equal(said.text, `Reduced to 1280×720, 20 fps: ${why}.`);
  assert.deepEqual([said.state, said.tone, said.mark], ['live', 'ok', null]);
  // The reason says it already.
  assert.equal(strain({ ...status, board: { pressure: 'heat' } }), said.text);
});

test('a problem of the board is reported, even before it has an effect', () => {
  for (const [pressure, says] of [
    ['heat', 'The board is too hot.'],
    ['under-voltage', "The board's power supply is too weak."],
    [null, ''],
    ['news', ''],
  ]) {
    assert.equal(strain({ ...camera, board: { temperature_c: 84, pressure } }), says);
  }
  assert.equal(strain(undefined), '');
  assert.equal(board({ temperature_c: 84.4, pressure: 'heat' }), '84 °C, the board is too hot');
  assert.equal(board({ temperature_c: 48.6, pressure: null }), '49 °C');
  assert.equal(board({ temperature_c: null, pressure: 'under-voltage' }), "the board's power supply is too weak");
  assert.equal(board({ temperature_c: null, pressure: null }), null);
  assert.equal(board(undefined), null);
});

test('a picture older than a second is frozen, shown with seconds, but announced without', () => {
  assert.equal(at({ shown_ms: NOW - 999 }).state, 'live');
  const frozen = at({ shown_ms: NOW - 3400 });
  assert.equal(frozen.state, 'frozen');
  assert.equal(frozen.head, 'Frozen for 3 s');
  assert.equal(frozen.mark, 'Frozen for 3 s');
  assert.equal(frozen.spoken, at({ shown_ms: NOW - 4400 }).spoken, 'not announced again each second');
  assert.match(at({ shown_ms: NOW - 3400, media: 'interrupted' }).text, /path is interrupted/);
});

test('a slow camera does not count as frozen', () => {
  assert.equal(frozenAfter({ delivered_fps: 30 }), 1000);
  assert.equal(frozenAfter({ delivered_fps: null, negotiated: { fps: 1 } }), 2500);
  assert.equal(frozenAfter(undefined), 1000);
});

test('camera gone: the reason of the daemon, not frozen', () => {
  const status = { ...camera, video: { state: 'gone', source: 'camera', reason: 'the camera was unplugged' } };
  const said = at({ status, shown_ms: NOW - 400 });
  assert.equal(said.state, 'camera-gone');
  assert.match(said.text, /^The camera was unplugged\. /);
  assert.equal(at({ status, shown_ms: null }).state, 'connecting');
});

test('the message about privacy replaces the picture, and nothing covers it', () => {
  const status = { ...camera, video: { state: 'private' } };
  for (const shown_ms of [NOW - 30, NOW - 5000, null]) {
    const said = at({ status, shown_ms });
    assert.deepEqual([said.state, said.card, said.mark], ['private', true, null]);
    assert.equal(said.text, 'The owner switched camera and microphone off. Only the owner can switch them on again.');
    assert.equal(said.act, null, 'who watches can do nothing about it');
  }
});

test('the owner reads that they switched it off, and can undo it there', () => {
  const said = at({ status: { ...camera, video: { state: 'private' } }, owner: true });
  assert.equal(said.text, 'You switched camera and microphone off.');
  assert.deepEqual(said.act, { what: 'switch-on', label: 'Switch on' });
});

test('a camera that opens for the first viewer', () => {
  for (const state of ['idle', 'opening']) {
    const status = { ...camera, video: { state } };
    assert.match(at({ status, everLive: false, shown_ms: null }).text, /camera is being opened/);
  }
});

test('a camera that is slow to its first picture is starting, not gone', () => {
  const status = { ...camera, video: { state: 'starting' } };
  assert.match(at({ status, everLive: false, shown_ms: null }).text, /camera is starting/);
  const said = at({ status });
  assert.equal(said.head, 'Camera starting');
  assert.match(said.text, /camera is starting/);
});

test('no H.264, detected by the page or refused by the daemon', () => {
  assert.equal(at({ media: 'none', trouble: { kind: 'h264', message: null } }).state, 'no-h264');
  assert.match(at({ media: 'none', trouble: { kind: 'h264', message: 'no packetization-mode 1' } }).text, /^No packetization-mode 1\. Use another browser/);
  assert.deepEqual(at({ media: 'none', trouble: { kind: 'h264', message: null } }).steps, []);
});

test('Firefox without H.264 gets instructions for its plug-in', () => {
  const said = at({ media: 'none', trouble: { kind: 'h264', message: null }, firefox: true });
  assert.equal(said.steps.length, 3);
  assert.match(said.steps.join(' '), /about:addons.*OpenH264.*Always Activate.*checks again/);
  assert.ok(said.spoken.endsWith(said.steps.at(-1)), 'a screen reader, too');
});

test('a full device says how many may watch, and that nothing needs to be done', () => {
  const full = { media: 'none', shown_ms: null, trouble: { kind: 'full', message: 'too many people are watching (limit 1)' } };
  const said = at(full);
  assert.equal(said.text, 'Too many people are watching (limit 1). The page connects by itself when somebody leaves.');
  assert.deepEqual([said.state, said.card, said.act], ['full', true, null]);
  assert.deepEqual(at({ ...full, elsewhere: true }).act, { what: 'here', label: 'Watch here instead' });
  const gave = at({ media: 'none', trouble: { kind: 'elsewhere', message: null } });
  assert.deepEqual([gave.state, gave.act?.what], ['elsewhere', 'here']);
});

test('refused, ended and no path count down', () => {
  const states = { refused: 'refused', ended: 'ended', path: 'no-path' };
  for (const [kind, state] of Object.entries(states)) {
    const said = at({ media: 'none', trouble: { kind, message: 'because' }, retry_ms: NOW + 2500, shown_ms: NOW - 9000 });
    assert.equal(said.state, state);
    assert.equal(said.again, 'Trying again in 3 s.');
    assert.doesNotMatch(said.spoken, /Trying again/);
    assert.deepEqual([said.card, said.mark, said.act?.what], [true, null, 'try'], 'in the middle of the picture');
  }
});

test('device not reachable; a picture that continues without its socket is still live', () => {
  const away = { socket: 'closed', lost_ms: NOW - 9000, trouble: { kind: 'away', message: null }, retry_ms: NOW + 900 };
  assert.equal(at({ ...away, media: 'none' }).state, 'away');
  assert.equal(at({ ...away, shown_ms: NOW - 1500 }).state, 'away');
  assert.deepEqual(at({ ...away, media: 'none' }).act, { what: 'try', label: 'Try now' });
  assert.match(at({ ...away, media: 'none', offline: true }).text, /^This browser has no network\./);
  const alive = at(away);
  assert.equal(alive.state, 'live');
  assert.match(alive.text, /control connection is lost/);
});

test('a state stays until a reconnect has succeeded, whatever happens meanwhile', () => {
  const trouble = { kind: 'away', message: null };
  for (const [change, state] of [
    [{}, 'live'],
    [{ status: { ...camera, video: { state: 'private' } } }, 'private'],
    [{ status: { ...camera, video: { state: 'gone' } } }, 'camera-gone'],
    [{ shown_ms: NOW - 1500 }, 'away'],
    [{ media: 'none', shown_ms: null }, 'away'],
    [{ media: 'none', shown_ms: null, everLive: false }, 'away'],
  ]) {
    const lost = { lost_ms: NOW - 9000, trouble, ...change };
    const [closed, opening, open] = ['closed', 'opening', 'open'].map((socket) => at({ ...lost, socket }));
    assert.equal(closed.state, state);
    assert.deepEqual(opening, closed);
    assert.deepEqual(open, closed);
  }
});

test('a lost connection is reported after the picture had time to freeze, so that there is one message, not two', () => {
  const trouble = { kind: 'away', message: null };
  assert.equal(at({ socket: 'closed', trouble, lost_ms: NOW - 1900 }).text, '');
  assert.match(at({ socket: 'closed', trouble, lost_ms: NOW - 2100 }).text, /control connection is lost/);
});

test('connecting says what it waits for once it lasts', () => {
  const fresh = { media: 'connecting', everLive: false, shown_ms: null };
  assert.deepEqual([at(fresh).state, at(fresh).text], ['connecting', '']);
  assert.match(at({ ...fresh, since_ms: NOW - 5000 }).text, /path for the picture/);
  assert.match(at({ ...fresh, socket: 'opening', since_ms: NOW - 5000 }).text, /Waiting for the device/);
  assert.match(at({ ...fresh, media: 'up' }).text, /first picture/);
});

test('with a report the status line shows its first sentence, and that there is more', () => {
  const first = 'UDP port 8189 of 192.0.2.1 never answered.';
  const noPath = at({ media: 'none', trouble: { kind: 'path', message: null }, retry_ms: NOW + 900, shown_ms: null });
  const said = explained(noPath, first);
  assert.deepEqual([said.state, said.text, said.again], ['no-path', first, 'Trying again in 1 s.']);
  assert.equal(said.spoken, `It does not connect. ${first} The "Why?" button shows more.`);
  const others = [{ kind: 'ended', message: 'the viewer named no address' }, null];
  for (const trouble of others) {
    const attempt = explained(at({ media: trouble ? 'none' : 'connecting', trouble, shown_ms: null }), first);
    assert.deepEqual([attempt.text, attempt.spoken], [first, said.spoken], 'attempts that fail are one thing to tell');
  }
  assert.equal(explained(noPath, null), noPath);
  const away = at({ media: 'none', trouble: { kind: 'away', message: null } });
  assert.equal(explained(away, first), away, 'a state that knows better says so itself');
});

test('a browser that refuses to play asks for a click', () => {
  assert.equal(at({ blocked: true }).state, 'blocked');
});

test('figures in words', () => {
  assert.equal(delayWords(46.4, 34.6), '46 ms (35 ms of it for lip sync)');
  assert.equal(delayWords(11, null), '11 ms');
  assert.equal(delayWords(null, 3), null);
  assert.equal(ms(0.4), '< 1 ms');
  assert.equal(ms(-2), '< 1 ms');
  assert.equal(bitrate(2_040_000), '2.0 Mbit/s');
  assert.equal(bitrate(64_400), '64 kbit/s');
  assert.equal(fps(29.97), '30 fps');
  assert.equal(fps(2), '2.0 fps');
  assert.equal(mode({ width: 640, height: 480, fps: 30, format: 'YUYV' }), '640×480, 30 fps, YUYV');
  assert.equal(duration(59), '59 s');
  assert.equal(duration(3 * 86_400 + 4 * 3600), '3 d 4 h');
});

test('people, links and waiting in words', () => {
  assert.equal(watchers(0), 'nobody watching');
  assert.equal(watchers(3), '3 watching');
  assert.equal(watchers(undefined), null);
  assert.equal(waitWords(12), 'Wait 12 s');
  assert.equal(waitWords(600), 'Wait 10 min');
  const noon = new Date(2026, 10, 20, 12).getTime() / 1000;
  assert.equal(since(125, noon), 'since 11:57 (2 min)');
  assert.equal(expires(noon - 1, noon), 'expired');
  assert.equal(expires(noon + 3600, noon), 'until today, 13:00');
  assert.equal(expires(noon + 86_400, noon), 'until 21 November, 12:00');
  assert.equal(expires(noon + 60 * 86_400, noon), 'until 19 January 2027, 12:00');
});

const named = (...all) => all.map(([label, said]) => ({ label, said }));
const goneBecause = (reason) => at({ status: { ...camera, video: { state: 'gone', reason } } });

test('one camera can be frozen while others continue; a lost device affects all', () => {
  const lost = { lost_ms: NOW - 9000, trouble: { kind: 'away', message: null }, shown_ms: NOW - 5000 };
  assert.equal(at({ ...lost, newest_ms: NOW - 30 }).state, 'frozen');
  assert.equal(at(lost).state, 'away');
});

test('a camera that is opened for a returning viewer is not frozen', () => {
  const said = at({ shown_ms: NOW - 5000, status: { ...camera, video: { state: 'opening' } } });
  assert.deepEqual([said.state, said.text, said.mark], ['connecting', 'The camera is being opened.', 'Not live']);
});

test('several cameras: the same state is reported once', () => {
  const [one, other] = [at({}), at({})];
  assert.equal(together(named(['Front', one], ['Yard', other]), other), other);
  const away = at({ media: 'none', trouble: { kind: 'away', message: null }, shown_ms: null });
  assert.equal(together(named(['Front', away], ['Yard', away]), away), away);
});

test('several cameras: those that are not live are listed by label', () => {
  const all = named(['Front', at({})], ['Yard', goneBecause('unplugged')], ['Shed', at({ shown_ms: NOW - 3400 })]);
  const said = together(all, all[0].said);
  assert.deepEqual([said.state, said.tone, said.head], ['live', 'warn', '1 of 3 live']);
  assert.equal(said.text, 'Yard: camera gone. Shed: frozen for 3 s.');
  const none = named(['Front', goneBecause('unplugged')], ['Yard', goneBecause('too slow')]);
  assert.deepEqual([together(none, none[0].said).state, together(none, none[0].said).head], ['camera-gone', '0 of 2 live']);
});

test('several cameras: a note about a live one has its label', () => {
  const pattern = at({ status: { ...camera, video: { state: 'live', source: 'pattern' } } });
  const said = together(named(['Front', at({})], ['Yard', pattern]), at({}));
  assert.deepEqual([said.state, said.tone, said.head, said.text], ['live', 'ok', 'Live', 'Yard: Test picture, not a camera.']);
});

test('a tile says its state, and why there is no picture', () => {
  assert.deepEqual(tileWords(at({})), { state: 'live', slate: null });
  assert.deepEqual(tileWords(goneBecause('it was unplugged')), { state: 'camera gone', slate: 'It was unplugged. The picture comes back by itself.' });
  assert.deepEqual(tileWords(at({ shown_ms: NOW - 3400 })), { state: 'frozen', slate: 'Frozen for 3 s' });
  assert.deepEqual(tileWords(at({ status: { ...camera, video: { state: 'private' } } })), { state: 'switched off', slate: null });
});

test('the title names the camera that fills the page', () => {
  assert.equal(title(at({}), 'Front door'), '● live — Front door — peercam');
  assert.equal(title(goneBecause('unplugged'), 'Front door'), 'camera gone — Front door — peercam');
});
