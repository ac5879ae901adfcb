// The page with several cameras: a scenario of page.mjs. The daemon has three test pictures, "front" ("Front door"), "back" and
// "yard", which have different sizes.
import { PATIENCE_MS, SCHEMES, SIZES, announced, check, facts, inspect, look, open, pause, unfold } from './kit.mjs';
import { noSocket } from './no-socket.mjs';

/** The width of each camera's picture. */
const FULL = [640, 480, 320];

/** Waits for an expression in the page. */
async function reach(page, code, sentence) {
  const reached = await page.waitForFunction(code, { timeout: PATIENCE_MS, polling: 50 }).catch(() => null);
  if (reached === null) check(false, `${sentence}: ${JSON.stringify(await facts(page).catch(() => null))}`);
}

const ALL_LIVE = 'window.peercam.facts.cameras.length === 3 && window.peercam.facts.cameras.every((c) => c.state === "live" && c.frames > 5)';
/** Whether each picture is in the smallest size that its tile needs: enlarged 1.5 times at most. */
const AS_NEEDED = `window.peercam.facts.cameras.every(({ name, width }, n) => {
  const tile = document.querySelector('[data-camera="' + name + '"] video').clientWidth * devicePixelRatio;
  const [full, enough] = [[${FULL}][n], (pixels) => pixels * 1.5 >= tile];
  return (width === full || enough(width)) && (width === full / 4 || !enough(width / 2));
})`;
/** What the daemon sends of each camera to the only viewer: { front: { rung, paused }, ... }. */
const SENT = `fetch('api/status').then((r) => r.json()).then((s) =>
  Object.fromEntries(s.viewers.list[0].cameras.map(({ camera, rung, paused }) => [camera, { rung, paused }])))`;
const sent = (page, test, sentence) => reach(page, `(async () => { const of = await ${SENT}; return ${test}; })()`, sentence);

const names = (page) => page.$$eval('.tile-button', (all) => all.map((b) => b.getAttribute('aria-label')));
const focused = (page) => page.evaluate(() => document.activeElement.closest('.tile')?.dataset.camera ?? document.activeElement.id);

/** Whether the page is hidden, as far as it can tell. */
function hide(page, hidden) {
  return page.evaluate((h) => {
    if (h) Object.defineProperty(document, 'hidden', { value: true, configurable: true });
    else delete document.hidden;
    document.dispatchEvent(new Event('visibilitychange'));
  }, hidden);
}

/** Checks that the tiles are within the stage, in rows, without overlap. */
async function apart(page, where) {
  const boxes = await page.$$eval('.tile', (all) => all.map((t) => t.getBoundingClientRect().toJSON()));
  const stage = await page.$eval('.stage', (s) => s.getBoundingClientRect().toJSON());
  const within = (b) => b.left >= stage.left - 1 && b.right <= stage.right + 1 && b.top >= stage.top - 1 && b.bottom <= stage.bottom + 1;
  check(boxes.every(within), `${where}: all tiles are on the stage: ${JSON.stringify([boxes, stage])}`);
  const over = (a, b) => a.left < b.right && b.left < a.right && a.top < b.bottom && b.top < a.bottom;
  check(boxes.every((a, n) => boxes.slice(n + 1).every((b) => !over(a, b))), `${where}: no tile lies on another`);
}

/** The owner closes one camera and opens it again, and makes a link for it alone. */
async function panel(page) {
  await page.keyboard.press('s');
  await unfold(page);
  await page.waitForSelector('#privacy-cameras button[data-camera="back"]', { visible: true, timeout: PATIENCE_MS });
  check((await page.$$eval('#privacy-cameras strong', (all) => all.map((s) => s.textContent).join())) === 'Front door,Back,Yard', 'a switch for each camera');
  for (const size of Object.keys(SIZES)) {
    for (const scheme of SCHEMES) {
      await look(page, size, scheme);
      await inspect(page, `panel, ${size} ${scheme}`);
    }
  }
  await look(page, 'desktop', 'light');
  const state = (name) => `window.peercam.facts.cameras.find((c) => c.name === "${name}").state`;
  await page.click('#privacy-cameras button[data-camera="back"]');
  await reach(page, `${state('back')} === 'private' && ${state('front')} === 'live'`, 'one camera is closed, the others go on');
  check((await page.$eval('#privacy', (b) => b.getAttribute('aria-checked'))) === 'true', 'the switch for all stands as it was');
  const [, back] = await names(page);
  check(!/live/.test(back), `its tile says so: ${back}`);
  await page.click('#privacy-cameras button[data-camera="back"]');
  await reach(page, `${state('back')} === 'live'`, 'and open again');

  // Off again, and on with the button next to the message.
  await page.click('#privacy-cameras button[data-camera="back"]');
  await page.click('[data-camera="back"] .tile-button');
  const says = 'document.querySelector(".line").innerText.includes("You switched camera and microphone off. Switch on")';
  await reach(page, `window.peercam.facts.enlarged === 'back' && ${says}`, 'enlarged, it says so in the line, with what undoes it');
  await inspect(page, 'one of several is private');
  await page.click('#line-act');
  await reach(page, `${state('back')} === 'live' && document.getElementById('line-act').hidden`, 'which opens this one');
  await page.click('[data-camera="back"] .tile-button');
  await reach(page, 'window.peercam.facts.enlarged === null', 'and all are seen again');

  for (const name of ['front', 'yard']) await page.click(`#guest-cameras input[value="${name}"]`);
  await page.$eval('#guest', (form) => form.requestSubmit());
  await page.waitForSelector('#guest-made', { visible: true, timeout: PATIENCE_MS });
  await reach(page, 'document.querySelector("#guests span").textContent.endsWith(", Back")', 'the list says for which camera a link is');
  const told = await page.evaluate(() => fetch('api/guests').then((r) => r.json()));
  check(JSON.stringify(told[0].cameras) === '["back"]', `and so does the device: ${JSON.stringify(told)}`);
  await page.click('#guests button');
  await page.keyboard.press('Escape');
}

export async function cameras(browser) {
  const page = await open(browser);
  await reach(page, ALL_LIVE, 'three cameras are live');
  const first = await facts(page);
  await reach(page, `window.peercam.facts.cameras[0].width === 640 && ${AS_NEEDED}`, 'side by side they are as large as their tiles need');
  await reach(page, 'document.querySelector(".tile-watchers").textContent === "1"', 'the number of viewers of each is shown');
  const said = await names(page);
  check(said.join('; ') === 'Front door, live, 1 watching; Back, live, 1 watching; Yard, live, 1 watching', `tiles are buttons with names: ${said.join('; ')}`);
  check((await page.title()) === '● live — peercam', `no camera is in the title: ${await page.title()}`);
  for (const size of Object.keys(SIZES)) {
    for (const scheme of SCHEMES) {
      await look(page, size, scheme);
      await apart(page, `${size} ${scheme}`);
      await reach(page, AS_NEEDED, `${size} ${scheme}: the pictures are as large as their tiles need`);
      await inspect(page, `${size} ${scheme}`);
    }
  }
  await look(page, 'desktop', 'light');

  // With keys: tiles come first, arrows go from one to the next.
  await page.keyboard.press('Tab');
  check((await focused(page)) === 'front', `the first tile is the first: ${await focused(page)}`);
  await page.keyboard.press('ArrowRight');
  check((await focused(page)) === 'back', 'an arrow leads to the next');
  await page.keyboard.press('Enter');
  await reach(page, 'window.peercam.facts.enlarged === "back" && window.peercam.facts.width === 480', 'Enter enlarges it, in all its size');
  await reach(page, 'document.title === "● live — Back — peercam"', 'the title names it');
  check((await page.$$eval('.tile-button', (all) => all.map((b) => b.getAttribute('aria-pressed')))).join() === 'false,true,false', 'its button is pressed');
  check((await page.$$eval('.tile-button', (all) => all.filter((b) => b.checkVisibility({ visibilityProperty: true })).length)) === 1, 'the others are not seen');
  await inspect(page, 'enlarged');
  await sent(page, 'of.front.paused && of.yard.paused && !of.back.paused', 'what is behind it is not sent after a while');
  check((await facts(page)).state === 'live', 'and nobody calls that frozen');
  await page.keyboard.press('ArrowRight');
  await reach(page, 'window.peercam.facts.enlarged === "yard" && window.peercam.facts.width === 320', 'an arrow enlarges the next one');
  await sent(page, '!of.yard.paused', 'which is sent again');
  await page.keyboard.press('Escape');
  await reach(page, 'window.peercam.facts.enlarged === null', 'Escape brings all back');
  const frames = (await facts(page)).cameras.map((c) => c.frames);
  await reach(page, `window.peercam.facts.cameras.every((c, n) => c.state === 'live' && c.frames > [${frames}][n] + 5)`, 'all go on');
  check((await focused(page)) === 'yard', 'the focus stays where it was');
  await page.keyboard.press('1');
  await reach(page, 'window.peercam.facts.enlarged === "front"', 'a digit enlarges');
  await page.keyboard.press('1');
  await reach(page, 'window.peercam.facts.enlarged === null', 'and brings back');

  // With a click, and a double click.
  const [, back] = await page.$$('.tile-button');
  await back.click();
  await reach(page, 'window.peercam.facts.enlarged === "back"', 'a press enlarges');
  await back.click();
  await reach(page, 'window.peercam.facts.enlarged === null', 'the same brings back');
  await pause(600); // else the next click would count as part of a double click
  await back.click({ count: 2 });
  await reach(page, 'window.peercam.facts.enlarged === "back" && document.fullscreenElement', 'two fill the screen');
  await page.keyboard.press('f');
  await reach(page, '!document.fullscreenElement', 'f leaves it');
  check((await facts(page)).generation === 1 && (await facts(page)).viewer === first.viewer, 'all of that by the same viewer');

  // One camera is gone: its tile says so, and one sentence is announced.
  await page.keyboard.press('Escape');
  await announced(page);
  await page.evaluate(() => {
    window.held.alter = (m) => m.type === 'status' && Object.assign(m.cameras[2].video, { state: 'gone', reason: 'the camera was unplugged' });
  });
  await reach(page, 'document.querySelectorAll(".tile-slate")[2].textContent === "The camera was unplugged. The picture comes back by itself."', 'its tile says why');
  await reach(page, 'document.getElementById("head").textContent === "2 of 3 live"', 'so does the line');
  await pause(3000);
  await page.evaluate(() => (window.held.alter = null));
  await reach(page, 'document.getElementById("head").textContent === "Live"', 'until it is back');
  await pause(2000);
  const told = await page.evaluate(() => window.announced);
  check(told.length === 2 && /^Yard: Camera gone\. The camera was unplugged\./.test(told[0]) && /^Yard: Live\./.test(told[1]), `each is read out once, by its name: ${JSON.stringify(told)}`);

  // A page in a hidden tab.
  await hide(page, true);
  await sent(page, 'of.front.paused && of.back.paused && of.yard.paused', 'a hidden page is sent no pictures');
  await hide(page, false);
  await sent(page, '!of.front.paused && !of.back.paused && !of.yard.paused', 'until it is seen again');
  await reach(page, ALL_LIVE, 'then all are live again');
  check((await facts(page)).generation === 1, 'and nothing was restarted');

  await panel(page);
  check((await facts(page)).generation === 1, 'by the same viewer');

  // The next visit starts as this one ended, with one offer.
  await page.keyboard.press('2');
  await page.reload({ waitUntil: 'domcontentloaded' });
  await reach(page, 'window.peercam?.facts.enlarged === "back" && window.peercam.facts.width === 480 && window.peercam.facts.state === "live"', 'what was enlarged still is');
  const offers = await page.evaluate(() => window.held.connections.length);
  check(offers === 1, `the first connection is the right one: ${offers}`);
  await page.close();

  const requests = await open(browser, noSocket);
  await reach(requests, 'window.peercam?.facts.way === "requests" && window.peercam.facts.enlarged === "back" && window.peercam.facts.width === 480', 'the same by requests');
  await requests.keyboard.press('Escape');
  await reach(requests, ALL_LIVE, 'all three by requests');
  await requests.close();
  return { said, told, first };
}
