// What people expect of a camera's page: scenarios of page.mjs. The daemon has one test picture.
import { X509Certificate } from 'node:crypto';
import { mkdtemp, readFile, readdir, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { SCHEMES, SIZES, args, check, eventually, facts, inspect, look, open, pause, shown, unfold, until } from './kit.mjs';

/** Checks the same on every kind of screen. */
async function inspectAll(page, where) {
  for (const size of Object.keys(SIZES)) {
    for (const scheme of SCHEMES) {
      await look(page, size, scheme);
      await inspect(page, `${where}, ${size} ${scheme}`);
    }
  }
  await look(page, 'desktop', 'light');
}

const text = (page, id) => page.$eval(`#${id}`, (e) => e.innerText.trim());
const focused = (page) => page.evaluate(() => document.activeElement.id);

// ---- the picture ----

/** Runs in the page before its own scripts: counts the screen locks, and records what is copied to the clipboard. */
function watchful() {
  const seen = (window.seen = { locks: 0, held: 0, copied: null });
  navigator.wakeLock.request = async () => {
    seen.locks += 1;
    seen.held += 1;
    const lock = { released: false, release: async () => ((lock.released = true), (seen.held -= 1)) };
    return lock;
  };
  navigator.clipboard.write = async ([item]) => {
    const blob = await item.getType('image/png');
    const { width } = await createImageBitmap(blob);
    seen.copied = `${blob.type} ${width}`;
  };
}

/** Pinching with two fingers, and a double tap. */
async function fingers(page, scale) {
  const session = await page.createCDPSession();
  const touch = (type, ...points) => session.send('Input.dispatchTouchEvent', { type, touchPoints: points.map(([x, y], id) => ({ x, y, id })) });
  await session.send('Emulation.setTouchEmulationEnabled', { enabled: true, maxTouchPoints: 2 });
  await touch('touchStart', [600, 350]);
  await touch('touchStart', [600, 350], [680, 350]);
  for (let n = 1; n <= 10; n++) await touch('touchMove', [600 - 10 * n, 350], [680 + 10 * n, 350]);
  await touch('touchEnd', [500, 350]);
  await touch('touchEnd');
  const pinched = await scale();
  check(pinched > 2.5 && pinched < 4.5, `two fingers that move apart zoom by as much: ${pinched}`);
  const tapTwice = async () => {
    for (let n = 0; n < 2; n++) {
      await touch('touchStart', [640, 360]);
      await touch('touchEnd');
    }
  };
  await tapTwice();
  await eventually(async () => (await scale()) === 1, 'two taps show all of it');
  await pause(500); // else it would count as a third tap
  await tapTwice();
  await eventually(async () => (await scale()) === 2.5, 'and two more zoom in');
  check(!(await page.evaluate(() => document.fullscreenElement)), 'and fill no screen');
  await page.keyboard.press('0');
  await session.send('Emulation.setTouchEmulationEnabled', { enabled: false });
}

export async function pictures(browser) {
  const page = await open(browser, watchful);
  const live = await until(page, 'live');

  // The screen stays on while the picture is live, if the person wants that.
  await eventually(() => page.evaluate(() => window.seen.held === 1), 'the screen is kept on');
  await page.keyboard.press('s');
  await unfold(page);
  await page.click('#awake');
  await eventually(() => page.evaluate(() => window.seen.held === 0), 'the switch lets it go off');
  await page.click('#awake');
  await eventually(() => page.evaluate(() => window.seen.held === 1), 'and keeps it on again');
  await page.keyboard.press('Escape');
  const locks = await page.evaluate(() => window.seen.locks);

  // Saving and copying.
  const folder = await mkdtemp(join(tmpdir(), 'still-'));
  const session = await browser.target().createCDPSession();
  await session.send('Browser.setDownloadBehavior', { behavior: 'allow', downloadPath: folder });
  await page.keyboard.press('c');
  const toast = await eventually(() => text(page, 'toast-text'), 'it says that the picture is saved');
  const file = await eventually(async () => (await readdir(folder)).find((name) => name.endsWith('.jpg')), 'the picture is a file');
  check(/^camera-\d{4}-\d\d-\d\d-\d{6}\.jpg$/.test(file ?? ''), `named by the camera and the time: ${file}`);
  check(toast === `Saved as ${file}.`, `and says so: ${toast}`);
  const jpeg = file && (await readFile(join(folder, file)));
  check(jpeg?.readUInt16BE(0) === 0xffd8 && jpeg.length > 2000, `it is a JPEG: ${jpeg?.length} bytes`);
  await inspectAll(page, 'saved');
  await page.keyboard.press('c');
  await page.click('#toast-act');
  await eventually(() => page.evaluate((w) => window.seen.copied === `image/png ${w}`, live.width), 'the picture is copied in all its size');
  await eventually(async () => (await text(page, 'toast-text')) === 'The picture is on the clipboard.', 'and that is said');
  await rm(folder, { recursive: true });

  // Zooming with the wheel at the pointer, moving, and back to the whole picture.
  const { x, y, width, height } = await page.$eval('.stage', (s) => s.getBoundingClientRect().toJSON());
  const scale = async () => (await facts(page)).zoom;
  await page.mouse.move(x + width * 0.6, y + height * 0.4);
  for (let n = 0; n < 6; n++) await page.mouse.wheel({ deltaY: -120 });
  await eventually(async () => (await scale()) > 2, 'the wheel zooms');
  check(await shown(page, 'zoom'), 'how far is shown');
  await inspectAll(page, 'zoomed');
  const at = () => page.$eval('#video', (v) => v.getBoundingClientRect().x);
  const before = await at();
  await page.mouse.move(x + width / 2, y + height / 2);
  await page.mouse.down();
  await page.mouse.move(x + width / 2 + 60, y + height / 2, { steps: 4 });
  await page.mouse.up();
  check(Math.abs((await at()) - before - 60) < 2, `the picture follows the pointer: ${(await at()) - before} px of 60`);
  check(!(await page.evaluate(() => document.fullscreenElement)), 'a drag presses nothing');
  await page.click('#zoom');
  check((await scale()) === 1 && !(await shown(page, 'zoom')), 'a press shows all of it again');
  await page.keyboard.press('+');
  check((await scale()) === 1.5, `a key zooms: ${await scale()}`);
  await page.keyboard.press('0');
  check((await scale()) === 1, 'and another one shows all of it');

  await fingers(page, scale);

  // A double click fills the screen.
  await page.mouse.click(x + width / 2, y + height / 2, { count: 2 });
  await eventually(() => page.evaluate(() => Boolean(document.fullscreenElement)), 'a double click fills the screen');
  await page.keyboard.press('f');
  await eventually(() => page.evaluate(() => !document.fullscreenElement), 'and f leaves it');

  // Picture-in-picture, if this browser supports it.
  const possible = await page.evaluate(() => document.pictureInPictureEnabled);
  check((await shown(page, 'corner')) === possible, 'the button is there where it is of use');
  if (possible) {
    await page.click('#corner');
    await eventually(() => page.evaluate(() => document.pictureInPictureElement?.id === 'video'), 'the picture goes into a corner');
    check((await page.$eval('#corner', (b) => b.getAttribute('aria-pressed'))) === 'true', 'the button is pressed');
    await page.keyboard.press('p');
    await eventually(() => page.evaluate(() => !document.pictureInPictureElement), 'and comes back');
  }

  // The list of keyboard shortcuts.
  await page.focus('#sound');
  await page.keyboard.type('?');
  check(await page.$eval('#keys', (d) => d.open), '? shows the keyboard shortcuts');
  await inspectAll(page, 'keys');
  await page.keyboard.press('m');
  check((await facts(page)).sound === false, 'keys mean nothing behind it');
  await page.keyboard.press('Escape');
  check(!(await page.$eval('#keys', (d) => d.open)) && (await focused(page)) === 'sound', 'Escape closes it, and the focus is where it was');
  const name = await page.evaluate(() => navigator.mediaSession.metadata?.title);
  check(name === 'peercam', `the system gets the name of what plays: ${name}`);
  await page.close();
  return { live, locks, file, possible };
}

// ---- settings and details ----

export async function settings(browser) {
  const page = await open(browser);
  await until(page, 'live');
  check((await page.$eval('#close-all', (b) => b.title)) === 'Switch camera and microphone off', 'privacy is one press away');
  await page.click('#close-all');
  await until(page, 'private', 'which closes all');
  check((await page.$eval('#close-all', (b) => b.title)) === 'Switch camera and microphone on', 'and says how to open');
  await inspectAll(page, 'private');
  for (const size of Object.keys(SIZES)) {
    await look(page, size, 'light');
    const hit = await page.$eval('#notice-act', (b) => {
      const { left, top, width, height } = b.getBoundingClientRect();
      return document.elementFromPoint(left + width / 2, top + height / 2)?.id;
    });
    check(hit === 'notice-act', `${size}: "Switch on" can be pressed: ${hit}`);
  }
  await look(page, 'desktop', 'light');
  await page.click('#close-all');
  await until(page, 'live', 'another one opens it');

  await page.click('#settings');
  check((await focused(page)) === 'access', 'the settings take the focus');
  await inspectAll(page, 'settings');
  const parts = await page.$$eval('#access h3', (all) => all.filter((h) => h.checkVisibility()).map((h) => h.innerText.trim().replace(/ .*@.*/, '')));
  check(parts.join() === 'Camera and microphone,Who is watching,Guest links,Passwords,Certificate,This browser,Signed in as owner', `all parts are there: ${parts}`);
  await unfold(page);
  const people = await eventually(() => page.$$eval('#people li', (all) => all.map((e) => e.innerText)), 'the list of people');
  check(people.length === 1 && /this browser/.test(people[0]), `one's own line is marked: ${people}`);

  const own = await page.$eval('#fingerprint', (e) => e.textContent);
  const pem = await page.evaluate(() => fetch('api/ca.pem').then((r) => r.text()));
  check(own === new X509Certificate(pem).fingerprint256, `the fingerprint is that of the authority: ${own}`);
  check(await shown(page, 'authority'), 'the owner may trust it');

  await page.type('#guest-label', 'Grandma');
  await page.keyboard.press('Enter');
  const link = await eventually(() => page.$eval('#guest-link', (e) => e.value), 'makes a guest link');
  await eventually(() => shown(page, 'guest-qr'), 'as a QR code, too');
  const drawn = await page.$eval('#guest-qr svg', (svg) => [svg.getAttribute('viewBox'), svg.firstElementChild.getAttribute('d')]);
  const asked = await page.evaluate((t) => fetch('api/qr', { method: 'POST', headers: { 'content-type': 'application/json' }, body: JSON.stringify({ text: t }) }).then((r) => r.json()), link);
  check(drawn[1] === asked.path && drawn[0] === `-4 -4 ${asked.size + 8} ${asked.size + 8}`, `of this link: ${drawn[0]}`);
  check((await shown(page, 'guest-share')) === (await page.evaluate(() => Boolean(navigator.share))), 'it is shared where the system can');
  await eventually(async () => (await text(page, 'guests-count')) === '1', 'the number of links is shown');
  await page.$eval('#guest-qr', (e) => e.scrollIntoView({ block: 'center' }));
  await inspectAll(page, 'guest link');

  // A guest sees fewer settings.
  const context = await browser.createBrowserContext();
  const guest = await context.newPage();
  await guest.goto(link, { waitUntil: 'domcontentloaded' });
  await until(guest, 'live');
  check(!(await shown(guest, 'close-all')), 'a guest closes nothing');
  await guest.click('#settings');
  await unfold(guest);
  check((await text(guest, 'fingerprint')) === own && !(await shown(guest, 'authority')), 'a guest may compare, and is not asked to trust an authority');
  await inspect(guest, 'guest settings');
  await context.close();
  await page.click('#guests button');
  await page.keyboard.press('Escape');
  check((await focused(page)) === 'settings', 'and the focus is back at the button');

  // The explained figures.
  await page.keyboard.press('i');
  await page.click('#explain');
  await eventually(() => page.$eval('#d-delay ~ .means', (e) => e.checkVisibility()), 'a figure is explained');
  const bare = await page.$$eval('#details dl > div', (all) => all.filter((row) => row.checkVisibility() && (!row.querySelector('.means') || !row.querySelector('dd').textContent)).map((row) => row.innerText));
  check(bare.length === 0, `each of them, and none is empty: ${bare}`);
  await inspectAll(page, 'explained');
  await page.click('#explain');
  check(!(await page.$eval('#d-delay ~ .means', (e) => e.checkVisibility())), 'until it is asked for no more');
  await page.close();
  return { people, own };
}

// ---- sizes ----

/** Elements that are cut off or scroll sideways. */
function cut() {
  const wrong = [];
  const root = document.scrollingElement;
  if (root.scrollWidth > root.clientWidth) wrong.push(`the page is ${root.scrollWidth} px wide on ${root.clientWidth}`);
  for (const e of document.querySelectorAll('body *')) {
    if (!e.checkVisibility({ visibilityProperty: true }) || e.closest('.away, .scrolls, svg')) continue;
    const { overflowX } = getComputedStyle(e);
    if (['auto', 'scroll'].includes(overflowX) && e.scrollWidth > e.clientWidth + 1) wrong.push(`${e.id || e.className} scrolls sideways`);
    const { left, right, width } = e.getBoundingClientRect();
    if (width > 1 && (left < -1 || right > root.clientWidth + 1)) wrong.push(`${e.tagName} ${e.id || e.className} is from ${Math.round(left)} to ${Math.round(right)}`);
  }
  // Every button shows its whole text.
  for (const b of document.querySelectorAll('button')) {
    if (!b.checkVisibility({ visibilityProperty: true }) || b.closest('.tile')) continue;
    if (b.scrollWidth > b.clientWidth + 1) wrong.push(`the words of ${b.id || b.innerText} are cut off`);
  }
  // The picture is within its stage.
  const [stage, video] = ['.stage', '#video'].map((at) => document.querySelector(at)?.getBoundingClientRect());
  const scrolls = document.querySelector('.tiles.several'); // within the stage
  if (video && !scrolls && (video.top < stage.top - 1 || video.bottom > stage.bottom + 1)) wrong.push(`the picture is from ${video.top} to ${video.bottom}, the stage from ${stage.top} to ${stage.bottom}`);
  return wrong.slice(0, 8);
}

/** Viewports in CSS pixels with the browser's font size: 400 % of 1280x720, large letters, small phones. */
const VIEWS = [
  ['400 %', 320, 180, 16],
  ['400 % upright', 320, 256, 16],
  ['large letters', 1280, 720, 32],
  ['large letters on a phone', 390, 844, 32],
  ['small phone', 360, 640, 16],
  ['small phone lying', 640, 360, 16],
];

/** Sets the browser's font size. */
const letters = async (page, px) => (await page.createCDPSession()).send('Page.setFontSizes', { fontSizes: { standard: px, fixed: px } });

/** Checks in each view that nothing is cut off; with --out also inspects each view. */
async function fits(page, where) {
  for (const [name, width, height, px] of VIEWS) {
    await letters(page, px);
    await page.setViewport({ width, height });
    await pause(200);
    const wrong = await page.evaluate(cut);
    check(wrong.length === 0, `${where}, ${name}: ${wrong.join('; ')}`);
    if (args.out) await inspect(page, `${where}, ${name}`);
  }
}

export async function sizes(browser) {
  const page = await open(browser);
  await until(page, 'live');
  await fits(page, 'live');
  // On small phones all controls are visible. With a camera the state needs no more words.
  await page.evaluate(() => {
    window.held.alter = (m) => m.type === 'status' && [m, ...m.cameras].forEach(({ video, audio }) => (video.source = audio.source = 'device'));
  });
  await eventually(async () => (await text(page, 'text')) === '', 'live, and no more to say');
  await letters(page, 16);
  await page.setViewport({ width: 360, height: 640 });
  await pause(200);
  const out = await page.$$eval('.buttons button', (buttons) => buttons.filter((b) => b.checkVisibility() && b.getBoundingClientRect().bottom > innerHeight).map((b) => b.id));
  check(out.length === 0, `on a small phone all controls are in sight, not ${out}`);
  const top = await page.$eval('.stage', (s) => s.getBoundingClientRect().top);
  const lines = await page.evaluate(() => {
    const says = document.querySelector('.says');
    // As long as the figures get, on a bad link. The page writes them again only after they are measured.
    document.querySelector('#delay').textContent = 'delay 1,234 ms';
    document.querySelector('#size').textContent = '3840×2160';
    return says.getBoundingClientRect().height / parseFloat(getComputedStyle(says).lineHeight);
  });
  check(top === 0, `the picture is at the top: ${top}`);
  check(lines <= 2.1, `what is said takes two lines: ${lines}`);
  await page.keyboard.press('i');
  await fits(page, 'details');
  await page.keyboard.press('s');
  await unfold(page);
  await fits(page, 'settings');
  await page.keyboard.press('Escape');
  await page.keyboard.type('?');
  await fits(page, 'keys');
  await page.keyboard.press('Escape');
  await page.evaluate(() => {
    const gone = { state: 'gone', reason: 'the camera was unplugged' };
    window.held.alter = (m) => m.type === 'status' && [m, ...m.cameras].forEach(({ video }) => Object.assign(video, gone));
  });
  await until(page, 'camera-gone');
  await fits(page, 'gone');
  await page.evaluate(() => {
    window.held.cut = true;
    window.held.connections.at(-1).close();
    window.held.sockets.at(-1).close();
  });
  await until(page, 'away');
  await fits(page, 'away');
  await page.close();
  const door = await browser.createBrowserContext();
  const outside = await door.newPage();
  await outside.goto(args.url, { waitUntil: 'domcontentloaded' });
  await eventually(() => shown(outside, 'sign-in'), 'the door');
  await fits(outside, 'door');
  await door.close();
  return { lines };
}

// ---- an app ----

export async function app(browser) {
  const page = await open(browser);
  await until(page, 'live');
  const session = await page.createCDPSession();
  const manifest = await session.send('Page.getAppManifest');
  check(manifest.errors.length === 0, `the manifest has no errors: ${JSON.stringify(manifest.errors)}`);
  const told = JSON.parse(manifest.data ?? '{}');
  const { installabilityErrors } = await session.send('Page.getInstallabilityErrors');
  const real = installabilityErrors.filter(({ errorId }) => errorId !== 'in-incognito');
  check(real.length === 0, `it can be installed: ${JSON.stringify(real)}`);
  // As started from the home screen.
  const start = new URL(told.start_url, manifest.url).href;
  check(start === args.url, `it starts at the page: ${start}`);
  await page.goto(start, { waitUntil: 'domcontentloaded' });
  await until(page, 'live', 'opened from its manifest it is live');
  for (const { src, type } of told.icons) {
    const icon = await page.evaluate((url) => fetch(url).then((r) => [r.status, r.headers.get('content-type')]), new URL(src, manifest.url).href);
    check(icon.join() === `200,${type}`, `${src} is there: ${icon}`);
  }
  await page.close();
  return { manifest: told, installabilityErrors };
}

// ---- what does not exist ----

export async function problems(browser) {
  const page = await open(browser);
  await until(page, 'live');
  const answer = await page.goto(new URL('nothing', args.url).href);
  check(answer.status() === 404 && /html/.test(answer.headers()['content-type']), `a person gets a page: ${answer.status()}`);
  const says = await page.evaluate(() => document.body.innerText);
  check(/not found/i.test(says), `which says what is wrong: ${says}`);
  await inspectAll(page, 'not found');
  await fits(page, 'problem');
  await page.close();
  const stranger = await browser.createBrowserContext();
  const outside = await stranger.newPage();
  const refused = await outside.goto(new URL('snapshot.jpg', args.url).href);
  check(refused.status() === 401, `somebody who is not signed in gets 401: ${refused.status()}`);
  await inspectAll(outside, 'not signed in');
  await stranger.close();
  return { says };
}

// ---- languages ----

export async function languages(browser) {
  const seen = {};
  for (const [code, live, settings] of [
    ['de', 'Live', 'Einstellungen'],
    ['fr', 'En direct', 'Réglages'],
  ]) {
    const page = await open(browser, `Object.defineProperty(navigator, 'languages', { get: () => ['${code}-CH', 'en'] })`);
    await until(page, 'live');
    check((await page.$eval('html', (e) => e.lang)) === code, `the page is in the browser's language, ${code}`);
    check((await text(page, 'head')) === live, `${code}: what is said is: ${await text(page, 'head')}`);
    await page.keyboard.press('s');
    await unfold(page);
    check((await text(page, 'access-title')) === settings, `${code}: what stands in the page is: ${await text(page, 'access-title')}`);
    const inside = async (where) => {
      await fits(page, `${code}, ${where}`);
      await letters(page, 16);
      await look(page, 'desktop', 'light');
    };
    await inside('settings');
    await inspect(page, `${code}, settings`);
    await page.keyboard.press('Escape');
    await inside('live');
    await page.keyboard.press('i');
    await page.click('#explain');
    await inside('explained');
    await inspect(page, `${code}, explained`);
    seen[code] = await page.evaluate(() => document.body.innerText);
    await page.keyboard.press('Escape');

    // Chosen by the person, for this browser.
    await page.keyboard.press('s');
    await unfold(page);
    await eventually(() => page.$$eval('#language option', (all) => all.length > 3), `${code}: there is a choice`);
    await Promise.all([page.waitForNavigation({ waitUntil: 'domcontentloaded' }), page.select('#language', 'en')]);
    await until(page, 'live');
    check((await page.$eval('html', (e) => e.lang)) === 'en' && (await text(page, 'head')) === 'Live', `${code}: English is chosen`);
    await page.evaluate(() => localStorage.removeItem('peercam.language'));
    await page.close();
  }
  return seen;
}
