// Puts the parts together: door, session, picture, what they say, and the controls.

import { ask, sentence } from './api.js';
import { Recent, age_ms, on_screen_ms, plausible } from './delay.js';
import { Door } from './door.js';
import { figures } from './figures.js';
import { Fullscreen } from './fullscreen.js';
import { keep } from './kept.js';
import { receivesH264 } from './peer.js';
import { Picture } from './picture.js';
import { keepQuality } from './quality.js';
import { begun, loud, session } from './start.js';
import { Tabs } from './tabs.js';
import { View } from './view.js';
import { describe, explained } from './words.js';

/** The line with its seconds, and the session's deadlines, are looked at this often. */
const TICK_MS = 250;
/** Statistics are read, and figures change, this often. */
const FIGURES_MS = 1000;
/** The delay told is the median of this many pictures, two seconds at 30 a second. */
const DELAYS = 60;
/** What is loaded by whoever asks for it comes after this time in any case: once the device is updated, these files are gone. */
const REST_MS = 3000;
const REST = ['./access.js', './forms.js', './inquiry.js', './why.js', './whep.js'];

const view = new View();
const delays = new Recent(DELAYS);
/** Figures of the present session, see figures.js. */
let measured = null;
/** How long the browser held pictures back when it played no sound, ms. */
let heldMuted_ms = 0;
/** Since when nothing new was decoded. */
let decoded_ms = null;
/** Whether the browser tells the RTP timestamp of what it shows: `null` until it showed something. */
let measurable = null;
/** Since when the page tries to get a picture. */
let since_ms = performance.now();
let everLive = false;
/** A stream that is not shown yet. */
let coming = null;

const picture = new Picture(view.video, { frame: shown, changed: draw, loud });
const fullscreen = new Fullscreen(view.app, view.video, draw);
/** Whether the picture is wanted: not while the door is shown, nor when the page is left. */
let watching = begun;
const door = new Door({ watch: begin, leave, changed: draw });
/** The report of why it does not connect, once that takes long. */
let inquiry = null;
/** The panel of who watches, once it was opened. */
let access = null;
const tabs = new Tabs(new URL(document.baseURI).pathname, { watching: () => session.viewer !== null, giveWay, changed: draw });
let said = describe(known(), performance.now());
/** What a state offers (words.js). Each answers a sentence where it fails. */
const ACTS = { 'switch-on': switchOn, try: () => session.nudge(), here: watchHere };

view.controls({
  sound: () => setSound(!picture.sound),
  loud: () => setSound(true),
  full: () => fullscreen.toggle(),
  play: () => picture.play(),
  panel: openPanel,
  quality: setQuality,
  act: (what) => ACTS[what](),
  why(open) {
    inquiry.open = open;
    draw();
  },
});
view.video.addEventListener('volumechange', () => session.setSound(picture.sound));

addEventListener('pagehide', end);
addEventListener('pageshow', ({ persisted }) => persisted && door.open());
addEventListener('online', () => session.nudge());
navigator.connection?.addEventListener?.('change', () => session.nudge());
document.addEventListener('visibilitychange', () => {
  if (document.hidden) return;
  door.look();
  session.nudge();
  if (view.video.paused) picture.play();
});

/**
 * The facts that this page shows, for tests and for support; reading changes nothing. Numbers are `null` while
 * they are not known. `state` is one of: connecting, live, frozen, camera-gone, blocked, no-h264, unsupported,
 * full, refused, ended, no-path, away, elsewhere, private; while the door is shown: pair, pair-ended, sign-in, unpaired,
 * link-ended.
 */
Object.defineProperty(window, 'peercam', { value: Object.freeze({ get facts() { return facts(); } }) });

session.tie({
  stream(stream) {
    coming = stream;
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
setTimeout(() => REST.forEach((file) => import(file).catch(() => {})), REST_MS); // whoever asks for it sees why not

function begin() {
  if (watching) return;
  watching = true;
  since_ms = performance.now();
  session.start();
}

/** Resolves when the device knows. */
function end() {
  if (!watching) return null;
  watching = false;
  return session.stop();
}

/** Another tab goes on in place of this one. */
async function giveWay() {
  const told = end();
  session.trouble = { kind: 'elsewhere', message: null };
  draw();
  await told;
}

async function watchHere() {
  await tabs.take();
  if (watching) session.nudge();
  else begin();
}

/** Nothing of the picture stays behind the door. */
function leave() {
  end();
  everLive = false;
  coming = null;
  picture.show(null);
  startOver();
}

/** The panel is loaded by who opens it. */
async function openPanel(panel) {
  if (panel === 'access' && !access) {
    const { Access } = await import('./access.js');
    access ??= new Access({ signOut: (everywhere) => door.signOut(everywhere) });
  }
  if (panel === 'access') access.opened(door.me);
  else access?.closed();
  draw();
}

/** The last picture of an older session stays until the new one's media can come: a still is better than nothing. */
function follow() {
  if (coming && (!everLive || session.media === 'up')) {
    startOver();
    picture.show(coming);
    coming = null;
  }
  draw();
}

/** A new stream: what was measured belongs to the one before. */
function startOver() {
  delays.clear();
  measured = null;
  decoded_ms = null;
  picture.restarted();
}

async function switchOn() {
  const { ok, body, message } = await ask('POST', 'api/privacy', { on: false });
  if (!ok) return message;
  return body?.warning ? sentence(body.warning) : null;
}

/** What a person chose holds for the next visit; that a browser refuses it does not change the choice. */
async function setSound(on) {
  delays.clear();
  keep(() => localStorage, 'sound', on ? 'on' : null);
  await picture.setSound(on);
}

function setQuality(quality) {
  session.quality = quality;
  keepQuality(() => localStorage, quality);
  draw();
}

/** A frame is on the screen, or about to be: takes its delay. */
function shown(metadata, now_ms) {
  // Chromium shows a black frame where a connection ends that never brought a picture.
  if (session.media !== 'up' && session.media !== 'interrupted') return;
  if (!everLive || said.state !== 'live') queueMicrotask(draw);
  everLive = true;
  decoded_ms = now_ms;
  measurable = metadata.rtpTimestamp !== undefined;
  const clock = session.clock.best(now_ms);
  if (!measurable || !clock || !session.hello) return;
  const mono_us = (on_screen_ms(now_ms, metadata.expectedDisplayTime) + clock.offset_ms) * 1000;
  const delay = age_ms(session.hello.video_clock, metadata.rtpTimestamp, mono_us);
  if (plausible(delay)) delays.add(delay);
}

async function readFigures() {
  const report = await session.stats();
  if (watching && said.state !== 'live') inquire(report);
  if (!report) {
    measured = null;
    return;
  }
  const now_ms = performance.now();
  const before = measured;
  measured = figures(report, before);
  if (measured.decoded !== null && measured.decoded > (before?.decoded ?? 0)) {
    decoded_ms = now_ms;
    // A hidden page is shown nothing, and an old browser tells nothing: then decoding has to do.
    if (document.hidden || !picture.tells) picture.decoded(now_ms);
  }
  if (!picture.sound && measured.held_ms !== null) heldMuted_ms = measured.held_ms;
  if (measurable === false) delayFromReport(now_ms);
}

/** Connecting that takes longer than a second may need to be explained. */
async function inquire(report) {
  if (!inquiry) {
    const loaded = await import('./inquiry.js').catch(() => null);
    if (!loaded) return; // A device that is away doesn't send this file either: the next look tries again.
    inquiry ??= new loaded.Inquiry();
  }
  inquiry.look(report, session.attempt, around());
}

/** What the page itself knows of an attempt to connect, for snapshot.js. */
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

/**
 * The other way, for browsers that do not tell the RTP timestamp of a shown frame: the sender's wall clock at the
 * capture of what plays now, which the browser derives from RTCP sender reports.
 */
function delayFromReport(now_ms) {
  const clock = session.clock.best(now_ms);
  const daemon = session.status?.clock;
  if (measured.playout_unix_ms === null || !clock || !daemon) return;
  const unix_ms = now_ms + clock.offset_ms + daemon.unix_ms - daemon.mono_us / 1000;
  const delay = unix_ms - measured.playout_unix_ms;
  if (plausible(delay)) delays.add(delay);
}

function tick() {
  if (!watching) return;
  const now_ms = performance.now();
  // A hidden page is shown nothing, and some browsers do not tell.
  const seen_ms = document.hidden || !picture.tells ? decoded_ms : picture.shown_ms;
  session.tick(now_ms, decoded_ms, seen_ms);
  draw();
}

function known() {
  return {
    socket: session.socket,
    lost_ms: session.lost_ms,
    media: session.media,
    trouble: session.trouble,
    retry_ms: session.retry_ms,
    status: session.status,
    everLive,
    since_ms,
    shown_ms: picture.shown_ms,
    blocked: picture.blocked,
    offline: navigator.onLine === false,
    owner: door.me?.role === 'owner',
    elsewhere: tabs.elsewhere,
    firefox: /Firefox\//.test(navigator.userAgent),
  };
}

function facts() {
  const now_ms = performance.now();
  const clock = session.clock.best(now_ms);
  const { width, height } = picture.size;
  const { sound } = picture;
  const held_ms = measured?.held_ms ?? null;
  return {
    state: outside() ? door.shown : said.state,
    /** As whom: owner, viewer or guest. */
    role: door.me?.role ?? null,
    /** Whether there is a report of why it does not connect. */
    why: inquiry?.offered ?? false,
    /** The whole line as it is read. */
    text: [said.head, [said.text, said.again].filter(Boolean).join(' ')].filter(Boolean).join('. '),
    /** Median from capture to shown, ms, and the slowest twentieth. */
    delay_ms: delays.quantile(0.5),
    delay_p95_ms: delays.quantile(0.95),
    /** Part of it by which the picture waits for the sound: what the browser holds it back more than muted. */
    sync_ms: sound && held_ms !== null ? Math.max(0, held_ms - heldMuted_ms) : null,
    /** What is left between the two, as the browser estimates it; positive: the sound is late. */
    sound_behind_ms: sound ? (measured?.sound_behind_ms ?? null) : null,
    /** Bound of the clock error in `delay_ms`. */
    clock_error_ms: clock?.error_ms ?? null,
    width: width || null,
    height: height || null,
    fps: picture.fps(now_ms) ?? measured?.decoded_fps ?? null,
    bitrate_bps: measured?.video_bps == null ? null : measured.video_bps + (measured.audio_bps ?? 0),
    /** Of the media path; where the browser does not tell, of the WebSocket. */
    rtt_ms: measured?.rtt_ms ?? clock?.rtt_ms ?? null,
    /** Shown since the page was opened. */
    frames: picture.frames,
    /** Decoded in this session. */
    decoded: measured?.decoded ?? null,
    dropped: measured?.dropped ?? null,
    lost_share: measured?.lost_share ?? null,
    sound,
    /** Which size is asked for: auto, full, half or quarter. */
    quality: session.quality,
    viewer: session.viewer,
    /** Sessions begun since the page was opened. */
    generation: session.generation,
    /** 'WebSocket', or 'requests' where the browser opens none. */
    way: session.way,
    socket: session.socket,
    media: session.media,
  };
}

/** Whether the door is shown in place of the picture. */
function outside() {
  return door.shown !== null && door.shown !== 'watch';
}

function draw() {
  const now_ms = performance.now();
  const before = said.state;
  said = describe(known(), now_ms);
  if (said.state === 'full' && before !== 'full') tabs.look();
  if (said.state !== 'connecting') since_ms = now_ms;
  // A camera that takes its time is not a connection that fails.
  inquiry?.decide(said.state, now_ms - since_ms, session.socket === 'open' && (session.media !== 'up' || session.status?.video?.state === 'live'));
  said = explained(said, inquiry?.first ?? null);
  if (outside()) view.closePanels();
  view.draw({
    outside: outside(),
    said,
    facts: facts(),
    measured,
    measurable,
    status: freshStatus(),
    hello: session.hello,
    clockRtt_ms: session.clock.best(now_ms)?.rtt_ms ?? null,
    why: { offered: inquiry?.offered ?? false, open: inquiry?.open ?? false },
    hasPicture: everLive,
    blocked: picture.blocked,
    sound: { on: picture.sound, refused: picture.soundRefused, possible: session.hello?.has_audio ?? true },
    full: { possible: fullscreen.possible, active: fullscreen.active },
  });
  if (view.panel === 'access') access?.draw(freshStatus());
}

/** What the device says of itself, as long as that is of now: figures of a lost connection are not shown. */
function freshStatus() {
  return session.fresh ? session.status : null;
}
