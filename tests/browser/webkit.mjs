// The page in WebKit's engine as Debian builds it: without WebRTC, so the page says that it can't play, and shows everything else.
// Safari itself is not available here.
//
//   node webkit.mjs --url URL [--out DIR]
//
// As the owner, whose password is in PEERCAM_PASSWORD. Prints one JSON object, { failures: [sentence], ... }, as page.mjs does.
import { spawn } from 'node:child_process';
import { mkdir, writeFile } from 'node:fs/promises';
import { createServer } from 'node:net';
import { args, check, failures, pause } from './kit.mjs';

const PATIENCE_MS = 30_000;

async function eventually(test, sentence) {
  const end = performance.now() + PATIENCE_MS;
  let last = null;
  while (performance.now() < end) {
    last = await test().catch((e) => e.message);
    if (last === true) return;
    await pause(100);
  }
  check(false, `${sentence}: ${JSON.stringify(last)}`);
}

/** A free port of this machine. */
function freePort() {
  return new Promise((done) => {
    const server = createServer().listen(0, '127.0.0.1', () => {
      const { port } = server.address();
      server.close(() => done(port));
    });
  });
}

/** WebDriver (W3C), on a virtual screen. */
class Driver {
  #base;
  #child;
  #session = null;

  static async start() {
    const driver = new Driver();
    const port = await freePort();
    driver.#base = `http://127.0.0.1:${port}`;
    // Its own process group, which is ended with this process.
    driver.#child = spawn('xvfb-run', ['-a', 'dbus-run-session', 'WebKitWebDriver', `--port=${port}`], {
      detached: true,
      stdio: ['ignore', 'ignore', 'inherit'],
      env: { ...process.env, WEBKIT_DISABLE_COMPOSITING_MODE: '1', GSK_RENDERER: 'cairo', LIBGL_ALWAYS_SOFTWARE: '1' },
    });
    process.on('exit', () => driver.end());
    const capabilities = { alwaysMatch: { acceptInsecureCerts: true } };
    for (let n = 0; n < 100 && !driver.#session; n++) {
      const made = await driver.#ask('POST', '/session', { capabilities }).catch(() => null);
      driver.#session = made?.sessionId ?? null;
      if (!made) await pause(200);
    }
    if (!driver.#session) throw new Error('WebKitWebDriver does not start');
    return driver;
  }

  async #ask(method, path, body) {
    const reply = await fetch(this.#base + path, { method, body: body && JSON.stringify(body) });
    const { value } = await reply.json();
    if (!reply.ok) throw new Error(`${path}: ${value.message || value.error}`);
    return value;
  }

  go(url) {
    return this.#ask('POST', `/session/${this.#session}/url`, { url });
  }
  /** Runs a script in the page; the script ends by calling its last argument. */
  run(script, ...given) {
    return this.#ask('POST', `/session/${this.#session}/execute/async`, { script, args: given });
  }
  resize(width, height) {
    return this.#ask('POST', `/session/${this.#session}/window/rect`, { width, height });
  }
  async shoot(name) {
    if (!args.out) return;
    await mkdir(args.out, { recursive: true });
    const picture = await this.#ask('GET', `/session/${this.#session}/screenshot`);
    await writeFile(`${args.out}/${name}.png`, Buffer.from(picture, 'base64'));
  }
  end() {
    try {
      process.kill(-this.#child.pid);
    } catch {
      // The driver has ended.
    }
  }
}

const facts = (driver) => driver.run('arguments[0](window.peercam?.facts ?? null)');
/** Errors in the page's own scripts since recording started. */
const NOTE = `window.wrong = [];
  addEventListener('error', (e) => window.wrong.push(e.message));
  addEventListener('unhandledrejection', (e) => window.wrong.push(String(e.reason)));
  addEventListener('securitypolicyviolation', (e) => window.wrong.push(e.violatedDirective));
  arguments[0]()`;

const driver = await Driver.start();
try {
  await driver.resize(1280, 800);
  await driver.go(args.url);
  await eventually(async () => (await facts(driver))?.state === 'sign-in' || facts(driver), 'the door is shown');
  await driver.run(NOTE);
  await driver.shoot('webkit-door');
  await driver.run(
    `document.getElementById('password').value = arguments[0];
     document.getElementById('sign-in').requestSubmit(); arguments[1]()`,
    process.env.PEERCAM_PASSWORD,
  );
  await eventually(async () => (await facts(driver)).state === 'unsupported' || facts(driver), 'signed in, it says that it can not play');
  const { text } = await facts(driver);
  check(/no WebRTC/.test(text), `and why: ${text}`);
  await driver.shoot('webkit-page');
  for (const [button, panel] of [['settings', 'access'], ['info', 'details']]) {
    await driver.run(`document.getElementById(arguments[0]).click(); arguments[1]()`, button);
    await eventually(() => driver.run('arguments[1](document.getElementById(arguments[0]).checkVisibility())', panel), `${panel} opens`);
    await driver.run(`document.querySelectorAll('#access details').forEach((part) => (part.open = true)); arguments[0]()`);
    await pause(500);
    await driver.shoot(`webkit-${panel}`);
  }
  await driver.run(`document.getElementById('explain').click(); arguments[0]()`);
  await eventually(() => driver.run(`arguments[0](document.querySelectorAll('.means').length > 10)`), 'figures are explained');
  await driver.run(`document.dispatchEvent(new KeyboardEvent('keydown', { key: '?', bubbles: true })); arguments[0]()`);
  await eventually(() => driver.run(`arguments[0](document.getElementById('keys').open)`), 'the keyboard shortcuts are shown');
  await driver.shoot('webkit-keys');
  await driver.run(`document.getElementById('keys').close(); arguments[0]()`);
  // All files that are loaded on demand.
  const loaded = await driver.run(`const [done] = arguments;
    const page = [...document.scripts].map((s) => s.src).find((src) => src.endsWith('/page.js'));
    Promise.all(['access', 'forms', 'inquiry', 'why', 'explain', 'whep', 'languages'].map((name) => import(new URL(name + '.js', page))))
      .then((all) => done(all.length), (e) => done(String(e)))`);
  check(loaded === 7, `all scripts load: ${loaded}`);
  await driver.resize(390, 844);
  await pause(300);
  await driver.shoot('webkit-phone');
  const wrong = await driver.run('arguments[0](window.wrong)');
  check(wrong.length === 0, `no script fails: ${wrong}`);
  const agent = await driver.run('arguments[0](navigator.userAgent)');
  console.log(JSON.stringify({ browser: agent, failures, text }));
} finally {
  driver.end();
}
