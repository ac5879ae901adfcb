// Connects the parts of the page: door, session, pictures, messages and controls.

import { ask, sentence } from './api.js';
import { Awake } from './awake.js';
import { camerasOf, mainOf, ownOf, statusOf, watchersOf } from './cameras.js';
import { Corner } from './corner.js';
import { Door } from './door.js';
import { videoOf } from './figures.js';
import { Fullscreen } from './fullscreen.js';
import { keep } from './kept.js';
import { speak, speaksEnglish, t, told, wantedLanguages } from './language.js';
import { enlarge, keepLayout } from './layout.js';
import { Measure } from './measure.js';
import { Pausing } from './pausing.js';
import { receivesH264 } from './peer.js';
import { keepQuality } from './quality.js';
import { begun, loud, session } from './start.js';
import { canCopyPictures, copyPicture, save, still, stillName } from './still.js';
import { Tabs } from './tabs.js';
import { Tiles } from './tiles.js';
import { View } from './view.js';
import { describe, explained, together } from './words.js';

/** How often the status line and the session's deadlines are updated, ms. */
const TICK_MS = 250;
/** How often statistics are read and figures change, ms. */
const FIGURES_MS = 1000;
/** Files that are loaded on demand are loaded after this time in any case, ms: after an update of the device they are gone. */
const REST_MS = 3000;
const REST = ['./access.js', './forms.js', './inquiry.js', './why.js', './explain.js', './whep.js'];
/** The label of a camera without a name. */
const UNNAMED = 'Camera';

const languages = wantedLanguages(() => localStorage, navigator.languages);
// English needs no loading. For other languages, connecting goes on meanwhile.
if (!speaksEnglish(languages)) await speak(languages);

const view = new View();
const measure = new Measure();
const pausing = new Pausing();
/** When the page started trying to get a picture. */
let since_ms = performance.now();
/** The media that is shown, and the media of a newer viewer that is not shown yet (see peer.js). */
let present = null;
let coming = null;

const tiles = new Tiles({ enlarge: enlargeCamera, full: () => fullscreen.toggle(), moved: look, frame: shown, changed: draw, loud });
/** The element that plays the sound of the camera that is heard. */
const { picture: sounding } = tiles.first;
const fullscreen = new Fullscreen(view.app, () => main().video, draw);
const corner = new Corner(() => main().video, draw);
const awake = new Awake();
/** Whether the picture is wanted: not while the door is shown, and not after the page is left. */
let watching = begun;
const door = new Door({ watch: begin, leave, changed: draw });
/** The report of why it does not connect, once connecting takes long. */
let inquiry = null;
/** The settings panel, once it was opened. */
let access = null;
const tabs = new Tabs(new URL(document.baseURI).pathname, { watching: () => session.viewer !== null, giveWay, changed: draw });
let said = describe(known(tiles.first, performance.now()), performance.now());
/** Actions that a state offers (words.js). Each returns a sentence if it fails. */
const ACTS = { 'switch-on': switchOn, try: () => session.nudge(), here: watchHere };

view.controls({
  sound: () => setSound(!sounding.sound),
  loud: () => setSound(true),
  still: saveStill,
  corner: () => corner.toggle(),
  full: () => fullscreen.toggle(),
  whole: () => main().zoom.reset(),
  closeAll: async () => {
    const { says } = await setPrivacy(!isPrivate());
    if (says) view.toast(says);
  },
  play: () => tiles.list.forEach(({ picture }) => picture.play()),
  tile: (event) => tiles.key(event),
  panel: openPanel,
  quality: setQuality,
  explain: explainOnce,
  act: (what) => ACTS[what](),
  why(open) {
    inquiry.open = open;
    draw();
  },
});
tiles.first.video.addEventListener('volumechange', () => session.wish({ sound: sounding.sound }));

addEventListener('pagehide', end);
addEventListener('pageshow', ({ persisted }) => persisted && door.open());
addEventListener('online', () => session.nudge());
navigator.connection?.addEventListener?.('change', () => session.nudge());
document.addEventListener('visibilitychange', () => {
  look();
  if (document.hidden) return;
  door.look();
  session.nudge();
  for (const { picture } of tiles.list) if (picture.paused) picture.play();
});

/**
 * The facts that this page shows, for tests and for support; reading them changes nothing. Unknown numbers are `null`. `state` is one of: connecting, live, frozen, no-picture, camera-gone, blocked, no-h264, unsupported,
 * full, refused, ended, no-path, away, elsewhere, private; while the door is shown: pair, pair-ended, sign-in, unpaired,
 * link-ended.
 */
Object.defineProperty(window, 'peercam', { value: Object.freeze({ get facts() { return facts(); } }) });

session.tie({
  tracks(tracks) {
    coming = tracks;
    follow();
  },
  changed: follow,
  denied(reason) {
    end();
    door.denied(reason);
  },
});
door.open();
setInterval(tick, TICK_MS);
setInterval(readFigures, FIGURES_MS);
setTimeout(() => REST.forEach((file) => import(file).catch(() => {})), REST_MS); // the caller that needs the file reports the error

function begin() {
  if (watching) return;
  watching = true;
  since_ms = performance.now();
  session.start();
}

/** Stops watching. Resolves when the device knows. */
function end() {
  if (!watching) return null;
  watching = false;
  return session.stop();
}

/** Stops in favour of another tab. */
async function giveWay() {
  const left = end();
  session.trouble = { kind: 'elsewhere', message: null };
  draw();
  await left;
}

async function watchHere() {
  await tabs.take();
  if (watching) session.nudge();
  else begin();
}

/** Stops and clears all pictures: none may stay visible behind the door. */
function leave() {
  end();
  present = null;
  coming = null;
  for (const tile of tiles.list) tile.clear();
  measure.startOver();
}

/** Opens a panel; its module is loaded when it is first opened. */
async function openPanel(panel) {
  if (panel === 'access' && !access) {
    const { Access } = await import('./access.js');
    access ??= new Access({ awake, setPrivacy, signOut: (everywhere) => door.signOut(everywhere) });
  }
  if (panel === 'access') access.opened(door.me);
  else access?.closed();
  draw();
}

/**
 * Follows the session. The last pictures of the previous session stay until media of the new one can arrive: a still picture is
 * better than nothing. Measurements start again.
 */
function follow() {
  tiles.take(camerasOf(session.hello));
  tiles.enlarge(session.wishes.layout.enlarged);
  if (coming && (!everLive() || session.media === 'up')) {
    if (coming !== present) {
      measure.startOver();
      for (const tile of tiles.list) tile.startOver();
    }
    present = coming;
    coming = null;
  }
  for (const tile of present ? tiles.list : []) {
    const sound = tile === tiles.first ? present.sound : null;
    tile.picture.show([present.pictures.get(tile.name), sound].filter(Boolean));
  }
  look();
  draw();
}

/** The tile of the main camera, which is heard and measured. */
function main() {
  return tiles.of(mainOf(camerasOf(session.hello), session.wishes.layout)?.name) ?? tiles.first;
}

function everLive() {
  return tiles.list.some((tile) => tile.everLive);
}

/** Enlarges a camera (`null`: none), and stores the choice for the next visit. */
function enlargeCamera(name) {
  const before = main();
  const layout = enlarge(session.wishes.layout, name);
  session.wish({ layout });
  keepLayout(() => localStorage, layout);
  if (main() !== before) measure.startOver();
  tiles.enlarge(name);
  look();
  draw();
}

/** Determines which tiles are visible and how large, and pauses the others. */
function look() {
  const now_ms = performance.now();
  const paused = pausing.look(tiles.list.map((tile) => ({ name: tile.name, visible: tiles.shows(tile) })), now_ms);
  for (const tile of tiles.list) tile.look(tiles.shows(tile), paused.has(tile.name), now_ms);
  const boxes = new Map(tiles.list.filter(({ box }) => box).map(({ name, box }) => [name, box]));
  session.wish({ boxes, paused });
}

/** Whether all cameras and microphones are switched off. */
function isPrivate() {
  return freshStatus()?.privacy ?? door.me?.privacy ?? false;
}

/** Switches all of them off or on, or one `camera`. Returns { ok, says }: a sentence on failure or with a warning, else `null`. */
async function setPrivacy(on, camera) {
  const { ok, body, message } = await ask('POST', 'api/privacy', { on, camera });
  if (!ok) return { ok, says: told(message) };
  if (door.me && camera === undefined) door.me.privacy = on;
  return { ok, says: body?.warning ? sentence(told(body.warning)) : null };
}

/** Switches on all of them, or only the main camera if just that one is off. */
async function switchOn() {
  const { says } = await setPrivacy(false, isPrivate() ? undefined : main().name);
  return says;
}

/** Saves the picture that is shown now, and offers to copy it. */
async function saveStill() {
  const { video, label } = main();
  const picture = await still(video, 'image/jpeg');
  if (!picture) return;
  const name = stillName(label, new Date());
  save(picture, name);
  const press = async () => {
    const copied = await copyPicture(video);
    view.toast(copied ? t('The picture is on the clipboard.') : t('This browser cannot copy pictures.'));
  };
  view.toast(t('Saved as {name}.', { name }), canCopyPictures() ? { label: t('Copy instead'), press } : null);
}

/** Loads the explanations below the figures of the details. */
let explaining = null;
function explainOnce() {
  explaining ??= import('./explain.js').then(({ explain }) => explain());
  return explaining.catch(() => (explaining = null));
}

/** Stores the choice for the next visit, even if the browser refuses to play sound now. */
async function setSound(on) {
  measure.soundTurned();
  keep(() => localStorage, 'sound', on ? 'on' : null);
  await sounding.setSound(on);
}

function setQuality(quality) {
  session.wish({ quality });
  keepQuality(() => localStorage, quality);
  draw();
}

/** A frame of a tile is displayed, or about to be. */
function shown(tile, metadata, now_ms) {
  // Chromium shows a black frame when a connection ends that never brought a picture.
  if (session.media !== 'up' && session.media !== 'interrupted') return;
  if (!tile.everLive || said.state !== 'live') queueMicrotask(draw);
  tile.everLive = true;
  tile.decoded_ms = now_ms;
  if (tile === main()) measure.shown(metadata, now_ms, session);
}

async function readFigures() {
  const report = await session.stats();
  if (watching && said.state !== 'live') inquire(report);
  const now_ms = performance.now();
  measure.read(report, main().picture.track, sounding.sound, now_ms, session);
  for (const tile of report ? tiles.list : []) tile.counted(videoOf(report, tile.picture.track)?.framesDecoded ?? null, now_ms);
}

/** Collects facts for the report if connecting takes long. */
async function inquire(report) {
  if (!inquiry) {
    const loaded = await import('./inquiry.js').catch(() => null);
    if (!loaded) return; // If the device is not reachable, this file is not either: the next call tries again.
    inquiry ??= new loaded.Inquiry();
  }
  inquiry.look(report, session.attempt, around());
}

/** What the page itself knows about an attempt to connect, for snapshot.js. */
function around() {
  const now_ms = performance.now();
  const { hello, status, attempt } = session;
  return {
    at: new Date().toISOString(),
    generation: session.generation,
    attempt_ms: attempt ? now_ms - attempt.begun_ms : null,
    waited_s: (now_ms - since_ms) / 1000,
    browser: navigator.userAgent,
    host: location.hostname,
    page: location.origin,
    signaling: `${session.way ?? 'none'}, ${session.socket}`,
    answered: session.viewer !== null,
    told: session.told,
    h264: receivesH264(globalThis.RTCRtpReceiver?.getCapabilities?.('video')),
    media_port: hello?.media_port ?? null,
    tcp: hello?.tcp ?? null,
    servers: (hello?.ice_servers ?? []).flatMap((s) => s.urls),
    version: hello?.version ?? null,
    clock_off_s: status?.clock ? (status.clock.unix_ms - Date.now()) / 1000 : null,
  };
}

function tick() {
  if (!watching) return;
  look();
  const sent = tiles.list.filter((tile) => !tile.paused && !isUnsent(tile) && tile.picture.track !== null);
  session.tick(performance.now(), sent.map((tile) => tile.arrival));
  draw();
}

/** Whether the device sends no pictures of a tile's camera, because the network carries too little. */
function isUnsent({ name }) {
  const track = ownOf(session.status, session.viewer)?.cameras?.find(({ camera }) => camera === name);
  return track?.pictures === 'none';
}

/** What is known about a tile's camera and the connection to it. */
function known(tile, now_ms) {
  const came = tiles.list.map((each) => each.came_ms(now_ms)).filter((ms) => ms !== null);
  return {
    socket: session.socket,
    lost_ms: session.lost_ms,
    media: session.media,
    trouble: session.trouble,
    retry_ms: session.retry_ms,
    status: statusOf(session.status, camerasOf(session.hello), tile.name),
    everLive: tile.everLive,
    unsent: isUnsent(tile),
    since_ms,
    shown_ms: tile.came_ms(now_ms),
    newest_ms: Math.max(...came),
    blocked: tiles.list.some(({ picture }) => picture.blocked),
    offline: navigator.onLine === false,
    owner: door.me?.role === 'owner',
    elsewhere: tabs.elsewhere,
    firefox: /Firefox\//.test(navigator.userAgent),
  };
}

function facts() {
  const now_ms = performance.now();
  const clock = session.clock.best(now_ms);
  const { picture } = main();
  const { width, height } = picture.size;
  const { sound } = sounding;
  const measured = measure.figures;
  const { enlarged } = session.wishes.layout;
  return {
    state: outside() ? door.shown : said.state,
    /** The role of the person: owner, viewer or guest. */
    role: door.me?.role ?? null,
    /** Whether there is a report of why it does not connect. */
    why: inquiry?.offered ?? false,
    /** The whole status line as people read it. */
    text: [said.head, [said.text, said.again].filter(Boolean).join(' ')].filter(Boolean).join('. '),
    /** Delays in ms, see measure.js. */
    ...measure.delays(sound),
    /** The largest possible clock error in `delay_ms`. */
    clock_error_ms: clock?.error_ms ?? null,
    width: width || null,
    height: height || null,
    fps: picture.fps(now_ms) ?? measured?.decoded_fps ?? null,
    bitrate_bps: measured?.video_bps == null ? null : measured.video_bps + (measured.audio_bps ?? 0),
    /** Round trip of the media path, or if the browser does not report it, of the WebSocket. */
    rtt_ms: measured?.rtt_ms ?? clock?.rtt_ms ?? null,
    /** Frames shown since the page was opened. */
    frames: picture.frames,
    /** Frames decoded in this session. */
    decoded: measured?.decoded ?? null,
    dropped: measured?.dropped ?? null,
    lost_share: measured?.lost_share ?? null,
    sound,
    /** The zoom factor. */
    zoom: main().zoom.scale,
    /** The requested size: auto, full, half or quarter. */
    quality: session.wishes.quality,
    viewer: session.viewer,
    /** Sessions begun since the page was opened. */
    generation: session.generation,
    /** 'WebSocket', or 'requests' if the browser opens none. */
    way: session.way,
    socket: session.socket,
    media: session.media,
    /** The names of the enlarged camera, if there are several, and of the camera that the figures above are for. */
    enlarged: tiles.several ? (tiles.of(enlarged)?.name ?? null) : null,
    camera: main().name,
    cameras: tiles.list.map((tile) => ({
      name: tile.name,
      label: tile.label,
      state: tile.state,
      width: tile.picture.size.width || null,
      frames: tile.picture.frames,
      visible: tile.visible,
      paused: tile.paused,
    })),
  };
}

/** Whether the door is shown instead of the picture. */
function outside() {
  return door.shown !== null && door.shown !== 'watch';
}

function draw() {
  const now_ms = performance.now();
  const before = said.state;
  const { list, several } = tiles;
  const hers = main();
  const words = new Map(list.map((tile) => [tile, describe(known(tile, now_ms), now_ms)]));
  const all = list.map((tile) => ({ label: tile.label, said: words.get(tile) }));
  const whole = together(all, words.get(hers));
  // A message about one camera alone is shown in its tile, and covers no other.
  const enlarged = several && session.wishes.layout.enlarged === hers.name;
  said = enlarged && whole !== words.get(hers) ? { ...words.get(hers), card: false } : whole;
  if (said.state === 'full' && before !== 'full') tabs.look();
  if (said.state !== 'connecting') since_ms = now_ms;
  // A camera that starts slowly is not a failing connection.
  const state = statusOf(session.status, camerasOf(session.hello), hers.name)?.video?.state;
  inquiry?.decide(said.state, now_ms - since_ms, session.socket === 'open' && (session.media !== 'up' || state === 'live'));
  const first = inquiry?.first ?? null;
  said = explained(said, first);
  if (outside()) view.closePanels();
  awake.look(said.state === 'live');
  tiles.draw((tile) => ({ said: words.get(tile), watchers: watchersOf(freshStatus(), tile.name) }));
  const camera = hers.camera ?? {};
  view.draw({
    outside: outside(),
    said,
    told: list.map((tile) => ({ name: tile.name, label: tile.label, said: explained(words.get(tile), first) })),
    facts: facts(),
    own: ownOf(freshStatus(), session.viewer),
    measured: measure.figures,
    measurable: measure.measurable,
    status: statusOf(freshStatus(), camerasOf(session.hello), hers.name),
    hello: session.hello,
    clockRtt_ms: session.clock.best(now_ms)?.rtt_ms ?? null,
    why: { offered: inquiry?.offered ?? false, open: inquiry?.open ?? false },
    hasPicture: everLive(),
    blocked: list.some(({ picture }) => picture.blocked),
    several,
    camera: hers.label,
    enlarged: enlarged ? hers.label : null,
    named: enlarged || (!several && hers.label !== UNNAMED) ? hers.label || null : null,
    qualities: camera.qualities,
    sound: { on: sounding.sound, refused: sounding.soundRefused, possible: camera.has_audio ?? true },
    corner: { possible: corner.possible, active: corner.active },
    zoom: hers.zoom.scale,
    full: { possible: fullscreen.possible, active: fullscreen.active },
    privacy: { shown: door.me?.role === 'owner', on: isPrivate(), several },
  });
  if (view.panel === 'access') access?.draw(freshStatus(), session.viewer);
}

/** The device's status, if it is current: figures of a lost connection are not shown. */
function freshStatus() {
  return session.fresh ? session.status : null;
}
