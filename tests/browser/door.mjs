// Who gets in, as seen in a real browser, with a fresh daemon that has no owner yet:
//
//   node door.mjs --url URL --secret PAIRING [--browser chromium|firefox] [--out DIR]
//
// Prints one JSON object, { failures: [sentence], ... what was seen }, as page.mjs does. Runs in this order, because each step needs
// the result of the previous one: pairing, signing in, guest links, privacy, signaling by requests, the report of why it does not
// connect. Each new view is checked by axe, and with --out saved as a picture.
import { mkdir } from 'node:fs/promises';
import { parseArgs } from 'node:util';
import axe from 'axe-core';
import { launch } from './launch.mjs';
import { noSocket } from './no-socket.mjs';

const { values: args } = parseArgs({
  options: {
    url: { type: 'string' },
    secret: { type: 'string' },
    browser: { type: 'string', default: 'chromium' },
    out: { type: 'string' },
  },
});
if (!args.url || !args.secret) {
  console.error('usage: door.mjs --url URL --secret PAIRING [--browser chromium|firefox] [--out DIR]');
  process.exit(2);
}

/** Long enough for a loaded machine; nothing here measures speed. */
const PATIENCE_MS = 20_000;
const SIZES = { desktop: [1280, 800], phone: [390, 844] };
/** Only Chromium lets a driver choose. */
const SCHEMES = args.browser === 'chromium' ? ['light', 'dark'] : ['light'];
const PASSWORD = 'a horse & a battery';

const failures = [];
const errors = [];
const violations = [];

function check(ok, sentence) {
  if (!ok) failures.push(sentence);
  return ok;
}

const pause = (ms) => new Promise((done) => setTimeout(done, ms));
const facts = (page) => page.evaluate(() => window.peercam.facts);
const text = (page, id) => page.$eval(`#${id}`, (e) => e.textContent.trim());
const shown = (page, id) => page.evaluate((i) => document.getElementById(i).checkVisibility(), id);

/** Waits until `look` returns something true, and returns it. */
async function eventually(look, sentence) {
  const end = performance.now() + PATIENCE_MS;
  let seen;
  while (performance.now() < end) {
    seen = await look().catch(() => null); // Between two documents.
    if (seen) return seen;
    await pause(50);
  }
  check(false, sentence);
  return null;
}

/** The door's forms. */
const VIEWS = ['sign-in', 'pair', 'pair-ended', 'unpaired', 'link-ended'];

/** Waits for a state. A form of the door has a file of its own, so the state changes before the form exists, and letters typed then are lost. */
async function until(page, state, sentence = `says ${state}`) {
  const found = await eventually(async () => {
    const seen = await facts(page);
    return seen?.state === state && (!VIEWS.includes(state) || (await shown(page, state))) && seen;
  }, sentence);
  if (!found) failures.push(`... but ${JSON.stringify(await facts(page).catch(() => null))}`);
  return found;
}

async function open(context, { fragment = '', before = [] } = {}) {
  const page = await context.newPage();
  page.on('pageerror', (e) => {
    // Firefox reports a WebSocket that does not open as an uncaught error, although the page handles it.
    if (!/ wss?:\/\//.test(e.message)) errors.push(`uncaught: ${e.message}`);
  });
  page.on('console', (m) => {
    if (/Content.Security.Policy/i.test(m.text())) errors.push(m.text());
  });
  for (const script of before) await page.evaluateOnNewDocument(script);
  await page.setViewport({ width: 1280, height: 800 });
  await page.goto(`${args.url}${fragment}`, { waitUntil: 'domcontentloaded' });
  return page;
}

async function type(page, id, value) {
  await page.$eval(`#${id}`, (e) => (e.value = ''));
  await page.type(`#${id}`, value);
}

/** Checks the page as it is with axe, in every size and colour scheme, and saves a picture of each. */
async function inspect(page, name) {
  for (const [size, [width, height]] of Object.entries(SIZES)) {
    for (const scheme of SCHEMES) {
      await page.setViewport({ width, height });
      if (SCHEMES.length > 1) await page.emulateMediaFeatures([{ name: 'prefers-color-scheme', value: scheme }]);
      await pause(250);
      await page.evaluate(axe.source);
      const result = await page.evaluate(() => window.axe.run(document));
      check(result.passes.length > 10, `${name}, ${size} ${scheme}: axe looked at next to nothing`);
      for (const { id, impact, help, nodes } of result.violations) {
        violations.push({ where: `${name}, ${size} ${scheme}`, id, impact, help, nodes: nodes.map((n) => n.html.slice(0, 200)) });
        check(!['serious', 'critical'].includes(impact), `${name}, ${size} ${scheme}: ${help} (${id})`);
      }
      if (args.out) await page.screenshot({ path: `${args.out}/${name}-${size}-${scheme}.png` });
    }
  }
  await page.setViewport({ width: 1280, height: 800 });
}

/** Makes a guest link on the owner's page. */
function guestLink(page, label) {
  return page.evaluate(async (name) => {
    const headers = { 'content-type': 'application/json' };
    const reply = await fetch('api/guests', { method: 'POST', headers, body: JSON.stringify({ label: name, hours: 1 }) });
    return `#guest=${(await reply.json()).secret}`;
  }, label);
}

/** Opens the settings with all their parts. */
async function panel(page) {
  if (!(await shown(page, 'access'))) {
    // The state changes before the browser has laid out what belongs to it.
    await eventually(() => shown(page, 'settings'), 'the button of the panel is there');
    await page.click('#settings');
  }
  await eventually(() => shown(page, 'sign-out'), 'the panel opens');
  await page.$$eval('#access details', (all) => all.forEach((part) => (part.open = true)));
}

// ---- in order ----

async function pairing(browser) {
  const page = await open(browser);
  await until(page, 'unpaired', 'says that it is not set up');
  await page.evaluate(() => (location.hash = 'pair=AAAAAAAAAAAAAAAAAAAAAA'));
  await eventually(async () => /no longer works/.test(await text(page, 'door-reason')), 'an unknown pairing link is reported at once');
  check((await text(page, 'unpaired')).includes('sudo peercam pair'), 'and how to get the link');
  await inspect(page, 'unpaired');

  await page.evaluate((secret) => (location.hash = `pair=${secret}`), args.secret);
  await until(page, 'pair', 'a pairing link in the same tab is taken');
  check((await page.evaluate(() => location.href)) === args.url, 'the secret is gone from the address bar');
  await inspect(page, 'pair');
  await type(page, 'pair-password', 'short');
  await page.keyboard.press('Enter');
  await eventually(async () => /at least 8/.test(await text(page, 'pair-error')), 'a short password is refused');
  await type(page, 'pair-password', PASSWORD);
  await type(page, 'pair-again', 'something else');
  await page.keyboard.press('Enter');
  await eventually(async () => /do not match/.test(await text(page, 'pair-error')), 'two different passwords are refused');
  await type(page, 'pair-again', PASSWORD);
  await page.keyboard.press('Enter');
  const paired = await until(page, 'live', 'is live after pairing');
  check(paired?.role === 'owner', `pairs as the owner, not ${paired?.role}`);

  // A used link is reported before anybody has typed anything.
  const used = `#pair=${args.secret}`;
  const late = await open(await browser.createBrowserContext(), { fragment: used });
  await until(late, 'pair-ended', 'a pairing link works once');
  const refused = await text(late, 'pair-ended');
  check(refused.includes('sudo peercam pair') && !(await shown(late, 'pair')), `and says so at once: ${refused}`);
  await inspect(late, 'pair-ended');
  check((await text(late, 'pair-instead')) === 'Sign in instead', 'it offers to sign in');
  await late.click('#pair-instead');
  await until(late, 'sign-in', 'which shows the form');
  await late.browserContext().close();
  const mine = await open(browser, { fragment: used });
  await until(mine, 'pair-ended');
  check((await text(mine, 'pair-instead')) === 'Go to the picture', 'somebody who is signed in is offered the picture');
  await mine.click('#pair-instead');
  await until(mine, 'live', 'which is shown');
  await mine.close();
  return { page, seen: { refused } };
}

async function signingIn(page) {
  await panel(page);
  await page.click('#sign-out');
  await until(page, 'sign-in', 'signing out ends at the door');
  await eventually(async () => /signed out/.test(await text(page, 'door-reason')), 'and says so');
  check(!(await page.$eval('#video', (v) => v.srcObject)), 'and leaves no picture behind');
  await page.reload();
  await until(page, 'sign-in', 'who has signed out stays outside');
  await eventually(() => page.evaluate(() => document.activeElement.id === 'password'), 'the password field has the focus');
  await inspect(page, 'sign-in');
  await type(page, 'password', 'not this one');
  await page.keyboard.press('Enter');
  const wrong = await eventually(() => text(page, 'sign-in-error'), 'a wrong password is reported');
  await inspect(page, 'wrong-password');
  // Guesses become slower until the form has to wait.
  const wait = await eventually(async () => {
    const label = await page.$eval('#sign-in button', (b) => b.textContent);
    if (/^Wait \d+/.test(label)) return label;
    await type(page, 'password', 'nor this one');
    await page.keyboard.press('Enter');
    await pause(100);
    return null;
  }, 'after some wrong passwords the button says how long to wait');
  if (wait) await inspect(page, 'wait');
  const said = await text(page, 'sign-in-error');
  await eventually(() => page.$eval('#sign-in button', (b) => !b.disabled), 'and can be pressed after that');
  await type(page, 'password', PASSWORD);
  await page.keyboard.press('Enter');
  const back = await until(page, 'live', 'the right password opens the door');
  check(back?.role === 'owner', 'as the owner');
  const users = await page.evaluate(() => ['sign-in-user', 'pair-user'].map((id) => document.getElementById(id).value));
  check(users.join() === 'owner,owner', `whose password it is is there for password managers: ${users}`);
  return { wrong, wait, said };
}

async function guests(browser, page) {
  await panel(page);
  check((await page.evaluate(() => document.activeElement.id)) === 'access', 'the panel takes the focus');
  await type(page, 'guest-label', 'Grandma');
  await page.keyboard.press('Enter');
  const link = await eventually(() => page.$eval('#guest-link', (e) => e.value), 'makes a guest link');
  await inspect(page, 'owner');
  const context = await browser.createBrowserContext();
  const guest = await open(context, { fragment: new URL(link).hash });
  const watching = await until(guest, 'live', 'a guest link shows the picture');
  check(watching?.role === 'guest', 'as a guest');
  check((await guest.evaluate(() => location.hash)) === '', 'its secret is gone from the address bar');
  await panel(guest);
  check(!(await shown(guest, 'privacy')) && !(await shown(guest, 'guest')), 'a guest finds no switches');
  await eventually(async () => /^2 watching/.test(await text(guest, 'people-count')), 'a guest sees how many watch');
  check((await guest.$$('#people li')).length === 0, 'but not who');
  await inspect(guest, 'guest');
  const people = await eventually(async () => {
    const lines = await page.$$eval('#people li', (all) => all.map((e) => e.textContent));
    return lines.length === 2 && lines.some((l) => /Grandma/.test(l)) && lines;
  }, 'the owner sees who watches');

  // Revoked by mistake.
  await page.click('#guests button');
  const ended = await until(guest, 'link-ended', 'revoking the link ends the stream');
  const reason = ended && (await text(guest, 'link-ended'));
  check(/^This guest link has ended\s+Ask the owner for a new one\./.test(reason), `and says why: ${reason}`);
  check((await shown(guest, 'link-ended')) && !(await shown(guest, 'sign-in')), 'and asks for no password');
  await inspect(guest, 'link-ended');
  check((await page.evaluate(() => document.activeElement.id)) === 'guest-undo-button', 'the focus is where it can be undone');
  await inspect(page, 'revoked');
  await page.keyboard.press('Enter');
  await until(guest, 'live', 'undone, the guest watches again without doing anything');
  await eventually(async () => (await page.$$('#guests li')).length === 1, 'and the link is listed again');
  check(!(await shown(page, 'guest-undo')), 'there is nothing to undo any more');

  await eventually(async () => (await page.$$('#people li')).length === 2, 'and is among those who watch'); // one line more, above
  // Revoked for good: a reload, and the link in another tab, say the same.
  await page.click('#guests button');
  await until(guest, 'link-ended');
  await guest.reload();
  await until(guest, 'link-ended', 'a reload says the same');
  await guest.goto('about:blank');
  await guest.goto(link, { waitUntil: 'domcontentloaded' });
  await until(guest, 'link-ended', 'a revoked link opens nothing');
  await guest.click('#have-password');
  await until(guest, 'sign-in', 'who has a password gets to use it');
  await eventually(() => guest.evaluate(() => document.activeElement.id === 'password'), 'the password field has the focus');
  await context.close();
  await eventually(async () => (await page.$$('#guests li')).length === 0, 'the list of links is empty again');
  await eventually(async () => !(await shown(page, 'guest-undo')), 'undoing is offered for some seconds only');
  return { people, reason };
}

async function household(browser, page) {
  await panel(page);
  await eventually(async () => (await text(page, 'household-state')) === 'not set', 'says that the household has no password');
  check(!(await shown(page, 'household-remove')), 'there is nothing to remove');
  const user = () => page.$eval('#password-user', (e) => e.value);
  check((await user()) === 'owner', 'password managers get the owner of the password');
  await page.select('#password-role', 'viewer');
  check((await user()) === 'household', 'and when it is the other one');
  await type(page, 'password-old', 'wrong, wrong');
  await type(page, 'password-new', 'for the family');
  await type(page, 'password-again', 'for the family');
  await page.keyboard.press('Enter');
  await eventually(() => text(page, 'password-error'), 'a wrong current password is reported');
  await type(page, 'password-old', PASSWORD);
  const done = await eventually(async () => {
    // It may have to wait after the wrong password. Any message must appear before the next attempt.
    await page.evaluate(() => document.getElementById('password-error').replaceChildren());
    await page.click('#password-submit');
    const told = async () => (await text(page, 'password-done')) || (await text(page, 'password-error'));
    await eventually(told, 'says whether the password was changed');
    return text(page, 'password-done');
  }, 'sets a password for the household');
  await eventually(async () => (await text(page, 'household-state')) === 'set', 'says that the household has one');
  const context = await browser.createBrowserContext();
  const family = await open(context);
  await until(family, 'sign-in');
  await type(family, 'password', 'for the family');
  await family.keyboard.press('Enter');
  const live = await until(family, 'live', 'the household watches with its own password');
  check(live?.role === 'viewer', 'as a viewer');
  check((await family.$eval('#sign-in-user', (e) => e.value)) === 'household', 'and its password is stored under its own name');
  await panel(family);
  check(!(await shown(family, 'passwords')), 'who finds no passwords to change');
  await page.click('#household-remove');
  check((await page.evaluate(() => document.activeElement.id)) === 'password-old', 'removing takes the present password');
  check(!(await shown(page, 'password-new')), 'and no new one');
  await inspect(page, 'household-remove');
  await type(page, 'password-old', PASSWORD);
  await page.keyboard.press('Enter');
  await until(family, 'sign-in', 'taking the household password away ends its streams');
  const reason = await eventually(() => text(family, 'door-reason'), 'and says why');
  await context.close();
  await eventually(async () => (await text(page, 'household-state')) === 'not set', 'says that it has none again');
  return { done, reason };
}

async function privacy(browser, page) {
  const context = await browser.createBrowserContext();
  const guest = await open(context, { fragment: await guestLink(page, 'Uncle') });
  await until(guest, 'live');
  await panel(page);
  await page.click('#privacy');
  const off = await until(page, 'private', 'the privacy switch is said in words');
  check(/You switched camera and microphone off/.test(off?.text ?? ''), `and by whom: ${off?.text}`);
  check((await page.$eval('#privacy', (b) => b.getAttribute('aria-checked'))) === 'false', 'the switch stands at off');
  await inspect(page, 'private-panel');
  await page.click('#privacy');
  await until(page, 'live', 'and the picture comes back');
  check((await page.$eval('#privacy', (b) => b.getAttribute('aria-checked'))) === 'true', 'the switch stands at on');

  // Off again, and on with the button next to the message.
  await page.click('#privacy');
  const before = await until(page, 'private');
  await page.click('#access-close');
  check((await text(page, 'notice-text')) === 'You switched camera and microphone off.', 'the sentence stands where the picture was');
  check(!(await shown(page, 'mark')), 'and nothing covers it');
  await eventually(() => shown(page, 'notice-act'), 'with the button that undoes it');
  await inspect(page, 'private');
  const told = await until(guest, 'private', 'guests see it, too');
  check(/owner switched.*Only the owner can/.test(told?.text ?? ''), `and who can undo it: ${told?.text}`);
  check(!(await shown(guest, 'notice-act')), 'but can not themselves');
  await inspect(guest, 'private-guest');
  await pause(4000);
  const after = await facts(page);
  check(after.generation === before?.generation && after.frames > before.frames, 'the same connection goes on meanwhile');
  await page.focus('#notice-act');
  await page.keyboard.press('Enter');
  await until(page, 'live', '"Switch on" switches on');
  await eventually(() => page.evaluate(() => document.activeElement.id === 'settings'), 'and the focus is not lost');
  await until(guest, 'live', 'for guests, too');
  await context.close();
  return { off: off?.text, guest: told?.text };
}

async function byRequests(browser) {
  const page = await open(browser, { before: [noSocket, keep] });
  const live = await until(page, 'live', 'is live without a WebSocket');
  check(live?.way === 'requests', `by requests, not by ${live?.way}`);
  const measured = await eventually(async () => {
    const seen = await facts(page);
    return seen.delay_ms !== null && seen.clock_error_ms !== null && seen;
  }, 'measures the delay by the clock of the status');
  // The same viewer over a new path: an ICE restart with PATCH.
  await page.evaluate(() => window.dispatchEvent(new Event('online')));
  await page.evaluate(() => window.kept.restart());
  await eventually(() => page.evaluate(() => window.kept.answers > 1), 'restarts ICE by PATCH');
  await pause(1500);
  const after = await facts(page);
  check(after.viewer === live?.viewer && after.state === 'live', 'and stays the same viewer');
  const ended = await page.evaluate((v) => fetch(`whep/${v}`, { method: 'DELETE' }).then((r) => r.status), after.viewer);
  check(ended < 300, `DELETE is answered ${ended}`);
  await eventually(async () => ![null, after.viewer].includes((await facts(page)).viewer), 'joins again when its viewer was ended');
  const again = await until(page, 'live', 'and is live again');
  await page.close();
  return { delay_ms: measured?.delay_ms, clock_error_ms: measured?.clock_error_ms, after, again };
}

/** Records the connections, and can make the page believe that one of them is interrupted. */
function keep() {
  const kept = (window.kept = { all: [], answers: 0, block: false });
  window.RTCPeerConnection = class extends RTCPeerConnection {
    #lost = false;
    constructor(...given) {
      super(...given);
      kept.all.push(this);
    }
    get iceConnectionState() {
      return this.#lost ? 'disconnected' : super.iceConnectionState;
    }
    lose() {
      this.#lost = true;
      this.dispatchEvent(new Event('iceconnectionstatechange'));
      this.#lost = false;
    }
    // Nothing listens there. (Chromium does not even try ports below 1024.)
    #elsewhere(text) {
      return kept.block ? text.replace(/(candidate:\S+ \d+ \S+ \d+ \S+) \d+ typ/g, '$1 60009 typ') : text;
    }
    setRemoteDescription(description) {
      kept.answers += 1;
      return super
        .setRemoteDescription({ type: description.type, sdp: this.#elsewhere(description.sdp) })
        .then(() => this.dispatchEvent(new Event('iceconnectionstatechange')));
    }
    addIceCandidate(candidate) {
      return super.addIceCandidate({ ...candidate, candidate: this.#elsewhere(candidate.candidate) });
    }
  };
  kept.restart = () => kept.all.at(-1).lose();
}

/** The device's own checks would find a path anyway, so the page's checks use a password that the device does not know. */
function unknown() {
  window.kept.block = true;
  const send = WebSocket.prototype.send;
  WebSocket.prototype.send = function (text) {
    const message = JSON.parse(text);
    if (message.type === 'offer' && window.kept.block) message.sdp = message.sdp.replace(/(a=ice-pwd:.{8}).{8}/g, '$1AAAAAAAA');
    if (message.type === 'candidate' && window.kept.block) return;
    send.call(this, JSON.stringify(message));
  };
}

async function report(browser) {
  const page = await open(browser, { before: [keep, unknown] });
  const shownAt = await eventually(async () => {
    const seen = await facts(page);
    return seen.why && seen;
  }, 'knows why it does not connect');
  await eventually(() => shown(page, 'why-button'), 'a button offers the reason');
  check(!(await shown(page, 'why')), 'the report does not open by itself');
  const first = await eventually(() => page.$eval('#why-sentences li', (e) => e.textContent), 'the report has a first sentence');
  await eventually(async () => (await facts(page)).text.includes(await page.$eval('#why-sentences li', (e) => e.textContent)), 'which the line says');
  await eventually(async () => /"Why\?" button shows more/.test(await text(page, 'spoken')), 'and it is announced to screen readers');
  const heard = await text(page, 'spoken');
  await eventually(async () => (await facts(page)).generation > 2, 'further attempts begin');
  check((await text(page, 'spoken')) === heard, `which is announced once: ${heard} / ${await text(page, 'spoken')}`);
  check((await shown(page, 'notice')) && !(await shown(page, 'mark')), 'those before left no picture that could be old');
  await inspect(page, 'why-offered');
  await page.focus('#why-button');
  await page.keyboard.press('Enter');
  await eventually(() => page.evaluate(() => document.activeElement.id === 'why'), 'opened, the report has the focus');
  check((await page.$eval('#why-button', (b) => b.getAttribute('aria-expanded'))) === 'true', 'the button says that it is open');
  const sentences = await eventually(async () => {
    const all = await page.$$eval('#why-sentences li', (l) => l.map((e) => e.textContent));
    return all.some((s) => /answer/.test(s)) && all;
  }, 'names what did not answer');
  check((await page.$$('#why-pairs tr')).length > 0, 'lists what was tried');
  check(!(await shown(page, 'why-facts')), 'raw facts are folded away');
  await inspect(page, 'why');
  await page.click('#why-technical summary');
  check(await shown(page, 'why-facts'), 'and open on demand');
  await inspect(page, 'why-technical');
  await page.click('#why-copy');
  await eventually(() => text(page, 'why-copied'), 'the report can be copied');
  await page.click('#why-close');
  check(!(await shown(page, 'why')), 'the report can be closed');
  check((await page.evaluate(() => document.activeElement.id)) === 'why-button', 'which gives the focus back');
  await page.keyboard.press('Enter');
  check(await shown(page, 'why'), 'and opened again');
  await page.keyboard.press('Escape');
  check(!(await shown(page, 'why')), 'Escape closes it, too');
  await page.evaluate(() => (window.kept.block = false)); // for the next attempt
  await until(page, 'live', 'is live when the way is free');
  check(!(await facts(page)).why && !(await shown(page, 'why-button')), 'and there is no report any more');
  check((await page.evaluate(() => document.activeElement.id)) === 'settings', 'the focus is on a control that is there');
  await page.close();
  return { state: shownAt?.state, first, sentences };
}

const browser = await launch(args.browser);
try {
  if (args.out) await mkdir(args.out, { recursive: true });
  const { page, seen } = await pairing(browser);
  const all = { pairing: seen };
  all.signingIn = await signingIn(page);
  all.guests = await guests(browser, page);
  all.household = await household(browser, page);
  if (!process.env.NO_PRIVACY) all.privacy = await privacy(browser, page);
  all.byRequests = await byRequests(browser);
  all.report = await report(browser);
  for (const error of errors) check(false, `the browser complains: ${error}`);
  console.log(JSON.stringify({ browser: args.browser, version: await browser.version(), failures, violations, ...all }));
} finally {
  await browser.close();
}
