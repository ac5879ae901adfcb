// What the page does when something fails, and how it recovers by itself: scenarios of page.mjs.
import { PATIENCE_MS, SIZES, announced, args, check, facts, hold, open, pause, shown, until } from './kit.mjs';

/** Records the states and status lines of the page from now on, without repetitions. */
function followed(page) {
  return page.evaluate(() => {
    const all = (window.followed = []);
    const look = () => {
      const line = `${document.getElementById('head').textContent} ${document.getElementById('text').textContent}`;
      const text = line.replace(/Trying again.*|\d+ s/g, '').trim();
      if (all.at(-1) !== text) all.push(text);
    };
    new MutationObserver(look).observe(document.querySelector('.line'), { childList: true, characterData: true, subtree: true });
  });
}

export async function lost(browser) {
  const page = await open(browser);
  await until(page, 'live');
  await page.waitForFunction(() => document.getElementById('spoken').textContent.startsWith('Live'), { timeout: PATIENCE_MS });
  check((await page.$eval('#people-number', (e) => e.textContent)) === '1', 'the number of viewers is shown');
  await announced(page);
  await followed(page);

  // The socket is lost and can't be opened again, while the picture continues.
  const cut = (on) =>
    page.evaluate((c) => {
      window.held.cut = c;
      if (c) window.held.sockets.at(-1).close();
    }, on);
  const heard = () => page.evaluate(() => window.announced);
  await cut(true);
  const before = (await facts(page)).frames;
  await page.waitForFunction(() => window.held.sockets.length > 5, { timeout: PATIENCE_MS }).catch(() => check(false, 'tries again'));
  const during = await facts(page);
  check(during.state === 'live' && during.frames > before, `the picture goes on: ${during.state}`);
  check(/control connection is lost/.test(during.text), `the loss is shown: ${during.text}`);
  check(!(await shown(page, 'people-shown')), 'how many watch is not known now');
  check((await heard()).length === 1, `the loss is announced once: ${JSON.stringify(await heard())}`);
  await cut(false);
  await page.waitForFunction(() => window.announced.length > 1, { timeout: PATIENCE_MS }).catch(() => check(false, 'the return is announced'));
  await pause(2500);
  const alone = await heard();
  check(alone.length === 2 && alone[1].startsWith('Live'), `and once: ${JSON.stringify(alone)}`);
  const lines = await page.evaluate(() => window.followed);
  check(lines.length === 2, `the line changes as often, and not with each attempt: ${JSON.stringify(lines)}`);
  check(await shown(page, 'people-shown'), 'the number of viewers is shown again');

  // The device no longer answers, and nothing arrives.
  await page.evaluate(() => (window.announced.length = 0));
  process.kill(Number(args.pid), 'SIGSTOP');
  try {
    await until(page, 'away');
    await pause(8000);
    // On a busy machine the page may first show and announce that the picture is frozen.
    const all = await heard();
    const told = all.filter((line, n) => n > 0 || !/^The picture is frozen/.test(line));
    check(told.length === 1 && /^Device unreachable/.test(told[0]), `announced once: ${JSON.stringify(all)}`);
    await page.evaluate(() => window.announced.splice(0, window.announced.length - 1));
    check(!(await shown(page, 'figures')) && !(await shown(page, 'people-shown')), 'no figure of before is shown');
  } finally {
    process.kill(Number(args.pid), 'SIGCONT');
  }
  await until(page, 'live', 'is live again when the device is back');
  await pause(2500);
  const whole = await heard();
  check(whole.length === 2 && whole[1].startsWith('Live'), `and that once: ${JSON.stringify(whole)}`);
  await page.close();
  return { alone, whole, lines };
}

export async function stopped(browser) {
  const page = await open(browser);
  await until(page, 'live');
  await page.waitForFunction(() => document.getElementById('spoken').textContent.startsWith('Live'), { timeout: PATIENCE_MS });
  await announced(page);
  process.kill(Number(args.pid), 'SIGTERM');
  const away = await until(page, 'away');
  check(/shutting down/.test(away?.text), `the reason is shown: ${away?.text}`);
  await pause(9000);
  const heard = await page.evaluate(() => window.announced);
  check(heard.length === 1 && /shutting down/.test(heard[0]), `once: ${JSON.stringify(heard)}`);
  const later = await facts(page);
  check(/shutting down/.test(later.text), `and stays: ${later.text}`);
  // The button starts the next attempt at once.
  await page.waitForFunction(() => /in [4-9] s/.test(window.peercam.facts.text), { timeout: PATIENCE_MS, polling: 50 });
  const sockets = await page.evaluate(() => {
    const { length } = window.held.sockets;
    document.getElementById('notice-act').click();
    return length;
  });
  await page.waitForFunction((n) => window.held.sockets.length > n, { timeout: 2000 }, sockets)
    .catch(() => check(false, '"Try now" tries now'));
  await page.close();
  return { away, heard };
}

/** Opens the page as a guest, with a new link or in another tab of the same browser. */
async function asGuest(context, fragment = '') {
  const page = await context.newPage();
  await page.evaluateOnNewDocument(hold);
  await page.setViewport({ width: SIZES.desktop[0], height: SIZES.desktop[1] });
  await page.goto(`${args.url}${fragment}`, { waitUntil: 'domcontentloaded' });
  return page;
}

async function guestLink(label) {
  const headers = { authorization: `Bearer ${process.env.PEERCAM_TOKEN}`, 'content-type': 'application/json' };
  const body = JSON.stringify({ label, hours: 1 });
  const made = await fetch(new URL('api/guests', args.url), { method: 'POST', headers, body }).then((r) => r.json());
  return `#guest=${made.secret}`;
}

export async function full(browser) {
  const [own, other] = [await browser.createBrowserContext(), await browser.createBrowserContext()];
  const first = await asGuest(own, await guestLink('Ann'));
  await until(first, 'live');

  const stranger = await asGuest(other, await guestLink('Bob'));
  const told = await until(stranger, 'full');
  const says = 'Too many people are watching (limit 1). The page connects by itself when somebody leaves.';
  check((await stranger.$eval('#notice-text', (e) => e.innerText)) === says, `it says so: ${told?.text}`);
  await pause(1000);
  check(!(await shown(stranger, 'notice-act')), 'there is nothing to press for who watches nowhere');

  // Another tab of the browser that watches.
  const second = await asGuest(own);
  await until(second, 'full');
  await second.waitForFunction(() => document.getElementById('notice-act').checkVisibility(), { timeout: PATIENCE_MS })
    .catch(() => check(false, 'another tab of the same browser is recognised'));
  check((await second.$eval('#notice-act', (b) => b.innerText)) === 'Watch here instead', 'and what can be done');
  const took = await second.evaluate(async () => {
    const start = performance.now();
    document.getElementById('notice-act').click();
    while (!window.peercam.facts.viewer) await new Promise((done) => setTimeout(done, 10));
    return performance.now() - start;
  });
  check(took < 1000, `it goes over within a second, not ${took} ms`);
  await until(second, 'live', 'the other tab is live');
  const gave = await until(first, 'elsewhere', 'the first one says where it goes on');
  await first.bringToFront();
  await first.click('#notice-act');
  await until(first, 'live', 'and can have it back');
  await until(second, 'elsewhere');
  await second.close();

  await stranger.bringToFront();
  await first.close();
  const left_ms = performance.now();
  const seen = await until(stranger, 'live', 'gets the place that became free');
  const waited_ms = performance.now() - left_ms;
  check(waited_ms < 4000, `as soon as it is free, not after ${waited_ms} ms`);
  return { told, took, gave, seen, waited_ms };
}
