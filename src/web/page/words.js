// What is happening, in plain words. Pure: turns what is known into one state, one sentence, one title.

import { sentence } from './api.js';
import { english, locale, number, small, t, told } from './language.js';

/** A picture older than this counts as frozen, ms; for slow cameras it is two and a half frame intervals. */
const FROZEN_MS = 1000;
/** If connecting takes longer than this, ms, the page says what it waits for. */
const LONG_MS = 4000;
/** A lost control connection is mentioned only if it is lost for longer than this, ms, after the picture had time to freeze. */
const LOST_MS = 1000;
const STARTING = english('The camera is starting; some take a few seconds.');
/** States of a camera that somebody has just started to watch. */
const OPENING = ['opening', 'idle'];
/** States of a camera that say why there is no picture, whatever the network carries. */
const STANDING = ['private', 'starting', 'gone'];
const OPENED = english('The camera is being opened.');
const LOST = english('The control connection is lost; the picture continues.');
/** How to install H.264 in Firefox. */
const OPENH264 = [
  english('Open the menu of Firefox, then "Add-ons and themes", then "Plugins" (or enter about:addons as an address).'),
  english('Next to "OpenH264 Video Codec provided by Cisco Systems, Inc." choose "Always Activate". If it says that it will be installed shortly, leave Firefox open: that takes a few minutes and an internet connection.'),
  english('Come back to this page: it checks again every 10 s. If the plug-in is not listed, this Firefox comes without it; use another browser.'),
];
/** States of attempts to connect: the report says more about them. */
const EXPLAINED = ['connecting', 'no-path', 'ended'];
/** The board's problem, by the value in the status. */
const PRESSURE = {
  heat: english('the board is too hot'),
  'under-voltage': english("the board's power supply is too weak"),
};

/**
 * `known`: { socket, lost_ms, media, trouble, retry_ms, status, everLive, unsent, since_ms, shown_ms, blocked, offline } at `now_ms`.
 * `shown_ms`: when the last picture came (`null`: none in this session); `since_ms`: when connecting began; `lost_ms`: since when the
 * control connection is lost (`null`: it is not); `everLive`: whether a picture was ever shown; `unsent`: whether the device sends no
 * pictures, because the network carries too little; `blocked`: whether the browser refuses to play; `offline`: whether the browser believes that it has no network; `newest_ms`: when the last picture of any camera came;
 * `owner`: whether the person is the owner; `elsewhere`: whether another tab of this browser watches; `firefox`: whether it is Firefox.
 *
 * Returns { state, tone, head, text, again, spoken, mark, card, act, steps }. `state`: for programs; `tone`: ok, busy, warn or bad;
 * `head`: two or three words; `text`: the rest of the sentence; `again`: when the next attempt starts; `spoken`: the text for screen
 * readers, without figures that change every second; `mark`: the text on a picture that is not live, or `null`; `card`: whether the
 * text replaces the picture even if there is one; `act`: a possible action, { what, label }, or `null`; `steps`: what to do elsewhere,
 * in order.
 */
export function describe(known, now_ms) {
  const { socket, media, trouble, status } = known;
  const again = countdown(known.retry_ms, now_ms);
  const age_ms = known.shown_ms === null ? null : now_ms - known.shown_ms;
  const camera = status?.video;

  if (trouble?.kind === 'unsupported') {
    return say('unsupported', 'bad', t('Cannot play in this browser'), sentence(told(trouble.message)));
  }
  if (trouble?.kind === 'h264') {
    const why = sentence(told(trouble.message) ?? t('The picture is sent as H.264, which this browser cannot decode'));
    const steps = known.firefox ? OPENH264.map((step) => t(step)) : [];
    const what = known.firefox ? t('Firefox needs a plug-in for it:') : t('Use another browser.');
    return say('no-h264', 'bad', t('No H.264 in this browser'), `${why} ${what}`, { card: true, steps });
  }
  if (known.blocked && media === 'up') {
    return say('blocked', 'warn', t('Ready'), t('The browser waits for a click before it plays.'));
  }

  const lost = known.lost_ms !== null;
  const stale = age_ms > frozenAfter(camera);
  const silent = now_ms - known.newest_ms > frozenAfter(camera);
  if (known.unsent && media === 'up' && !lost && !STANDING.includes(camera?.state)) {
    const mark = known.everLive ? t('Not live') : null;
    return say('no-picture', 'warn', t('No picture'), t('The network carries too little for pictures. They come back by themselves.'), { mark });
  }
  // If both are lost, the last status no longer counts.
  if (age_ms !== null && (media === 'up' || media === 'interrupted') && !(lost && silent)) {
    const mark = stale ? t('Frozen for {s} s', { s: Math.floor(age_ms / 1000) }) : null;
    if (camera?.state === 'private') return switchedOff(known.owner);
    if (camera?.state === 'starting') return say('camera-gone', 'busy', t('Camera starting'), t(STARTING), { mark });
    if (camera?.state === 'gone') return say('camera-gone', 'warn', t('Camera gone'), gone(camera.reason), { mark });
    if (stale && OPENING.includes(camera?.state)) return say('connecting', 'busy', t('Connected'), t(OPENED), { mark: t('Not live') });
    if (!stale) {
      const note = lost && now_ms - known.lost_ms > LOST_MS + frozenAfter(camera) ? t(LOST) : '';
      return say('live', note ? 'warn' : 'ok', t('Live'), [sources(status), strain(status), note].filter(Boolean).join(' '));
    }
    const why = media === 'interrupted' ? t('The path is interrupted; looking for another one.') : t('No new picture is arriving.');
    return say('frozen', 'bad', mark, why, { mark, spokenHead: t('The picture is frozen') });
  }

  const mark = known.everLive ? t('Not live') : null;
  // If there will be no picture until something changes, the reason replaces the picture.
  const stands = { again, card: true, act: { what: 'try', label: t('Try now') } };
  const here = { card: true, act: { what: 'here', label: t('Watch here instead') } };
  switch (trouble?.kind) {
    case 'elsewhere':
      return say('elsewhere', 'warn', t('Watching in another tab'), t('The device has room for only one tab of this browser.'), here);
    case 'full': {
      const text = sentence(told(trouble.message) ?? t('Too many people are watching'));
      if (known.elsewhere) return say('full', 'warn', t('Full'), `${text} ${t('You are watching in another tab of this browser.')}`, here);
      return say('full', 'warn', t('Full'), `${text} ${t('The page connects by itself when somebody leaves.')}`, { card: true });
    }
    case 'refused':
      return say('refused', 'bad', t('Refused'), sentence(told(trouble.message) ?? t('The device refused')), stands);
    case 'ended':
      return say('ended', 'warn', t('Ended'), sentence(told(trouble.message) ?? t('The device ended this connection')), stands);
    case 'path': {
      const text = t('The device answers, but its picture does not get through: a firewall may block UDP.');
      return say('no-path', 'bad', t('No network path'), text, stands);
    }
    case 'stuck':
      return say('frozen', 'bad', t('The picture is frozen'), t('Restarting it.'), { again, mark });
    case 'away': {
      const nobody = known.offline ? t('This browser has no network') : t('Nothing answers at this address');
      const text = sentence(told(trouble.message) ?? nobody);
      return say('away', 'bad', t('Device unreachable'), text, stands);
    }
  }

  const waited = now_ms - known.since_ms > LONG_MS;
  if (media === 'up') {
    if (camera?.state === 'private') return switchedOff(known.owner);
    const words = {
      gone: () => gone(camera.reason),
      starting: () => t(STARTING),
      opening: () => t(OPENED),
      idle: () => t(OPENED),
    };
    const what = words[camera?.state]?.() ?? t('Waiting for the first picture.');
    return say('connecting', 'busy', t('Connected'), what, { mark });
  }
  const step = socket === 'open' ? t('Looking for a network path for the picture.') : t('Waiting for the device.');
  return say('connecting', 'busy', t('Connecting'), waited ? step : '', { mark });
}

/**
 * The same state with the first sentence of the report of why it does not connect (`null` before it is known). The text for screen
 * readers is the same in all of these states: attempts that fail one after another are announced once.
 */
export function explained(said, first) {
  if (first === null || !EXPLAINED.includes(said.state)) return said;
  return { ...said, text: first, spoken: t('It does not connect. {first} The "Why?" button shows more.', { first }) };
}

/**
 * One message for several cameras; `all` has { label, said } for each. If it is the same for all of them, it is that of the `main`
 * camera; else it says which cameras are not live.
 */
export function together(all, main) {
  const states = new Set(all.map(({ said }) => said.state));
  const texts = new Set(all.map(({ said }) => said.text));
  const differ = states.size > 1 || (texts.size > 1 && ['live', 'camera-gone'].includes(main.state));
  if (!differ) return main;
  const live = all.filter(({ said }) => said.state === 'live');
  const others = all.filter(({ said }) => said.state !== 'live').map(({ label, said }) => t('{label}: {state}.', { label, state: small(said.head) }));
  const notes = live.filter(({ said }) => said.text).map(({ label, said }) => t('{label}: {text}', { label, text: said.text }));
  const text = [...others, ...notes].join(' ');
  if (!others.length) return say('live', all.some(({ said }) => said.tone === 'warn') ? 'warn' : 'ok', t('Live'), text);
  return say(live.length ? 'live' : 'camera-gone', 'warn', t('{live} of {all} live', { live: live.length, all: all.length }), text);
}

/** The words in a tile: `state` in a word or two, and `slate`, the text in its middle, or `null`. */
export function tileWords({ state, head, text, mark }) {
  if (state === 'live') return { state: t('live'), slate: null };
  if (state === 'private') return { state: t('switched off'), slate: null }; // the device's own card says so
  if (state === 'frozen') return { state: t('frozen'), slate: mark ?? head };
  return { state: small(head), slate: text || head };
}

/** The title of the browser's tab; `label`: of the camera that fills the page, if there are several. */
export function title({ state, head }, label = null) {
  const words = state === 'live' ? t('● live') : small(head);
  return [words, label, 'peercam'].filter(Boolean).join(' — ');
}

/** The age at which a picture counts as frozen, ms; it is longer for slow cameras. */
export function frozenAfter(camera) {
  const fps = camera?.delivered_fps || camera?.negotiated?.fps;
  return fps > 0 ? Math.max(FROZEN_MS, 2500 / fps) : FROZEN_MS;
}

/** Says which devices are replaced or missing; empty with a camera and a microphone. */
export function sources(status) {
  if (!status) return '';
  const { video, audio } = status;
  const picture = video?.source === 'pattern';
  const tone = audio?.source === 'tone';
  const said = [];
  if (picture && tone) said.push(t('Test picture and test tone, not a camera and a microphone.'));
  else if (picture) said.push(t('Test picture, not a camera.'));
  else if (tone) said.push(t('Test tone, not a microphone.'));
  if (audio?.state === 'gone') said.push(t('No sound: {why}', { why: sentence(told(audio.reason) ?? t('the microphone is gone')) }));
  return said.join(' ');
}

/** Says why the picture is reduced, or may soon be; empty if all is well. */
export function strain(status) {
  const reduced = status?.video?.reduced;
  if (reduced) return sentence(t('reduced to {mode}: {why}', { mode: mode(reduced), why: told(reduced.why) }));
  const pressure = PRESSURE[status?.board?.pressure];
  return pressure ? sentence(t(pressure)) : '';
}

/** The board's state in words: "84 °C, the board is too hot". */
export function board(b) {
  const degrees = b?.temperature_c == null ? null : `${Math.round(b.temperature_c)} °C`;
  const pressure = PRESSURE[b?.pressure];
  return [degrees, pressure && t(pressure)].filter(Boolean).join(', ') || null;
}

/** A delay in words: "46 ms", or with its part for lip sync "46 ms (35 ms of it for lip sync)". */
export function delayWords(delay_ms, sync_ms) {
  if (delay_ms === null) return null;
  if (sync_ms === null || sync_ms < 1) return ms(delay_ms);
  return t('{delay} ({sync} of it for lip sync)', { delay: ms(delay_ms), sync: `${Math.round(sync_ms)} ms` });
}

export function ms(value) {
  if (value === null || value === undefined) return null;
  return value < 1 ? '< 1 ms' : `${Math.round(value)} ms`;
}

export function bitrate(bps) {
  if (bps === null || bps === undefined) return null;
  return bps >= 1e6 ? `${number(bps / 1e6, 1)} Mbit/s` : `${Math.round(bps / 1000)} kbit/s`;
}

/** What the device has measured of the link to a browser. */
export function linkWords(link) {
  if (!link) return null;
  const queue = link.queue_ms >= 1 && t('queue {ms}', { ms: ms(link.queue_ms) });
  const lost = link.loss_percent > 0 && t('{percent} lost', { percent: `${number(link.loss_percent, 1)} %` });
  return [bitrate(link.estimate_bps), queue, lost, told(link.state)].filter(Boolean).join(', ');
}

export function fps(value) {
  if (value === null || value === undefined) return null;
  return t('{count} fps', { count: value >= 9.95 ? Math.round(value) : number(value, 1) });
}

/** A mode of the status in words: "640×480, 30 fps, YUYV". */
export function mode(m) {
  if (!m) return null;
  return [`${m.width}×${m.height}`, fps(m.fps), m.format].filter(Boolean).join(', ');
}

/** A duration in words: "3 d 4 h", "2 h 5 min", "12 min", "40 s". */
export function duration(s) {
  const [d, h, min] = [Math.floor(s / 86_400), Math.floor(s / 3600) % 24, Math.floor(s / 60) % 60];
  if (d) return t('{d} d {h} h', { d, h });
  if (h) return t('{h} h {min} min', { h, min });
  return min ? t('{min} min', { min }) : t('{s} s', { s: Math.floor(s) });
}

/** The zoom factor in words: "2.5×". */
export function times(scale) {
  return `${scale < 10 ? number(scale, 1) : Math.round(scale)}×`;
}

/** The number of viewers in words, including this one. */
export function watchers(count) {
  if (count === null || count === undefined) return null;
  return count === 0 ? t('nobody watching') : t('{count} watching', { count });
}

/** The label of a button that has to wait. */
export function waitWords(s) {
  return t('Wait {time}', { time: s < 120 ? t('{s} s', { s }) : duration(s) });
}

/** When something began, `since_s` seconds ago: "since 14:05 (12 min)". */
export function since(since_s, now_unix_s) {
  return t('since {time} ({duration})', { time: clockTime(new Date((now_unix_s - since_s) * 1000)), duration: duration(since_s) });
}

/** When a guest link ends: "today 18:30", "21 November, 18:30". */
export function expires(expires_unix_s, now_unix_s) {
  if (expires_unix_s <= now_unix_s) return t('expired');
  const [end, now] = [expires_unix_s, now_unix_s].map((s) => new Date(s * 1000));
  if (end.toDateString() === now.toDateString()) return t('until today, {time}', { time: clockTime(end) });
  const year = end.getFullYear() === now.getFullYear() ? undefined : 'numeric';
  const day = end.toLocaleDateString(locale(), { day: 'numeric', month: 'long', year });
  return t('until {day}, {time}', { day, time: clockTime(end) });
}

function clockTime(date) {
  return date.toLocaleTimeString(locale(), { hour: '2-digit', minute: '2-digit' });
}

function say(state, tone, head, text, { again = '', mark = null, spokenHead = head, card = false, act = null, steps = [] } = {}) {
  const spoken = [`${spokenHead}.`, text, ...steps].filter(Boolean).join(' ');
  return { state, tone, head, text, again, spoken, mark, card, act, steps };
}

/** Privacy is on: nothing is wrong. The page can say more about it than the picture that the device sends. */
function switchedOff(owner) {
  const [text, act] = owner
    ? [t('You switched camera and microphone off.'), { what: 'switch-on', label: t('Switch on') }]
    : [t('The owner switched camera and microphone off. Only the owner can switch them on again.'), null];
  return say('private', 'warn', t('Switched off'), text, { card: true, act });
}

function gone(reason) {
  return `${sentence(told(reason) ?? t('It sends no more pictures'))} ${t('The picture comes back by itself.')}`;
}

function countdown(retry_ms, now_ms) {
  if (retry_ms === null || retry_ms === undefined) return '';
  const left = Math.ceil((retry_ms - now_ms) / 1000);
  return left > 0 ? t('Trying again in {left} s.', { left }) : t('Trying again.');
}
