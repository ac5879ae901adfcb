// What the scenarios of page.mjs, and webkit.mjs, share: the arguments, how they open the page, and how they look at it.
import { mkdir } from 'node:fs/promises';
import { parseArgs } from 'node:util';
import axe from 'axe-core';
import { signIn } from './launch.mjs';

export const { values: args } = parseArgs({
  options: {
    url: { type: 'string' },
    browser: { type: 'string', default: 'chromium' },
    scenario: { type: 'string' },
    pid: { type: 'string' },
    out: { type: 'string' },
  },
});

/** Long enough for a loaded machine; nothing here measures speed. */
export const PATIENCE_MS = 20_000;

export const SIZES = { desktop: [1280, 800], phone: [390, 844], lying: [844, 390] };
/** Only Chromium lets a driver choose. */
export const SCHEMES = args.browser === 'chromium' ? ['light', 'dark'] : ['light'];

export const failures = [];
export const errors = [];

export function check(ok, sentence) {
  if (!ok) failures.push(sentence);
  return ok;
}

export const pause = (ms) => new Promise((done) => setTimeout(done, ms));

/** Runs in the page before its own scripts: records its sockets and connections, and the daemon's messages. */
export function hold() {
  const held = (window.held = { sockets: [], connections: [], alter: null, cut: false });
  window.WebSocket = class extends WebSocket {
    constructor(url) {
      super(held.cut ? new URL('/nothing', url) : url);
      held.sockets.push(this);
    }
    addEventListener(type, listener, options) {
      if (type !== 'message') return super.addEventListener(type, listener, options);
      const altering = (event) => {
        const message = JSON.parse(event.data);
        held.alter?.(message);
        listener({ data: JSON.stringify(message) });
      };
      return super.addEventListener(type, altering, options);
    }
  };
  const { fetch } = window;
  window.fetch = (...args) => (held.cut ? Promise.reject(new TypeError('cut')) : fetch(...args));
  if (window.RTCPeerConnection) {
    window.RTCPeerConnection = class extends RTCPeerConnection {
      constructor(...args) {
        super(...args);
        held.connections.push(this);
      }
    };
  }
}

export async function open(browser, ...before) {
  const page = await browser.newPage();
  page.on('pageerror', (e) => {
    // Firefox reports a WebSocket that does not open as an uncaught error, although the page handles it.
    if (!/ wss?:\/\//.test(e.message)) errors.push(`uncaught: ${e.message}`);
  });
  page.on('console', (m) => {
    // Firefox and Chromium both name the policy in their messages about what they refuse.
    if (/Content.Security.Policy/i.test(m.text())) errors.push(m.text());
  });
  await page.evaluateOnNewDocument(hold);
  for (const script of before) await page.evaluateOnNewDocument(script);
  await page.setViewport({ width: SIZES.desktop[0], height: SIZES.desktop[1] });
  await signIn(page, args.url);
  await page.goto(args.url, { waitUntil: 'domcontentloaded' });
  return page;
}

export const facts = (page) => page.evaluate(() => window.peercam.facts);

/** Waits for a state and returns the facts at that time; a failure says what came instead. */
export async function until(page, state, sentence = `says ${state}`) {
  const end = performance.now() + PATIENCE_MS;
  let last;
  while (performance.now() < end) {
    last = await facts(page).catch(() => null); // Between two documents.
    if (last?.state === state) return { ...last, title: await page.title() };
    await pause(50);
  }
  check(false, `${sentence}: it still says ${JSON.stringify(last?.text ?? null)}`);
  return last;
}

export async function look(page, size, scheme) {
  await page.setViewport({ width: SIZES[size][0], height: SIZES[size][1] });
  if (SCHEMES.length > 1) await page.emulateMediaFeatures([{ name: 'prefers-color-scheme', value: scheme }]);
  await pause(300);
}

/** Opens all parts of the settings. */
export const unfold = (page) => page.$$eval('#access details', (all) => all.forEach((part) => (part.open = true)));

/** Records what is announced to screen readers from now on: the texts of the page's live region, one after another. */
export function announced(page) {
  return page.evaluate(() => {
    const region = document.getElementById('spoken');
    const all = (window.announced = []);
    new MutationObserver(() => all.push(region.textContent)).observe(region, { childList: true, characterData: true, subtree: true });
  });
}

export const shown = (page, id) => page.evaluate((i) => Boolean(document.getElementById(i).checkVisibility()), id);

/** Waits until `test` returns something true, and returns it. */
export async function eventually(test, sentence) {
  const end = performance.now() + PATIENCE_MS;
  while (performance.now() < end) {
    const seen = await test().catch(() => null);
    if (seen) return seen;
    await pause(50);
  }
  check(false, sentence);
  return null;
}

/** All of axe's complaints about what is on the screen, after checking that more than `least` of its rules hold there. */
export async function audit(page, where, least = 3) {
  // What fades in has another contrast meanwhile.
  await page.evaluate(() => {
    const ends = (animation) => animation.playState === 'running' && animation.effect.getComputedTiming().endTime < Infinity;
    return Promise.allSettled(document.getAnimations().filter(ends).map((animation) => animation.finished));
  });
  await page.evaluate(axe.source);
  const { violations, passes } = await page.evaluate(async () => {
    // What breathes is looked at as it begins, when it is palest.
    const endless = document.getAnimations().filter((animation) => animation.effect.getComputedTiming().endTime === Infinity);
    for (const animation of endless) {
      animation.pause();
      animation.currentTime = 0;
    }
    const found = await window.axe.run(document);
    endless.forEach((animation) => animation.play());
    return found;
  });
  check(passes.length > least, `${where}: axe looked at next to nothing`);
  return violations.map(({ id, impact, help, nodes }) => ({ where, id, impact, help, nodes: nodes.map((n) => n.html.slice(0, 200)) }));
}

/** Axe's serious complaints about what is on the screen; with --out saves a picture. */
export async function inspect(page, where) {
  for (const { id, impact, help, nodes } of await audit(page, where)) {
    if (impact === 'serious' || impact === 'critical') check(false, `${where}: ${help} (${id}): ${nodes[0]}`);
  }
  if (!args.out) return;
  await mkdir(args.out, { recursive: true });
  await page.screenshot({ path: `${args.out}/${where.replaceAll(/[ ,]+/g, '-')}.png` });
}
