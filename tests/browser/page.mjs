// The page in a real browser, with a running daemon:
//
//   node page.mjs --url URL --browser chromium|firefox --scenario NAME [--pid DAEMON] [--out DIR]
//
// As the owner, whose password is in PEERCAM_PASSWORD and one of whose tokens in PEERCAM_TOKEN.
// Prints one JSON object: { scenario, browser, failures: [sentence], ... what was seen }. Exits non-zero only when
// it could not look at the page at all. Scenarios:
//
//   axe          accessibility, light and dark, phone and desktop, with and without the details
//   keyboard     every control by keys, focus visible and in order
//   states       each state that the page can show, and its recovery (some need --pid to stop the daemon)
//   stopped      the daemon is stopped, as systemd does it (needs --pid, and must be the last)
//   lost         only the control connection is lost for seconds, and then the device (needs --pid)
//   sound        a browser that refuses sound without a click, and the click
//   full         guests at a daemon that allows one viewer
//   quality      the size of the picture, as a person chooses it
//   pictures     saving, copying, picture-in-picture, zooming; the screen stays on; keyboard shortcuts
//   settings     the panel's parts, the certificate, links for phones, the explained figures
//   sizes        large letters, 400 % zoom, small phones: nothing is cut off, nothing scrolls in two directions
//   app          opened from its manifest
//   problems     the pages for missing files and refused requests
//   languages    German and French: everything is translated, and nothing is cut off
//   cameras      three cameras side by side, and each of them alone
//   screenshots  saves pictures of everything in --out
import { mkdir } from 'node:fs/promises';
import { app, languages, pictures, problems, settings, sizes } from './people.mjs';
import { cameras } from './cameras.mjs';
import { PATIENCE_MS, SCHEMES, SIZES, args, audit, check, errors, facts, failures, look, open, pause, shown, until } from './kit.mjs';
import { NAMES, launch } from './launch.mjs';
import { noSocket } from './no-socket.mjs';
import { full, lost, stopped } from './recovery.mjs';

/** Runs in the page: from now on the daemon says that the board is too hot for the whole picture. */
function strained() {
  const reduced = { width: 640, height: 360, fps: 15, why: 'the board is too hot' };
  window.held.alter = (m) => {
    if (m.type !== 'status') return;
    m.video.reduced = reduced;
    m.board = { temperature_c: 84, pressure: 'heat' };
  };
}

/** Runs in the page before its own scripts: a browser without H.264. */
function blind() {
  RTCRtpReceiver.getCapabilities = () => ({ codecs: [{ mimeType: 'video/VP8', clockRate: 90_000 }], headerExtensions: [] });
}

// ---- scenarios ----

async function accessibility(browser) {
  let page = await open(browser);
  await until(page, 'live');
  const seen = [];
  const inspect = async (where) => {
    const violations = await audit(page, where, 10);
    seen.push(...violations);
    for (const { id, impact, help } of violations) {
      if (impact === 'serious' || impact === 'critical') check(false, `${where}: ${help} (${id})`);
    }
  };
  for (const size of Object.keys(SIZES)) {
    for (const scheme of SCHEMES) {
      await look(page, size, scheme);
      await inspect(`${size} ${scheme}`);
      await page.click('#info');
      await pause(300);
      await inspect(`${size} ${scheme}, details`);
      await page.click('#info');
    }
  }
  await page.evaluate(() => {
    window.held.alter = (m) => m.type === 'status' && Object.assign(m.video, { state: 'gone', reason: 'the camera was unplugged' });
  });
  await until(page, 'camera-gone');
  for (const scheme of SCHEMES) {
    await look(page, 'desktop', scheme);
    await inspect(`camera gone, ${scheme}`);
  }
  await page.close();
  page = await open(browser, blind);
  await until(page, 'no-h264');
  for (const size of ['desktop', 'phone']) {
    for (const scheme of SCHEMES) {
      await look(page, size, scheme);
      await inspect(`no H.264, ${size} ${scheme}`);
    }
  }
  return { violations: seen };
}

async function keyboard(browser) {
  const page = await open(browser);
  await until(page, 'live');
  const pressed = () => page.$eval('#sound', (b) => b.getAttribute('aria-pressed'));
  const expanded = () => page.$eval('#info', (b) => b.getAttribute('aria-expanded'));
  const full = () => page.evaluate(() => Boolean(document.fullscreenElement));
  const later = async (read, value, sentence) => {
    for (let i = 0; i < 40 && (await read()) !== value; i++) await pause(50);
    check((await read()) === value, sentence);
  };

  const word = () => page.$eval('#sound', (b) => `${b.innerText.trim()}, ${b.title}`);
  check((await pressed()) === 'false', 'sound starts off');
  await later(word, 'Sound is off, Turn the sound on (m)', 'the button says what is, and what it does');
  await page.keyboard.press('m');
  await later(pressed, 'true', 'm turns the sound on');
  await later(word, 'Sound is on, Turn the sound off (m)', 'also then');
  check((await facts(page)).sound === true, 'the facts say that the sound is on');
  check(!(await page.$eval('#video', (v) => v.muted)), 'the element is no longer muted');
  await page.keyboard.press('m');
  await later(pressed, 'false', 'm turns it off again');

  await page.keyboard.press('i');
  await later(expanded, 'true', 'i opens the details');
  check(await shown(page, 'details'), 'the details are visible');
  await page.keyboard.press('Escape');
  await later(expanded, 'false', 'Escape closes the details');
  check(!(await shown(page, 'details')), 'the details are gone');

  await page.keyboard.press('f');
  await later(full, true, 'f fills the screen');
  await page.keyboard.press('f');
  await later(full, false, 'f leaves full screen');

  await page.keyboard.down('Control');
  await page.keyboard.press('m');
  await page.keyboard.up('Control');
  check((await pressed()) === 'false', 'Control and m is not ours');

  const order = [];
  const controls = await page.$$eval('.buttons button:not([hidden]):not(:disabled)', (all) => all.map((b) => b.id));
  await page.reload({ waitUntil: 'domcontentloaded' }); // from the start
  await until(page, 'live');
  for (let i = 0; i < controls.length; i++) {
    await page.keyboard.press('Tab');
    order.push(
      await page.evaluate(() => {
        const style = getComputedStyle(document.activeElement);
        return { id: document.activeElement.id, outline: style.outlineStyle !== 'none' && parseFloat(style.outlineWidth) >= 2 };
      }),
    );
  }
  const all = 'sound,still,corner,full,info,close-all,settings';
  check(controls.join() === all, `all controls are there: ${controls}`);
  check(order.map((o) => o.id).join() === all, `focus goes through the controls in order, not ${JSON.stringify(order)}`);
  check(order.every((o) => o.outline), 'focus is visible on every control');
  const focused = () => page.evaluate(() => document.activeElement.id);
  await page.focus('#info');
  await page.keyboard.press('Enter');
  await later(expanded, 'true', 'Enter presses the focused button');
  await later(focused, 'details', 'the details take the focus');
  await page.keyboard.press('Escape');
  await later(focused, 'info', 'and give it back');
  await page.keyboard.press(' ');
  await later(expanded, 'true', 'space presses it, too');
  await page.keyboard.press('i');
  await later(expanded, 'false', 'i closes them');
  // A moment later: short states are not announced.
  await later(() => page.$eval('#spoken[role="status"]', (e) => e.textContent.split('.')[0]), 'Live', 'the state is announced to screen readers');
  const spoken = await page.$eval('#spoken', (e) => e.textContent);
  return { order, spoken };
}

async function states(browser) {
  const seen = {};
  const page = await open(browser);
  seen.live = await until(page, 'live');
  check(seen.live.title === '● live — peercam', `the title says so, not ${seen.live.title}`);
  check(seen.live.text.includes('Test picture') && seen.live.text.includes('test tone'), 'test picture and tone are said plainly');

  // Figures need a second or two.
  await page.waitForFunction(() => window.peercam.facts.bitrate_bps > 0 && window.peercam.facts.delay_ms !== null, { timeout: PATIENCE_MS })
    .catch(() => check(false, 'bitrate and delay are measured'));
  seen.figures = await facts(page);
  check(seen.figures.width > 0 && seen.figures.fps > 0 && seen.figures.rtt_ms !== null, 'size, rate and round trip are shown');
  check(seen.figures.delay_ms > -5 && seen.figures.delay_ms < 5000, `a delay that can be: ${seen.figures.delay_ms} ms`);

  // Only the socket is lost: the picture stays, the same viewer is resumed.
  const frames = seen.figures.frames;
  await page.evaluate(() => window.held.sockets.at(-1).close());
  await page.waitForFunction(() => window.held.sockets.length > 1 && window.peercam.facts.socket === 'open', { timeout: PATIENCE_MS })
    .catch(() => check(false, 'a lost socket is reopened'));
  await pause(500);
  seen.resumed = await facts(page);
  check(seen.resumed.viewer === seen.live.viewer && seen.resumed.generation === 1, 'the viewer survives its socket');
  check(seen.resumed.state === 'live' && seen.resumed.frames > frames, 'and so does the picture');

  // The daemon ends the viewer: the page says so and reconnects by itself.
  const ended = await page.evaluate((viewer) => fetch(`whep/${viewer}`, { method: 'DELETE' }).then((r) => r.status), seen.live.viewer);
  check(ended < 300, `DELETE of the viewer is answered ${ended}`);
  await page.waitForFunction((v) => ![null, v].includes(window.peercam.facts.viewer), { timeout: PATIENCE_MS }, seen.live.viewer)
    .catch(() => check(false, 'a viewer that was ended joins again'));
  seen.rejoined = await until(page, 'live', 'is live again after its viewer was ended');

  // After many sessions there is one connection.
  for (let i = 0; i < 5; i++) {
    const { viewer } = await facts(page);
    await page.evaluate((v) => fetch(`whep/${v}`, { method: 'DELETE' }), viewer);
    await page.waitForFunction((v) => ![null, v].includes(window.peercam.facts.viewer), { timeout: PATIENCE_MS }, viewer)
      .catch(() => check(false, `session ${i} starts again`));
  }
  await until(page, 'live', 'is live after many sessions');
  seen.connections = await page.evaluate(() => window.held.connections.map((c) => c.signalingState));
  check(seen.connections.filter((s) => s !== 'closed').length === 1, `one connection is left, not ${seen.connections}`);

  // A test picture can't be unplugged, so the daemon's messages are faked.
  await page.evaluate(() => {
    window.held.alter = (m) => m.type === 'status' && Object.assign(m.video, { state: 'gone', reason: 'the camera was unplugged' });
  });
  seen.cameraGone = await until(page, 'camera-gone');
  check(seen.cameraGone?.text.includes('The camera was unplugged'), 'the reason of the daemon is shown');
  await page.evaluate(() => (window.held.alter = null));
  await until(page, 'live', 'is live again when the camera is back');

  await page.evaluate(strained);
  await page.waitForFunction(() => document.getElementById('text').textContent.includes('Reduced to 640×360, 15 fps'), {
    timeout: PATIENCE_MS,
  });
  seen.reduced = await until(page, 'live', 'a reduced picture is live');
  await page.evaluate(() => (window.held.alter = null));

  if (args.pid) {
    process.kill(Number(args.pid), 'SIGSTOP');
    try {
      seen.frozen = await until(page, 'frozen');
      check(/^Frozen for \d+ s/.test(seen.frozen?.text), 'the time that it is frozen is shown');
      seen.mark = await page.$eval('#mark', (e) => !e.hidden && e.textContent);
      check(/^Frozen for \d+ s$/.test(seen.mark), 'the picture is marked');
      seen.away = await until(page, 'away', 'says that the device is not reachable when it stops answering');
      seen.notice = await page.$eval('#notice', (e) => e.checkVisibility() && e.innerText);
      check(/Device unreachable\s+The device has stopped answering\./.test(seen.notice), `in the middle of the picture: ${seen.notice}`);
      check(!(await shown(page, 'mark')) && !(await shown(page, 'text')), 'and nowhere else');
      check((await page.$eval('#notice-act', (b) => b.innerText)) === 'Try now', 'with a way to hurry');
    } finally {
      process.kill(Number(args.pid), 'SIGCONT');
    }
    seen.back = await until(page, 'live', 'is live again when the server is back');
  }

  // Leaving: the page notifies the daemon, without a timeout.
  const headers = { authorization: `Bearer ${process.env.PEERCAM_TOKEN}` };
  const viewers = () => fetch(new URL('api/status', args.url), { headers }).then((r) => r.json()).then((s) => s.viewers.count);
  const count = await viewers();
  await page.goto('about:blank');
  let left = count;
  for (let i = 0; i < 40 && left >= count; i++) {
    await pause(50);
    left = await viewers();
  }
  check(left === count - 1, `leaving the page ends its viewer: ${count} before, ${left} after`);
  await page.goBack();
  seen.returned = await until(page, 'live', 'is live again after going back to it');
  await page.close();

  const without264 = await open(browser, blind);
  seen.noH264 = await until(without264, 'no-h264', 'sees by itself that the browser has no H.264');
  check(!(await shown(without264, 'notice-steps')), 'what to do in Firefox is not said to others');
  await without264.close();

  const firefox = await open(browser, blind, () => {
    const userAgent = 'Mozilla/5.0 (X11; Linux x86_64; rv:128.0) Gecko/20100101 Firefox/128.0';
    Object.defineProperty(navigator, 'userAgent', { get: () => userAgent });
  });
  await until(firefox, 'no-h264');
  seen.steps = await firefox.$$eval('#notice-steps li', (all) => all.map((e) => e.checkVisibility() && e.innerText));
  check(seen.steps.length === 3 && /Always Activate/.test(seen.steps[1]), `Firefox shows instructions: ${JSON.stringify(seen.steps)}`);
  await firefox.close();

  const refused = await open(browser, () => {
    const add = RTCPeerConnection.prototype.addTransceiver;
    RTCPeerConnection.prototype.addTransceiver = function (kind, init) {
      const transceiver = add.call(this, kind, init);
      const codecs = RTCRtpReceiver.getCapabilities('video').codecs.filter((c) => /vp8/i.test(c.mimeType));
      if (kind === 'video') transceiver.setCodecPreferences(codecs);
      return transceiver;
    };
  });
  seen.refused = await until(refused, 'no-h264', 'shows the refusal of an offer without H.264');
  check(seen.refused?.generation === 1, 'and does not insist');
  await refused.close();

  const without = await open(browser, () => delete window.RTCPeerConnection);
  seen.unsupported = await until(without, 'unsupported', 'says that there is no WebRTC');
  await without.close();
  return { seen };
}

async function sound(browser) {
  // A click by a script is not a person's: the browser may refuse sound then, but the picture must not be lost.
  const page = await open(browser, () => {
    addEventListener('DOMContentLoaded', () => {
      if (sessionStorage.pressed) return; // the page is loaded a second time below
      const timer = setInterval(() => {
        if (window.peercam?.facts.state !== 'live') return;
        clearInterval(timer);
        sessionStorage.pressed = 'yes';
        document.getElementById('sound').click();
        setTimeout(() => {
          const { sound, state, frames } = window.peercam.facts;
          const refused = !document.getElementById('refused').hidden;
          console.log(`after the script: ${JSON.stringify({ sound, state, frames, refused })}`);
        }, 1500);
      }, 50);
    });
  });
  // It reports through the console, because what a driver evaluates in a page counts as a person's action.
  const script = await new Promise((done, fail) => {
    page.on('console', (m) => {
      const said = /^after the script: (.*)/.exec(m.text());
      if (said) done(JSON.parse(said[1]));
    });
    setTimeout(() => fail(new Error('the script did not press the button')), PATIENCE_MS).unref();
  });
  check(script.state === 'live', 'the picture goes on whatever the browser thinks of the sound');
  check(script.sound !== script.refused, 'sound that was refused is said to be');
  if (!script.sound) await page.click('#sound');
  await page.waitForFunction(() => window.peercam.facts.sound, { timeout: PATIENCE_MS }).catch(() => check(false, 'a click gives sound'));
  await pause(3000);
  const after = await facts(page);
  check(after.sound && after.state === 'live', 'and it stays');
  check(!(await shown(page, 'refused')), 'the refusal is no longer shown');
  const energy = await page.evaluate(async () => {
    for (const s of (await window.held.connections.at(-1).getStats()).values()) {
      if (s.type === 'inbound-rtp' && s.kind === 'audio') return s.totalAudioEnergy ?? null;
    }
    return null;
  });
  check(energy === null || energy > 0, 'sound is really heard');

  // The next visit starts as this one ended, if the browser allows it.
  await page.reload({ waitUntil: 'domcontentloaded' });
  const again = await until(page, 'live');
  check(again?.sound || (await shown(page, 'refused')), 'the browser has kept that the sound was on');
  await page.close();

  // A browser that refuses sound until something is pressed.
  const strict = await open(browser, () => {
    const { play } = HTMLMediaElement.prototype;
    let pressed = false;
    addEventListener('click', () => (pressed = true), true);
    HTMLMediaElement.prototype.play = function () {
      return this.muted || pressed ? play.call(this) : Promise.reject(new DOMException('not yet', 'NotAllowedError'));
    };
  });
  const muted = await until(strict, 'live', 'refused sound costs no picture');
  check(muted?.sound === false && (await shown(strict, 'refused')), 'it is said how to get the sound');
  check((await strict.$eval('#refused', (b) => b.innerText.trim())) === 'Tap for sound', 'in words');
  const told = await strict.evaluate(() => [document.getElementById('sound').getAttribute('aria-pressed'), localStorage['peercam.sound']]);
  check(told.join() === 'false,on', `the button shows the state, the browser stores the choice: ${told}`);
  await strict.click('#refused');
  await strict.waitForFunction(() => window.peercam.facts.sound, { timeout: PATIENCE_MS }).catch(() => check(false, 'a tap gives sound'));
  check(!(await shown(strict, 'refused')), 'and the button is gone');
  check((await strict.evaluate(() => document.activeElement.id)) === 'sound', 'the focus is on the one that turns it off');
  await strict.click('#sound');
  await strict.reload({ waitUntil: 'domcontentloaded' });
  const off = await until(strict, 'live');
  check(off?.sound === false && !(await shown(strict, 'refused')), 'sound that was turned off stays off, and nothing asks');
  await strict.close();
  return { script, after, energy, again, muted, off };
}

async function quality(browser) {
  const page = await open(browser);
  const whole = await until(page, 'live');
  const width = (p, pixels, sentence) =>
    p.waitForFunction((w) => window.peercam.facts.width === w, { timeout: PATIENCE_MS }, pixels).catch(async () => {
      check(false, `${sentence}: it is ${(await facts(p)).width} pixels wide, not ${pixels}`);
    });
  await page.keyboard.press('i');
  const choices = await page.$$eval('#quality option', (all) => all.map((o) => [o.value, o.textContent]));
  check(choices.map(([value]) => value).join() === 'auto,full,half,quarter', `all sizes are offered: ${JSON.stringify(choices)}`);
  check(choices[2]?.[1] === `Half, ${whole.width / 2}×${whole.height / 2}`, `with their pixels: ${JSON.stringify(choices)}`);
  check((await page.$eval('#quality', (s) => s.value)) === 'auto', 'nobody has chosen yet');

  // With keys, like everything.
  await page.focus('#quality');
  await page.keyboard.press('h');
  if ((await page.$eval('#quality', (s) => s.value)) !== 'half') await page.select('#quality', 'half');
  await width(page, whole.width / 2, 'half is half as wide');
  await page.waitForFunction(() => document.getElementById('d-received').textContent === 'Half', { timeout: PATIENCE_MS })
    .catch(() => check(false, 'the details tell what is received'));
  const half = await facts(page);
  check(half.generation === 1 && half.viewer === whole.viewer, 'the same viewer goes on');
  check(half.state === 'live', `without a break: ${half.state}`);

  // A new socket, the same viewer: requested again.
  await page.evaluate(() => window.held.sockets.at(-1).close());
  await page.waitForFunction(() => window.held.sockets.length > 1 && window.peercam.facts.socket === 'open', { timeout: PATIENCE_MS })
    .catch(() => check(false, 'a lost socket is reopened'));
  await pause(1000);
  check((await facts(page)).width === whole.width / 2, 'and it is still half');

  // While the device has only one size there is no choice, and the wish stays.
  const update = (qualities) =>
    page.evaluate((q) => {
      const cameras = [{ name: 'camera', label: 'Camera', has_audio: true, qualities: q }];
      const data = JSON.stringify({ type: 'update', qualities: q, cameras });
      window.held.sockets.at(-1).dispatchEvent(new MessageEvent('message', { data }));
    }, qualities);
  await update(['full']);
  await page.waitForFunction(() => document.getElementById('quality-choice').hidden, { timeout: PATIENCE_MS })
    .catch(() => check(false, 'one size is no choice'));
  await update(['full', 'quarter']);
  await page.waitForFunction(() => document.getElementById('quality').selectedOptions[0]?.textContent === 'Half (not available now)', { timeout: PATIENCE_MS })
    .catch(() => check(false, 'a choice that is not available is marked'));

  // The next visit starts as this one ended, from its first picture.
  await page.reload({ waitUntil: 'domcontentloaded' });
  const again = await until(page, 'live', 'is live after a reload');
  check(again?.width === whole.width / 2 && again.quality === 'half', `the browser has kept the wish: ${again?.width}, ${again?.quality}`);
  await page.close();

  // A browser that stores nothing for pages.
  const forgetful = await open(browser, () =>
    Object.defineProperty(window, 'localStorage', {
      get() {
        throw new DOMException('The operation is insecure.', 'SecurityError');
      },
    }),
  );
  const fresh = await until(forgetful, 'live');
  check(fresh?.quality === 'auto' && fresh.width === whole.width, 'a browser that keeps nothing gets all of it');
  await forgetful.keyboard.press('i');
  await forgetful.select('#quality', 'half');
  await width(forgetful, whole.width / 2, 'and may still choose');
  await forgetful.close();

  const requests = await open(browser, noSocket);
  const asked = await until(requests, 'live', 'is live without a WebSocket');
  check(asked?.way === 'requests' && asked.width === whole.width / 2, `the wish goes with the offer by requests, too: ${asked?.way}, ${asked?.width}`);
  await requests.keyboard.press('i');
  await requests.select('#quality', 'full');
  await width(requests, whole.width, 'and later with a separate request');
  await requests.close();
  return { choices, half, again, fresh, asked };
}

async function screenshots(browser) {
  if (!args.out) throw new Error('--out DIR is missing');
  await mkdir(args.out, { recursive: true });
  const page = await open(browser);
  await until(page, 'live');
  await pause(2500);
  const files = [];
  const shoot = async (name) => {
    for (const size of Object.keys(SIZES)) {
      for (const scheme of SCHEMES) {
        await look(page, size, scheme);
        const path = `${args.out}/${name}-${size}-${scheme}.png`;
        await page.screenshot({ path });
        files.push(path);
      }
    }
  };
  await shoot('live');
  await page.click('#info');
  await pause(1200);
  await shoot('details');
  await page.click('#info');
  await page.click('#sound');
  await pause(4000);
  await shoot('sound');
  await page.evaluate(strained);
  await page.waitForFunction(() => document.getElementById('text').textContent.includes('Reduced'), { timeout: PATIENCE_MS });
  await shoot('reduced');
  return { files, facts: await facts(page) };
}

const SCENARIOS = {
  axe: accessibility,
  keyboard,
  states,
  lost,
  stopped,
  sound,
  full,
  quality,
  cameras,
  pictures,
  settings,
  sizes,
  app,
  problems,
  languages,
  screenshots,
};

const scenario = SCENARIOS[args.scenario];
if (!args.url || !NAMES.includes(args.browser) || !scenario) {
  console.error(`usage: page.mjs --url URL --browser ${NAMES.join('|')} --scenario ${Object.keys(SCENARIOS).join('|')}`);
  process.exit(2);
}
const browser = await launch(args.browser);
try {
  const seen = await scenario(browser);
  for (const error of errors) check(false, `the browser complains: ${error}`);
  console.log(JSON.stringify({ scenario: args.scenario, browser: args.browser, version: await browser.version(), failures, ...seen }));
} finally {
  await browser.close();
}
