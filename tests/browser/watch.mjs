// Drives one page of one real browser for a test program: `node watch.mjs chromium|firefox`.
//
// Each line of standard input is a JSON command, {"do": NAME, ...}; each gets one line of JSON on standard output:
// {"ok": FACTS} or {"error": "sentence"}. It ends, and the browser with it, when standard input does or at SIGTERM.
//
//   open {url}                        signs in (PEERCAM_PASSWORD) and loads the page
//   visit {url}                       loads any page
//   watch {seconds, sound?}           examines each frame presented in this time, and listens; see probe.js
//   frames {count, within}            waits for more frames; ms, or null if they did not come within this many seconds
//   state {}                          the page's text, its own facts, its connections
//   click {selector}                  a person's click
//   keyframe {seconds}                makes the browser send a PLI; what was decoded within this many seconds
//   bars {at} / colour {x, y}         colours in the picture, positions as fractions of its size
//   eval {code}                       an expression in the page
//   wait {code, within}               until the expression is truthy; ms, or null
//   axe {}                            accessibility problems: [{id, impact, help, nodes}]
//   emulate {width, height, dark?}    the window's size, and the preferred colours
//   screenshot {path}
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { existsSync } from 'node:fs';
import { mkdtemp, readFile, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import axe from 'axe-core';
import { NAMES, launch, signIn } from './launch.mjs';

const name = process.argv[2];
if (!NAMES.includes(name)) throw new Error(`usage: watch.mjs ${NAMES.join('|')}`);

/**
 * Starts a sound server with a sink that discards the sound in real time. Firefox needs it: without any sound device it keeps an
 * AudioContext suspended. Chromium has such a sink built in, with steadier timing. It runs at the rate at which probe.js listens:
 * otherwise Firefox puts a buffer between the stream and the AudioContext, which is not part of what a person hears.
 */
async function soundServer() {
  const home = await mkdtemp(join(tmpdir(), 'peercam-sound-'));
  const socket = join(home, 'socket');
  const server = spawn('pulseaudio', [
    '-n', '--daemonize=no', '--exit-idle-time=-1', '--use-pid-file=no', '--log-level=error',
    '-L', `module-native-protocol-unix socket=${socket} auth-anonymous=1`, '-L', 'module-null-sink sink_name=nothing rate=48000',
  ], { env: { ...process.env, XDG_RUNTIME_DIR: home, HOME: home }, stdio: 'ignore' });
  process.env.PULSE_SERVER = `unix:${socket}`;
  // The length of the buffer that the browser requests. On a busy machine a shorter one runs empty again and again, and sound
  // that arrives meanwhile waits; with a longer one sound is fetched earlier than it is heard.
  process.env.PULSE_LATENCY_MSEC = '100';
  // A browser that finds no server at its start does not search again.
  for (let n = 0; !existsSync(socket); n++) {
    if (n === 100) throw new Error('pulseaudio does not start');
    await new Promise((resolve) => setTimeout(resolve, 50));
  }
  return async () => {
    server.kill();
    if (server.exitCode === null && server.signalCode === null) await once(server, 'exit');
    await rm(home, { recursive: true, force: true });
  };
}

const silence = name === 'firefox' ? await soundServer() : async () => {};
const browser = await launch(name);
browser.on('disconnected', () => {
  process.stderr.write(`${name} ended by itself\n`);
  process.exit(1);
});
const page = await browser.newPage();
const messages = [];
page.on('console', (m) => messages.push(`${m.type()}: ${m.text()}`));
page.on('pageerror', (e) => messages.push(`uncaught: ${e.message}`));
const probe = await readFile(new URL('probe.js', import.meta.url), 'utf8');
await page.evaluateOnNewDocument(probe);

async function polled(code, within) {
  const start = performance.now();
  for (;;) {
    // The page may be loading a new document.
    if (await page.evaluate(code).catch(() => false)) return performance.now() - start;
    if (performance.now() - start > within * 1000) return null;
    await new Promise((resolve) => setTimeout(resolve, 50));
  }
}

/** The script that requests keyframes; see probe.js. */
const WORKER = `onrtctransform = ({ transformer }) => {
  transformer.readable.pipeTo(transformer.writable);
  onmessage = () => transformer.sendKeyFrameRequest().then(() => postMessage('sent'), (e) => postMessage(String(e)));
  postMessage('ready');
};`;

/** While `act` runs, the page's server seems to have a script of the test at `path`. */
async function answering(path, body, act) {
  const answer = (request) => new URL(request.url()).pathname === path
    ? request.respond({ contentType: 'text/javascript', body }) : request.continue();
  await page.setRequestInterception(true);
  page.on('request', answer);
  try {
    return await act();
  } finally {
    page.off('request', answer);
    await page.setRequestInterception(false);
  }
}

const commands = {
  open: async ({ url }) => {
    await signIn(page, url);
    const response = await page.goto(url, { waitUntil: 'domcontentloaded', timeout: 20_000 });
    return { status: response?.status() ?? null, version: await browser.version() };
  },
  visit: async ({ url }) => void (await page.goto(url, { waitUntil: 'domcontentloaded', timeout: 20_000 })),
  watch: ({ seconds, sound = false }) => page.evaluate((n, s) => window.probe.watch(n, s), seconds, sound),
  frames: ({ count, within }) => page.evaluate((n, s) => window.probe.moreFrames(n, s), count, within),
  state: async () => ({ ...(await page.evaluate(() => window.probe.state())), messages }),
  click: ({ selector }) => page.click(selector),
  keyframe: ({ seconds }) => answering('/keyframe-worker.js', WORKER, () =>
    page.evaluate((s) => window.probe.requestKeyframe('/keyframe-worker.js', s), seconds)),
  bars: ({ at }) => page.evaluate((y) => window.probe.bars(y), at),
  colour: ({ x, y }) => page.evaluate((a, b) => window.probe.colour(a, b), x, y),
  eval: ({ code }) => page.evaluate(code),
  wait: ({ code, within }) => polled(code, within),
  axe: async () => {
    await page.evaluate(axe.source);
    const { violations } = await page.evaluate(() => window.axe.run(document));
    return violations.map(({ id, impact, help, nodes }) => ({ id, impact, help, nodes: nodes.map((n) => n.html) }));
  },
  emulate: async ({ width, height, dark }) => {
    await page.setViewport({ width, height });
    if (dark !== undefined) {
      await page.emulateMediaFeatures([{ name: 'prefers-color-scheme', value: dark ? 'dark' : 'light' }]);
    }
  },
  screenshot: async ({ path }) => void (await page.screenshot({ path })),
};

const reply = (message) => process.stdout.write(`${JSON.stringify(message)}\n`);
process.once('SIGTERM', () => process.stdin.destroy());
reply({ ok: { ready: name } });
for await (const line of createInterface({ input: process.stdin })) {
  try {
    const command = JSON.parse(line);
    if (!commands[command.do]) throw new Error(`no command ${command.do}`);
    reply({ ok: (await commands[command.do](command)) ?? null });
  } catch (error) {
    reply({ error: `${error.message}`.split('\n')[0], messages });
  }
}
browser.removeAllListeners('disconnected');
await browser.close();
await silence();
