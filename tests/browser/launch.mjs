// How the tests start Debian's browsers.
import puppeteer from 'puppeteer-core';

const BROWSERS = {
  chromium: {
    browser: 'chrome',
    executablePath: '/usr/bin/chromium',
    // Its end of a pipe closes with this process, however that ends, and then the browser ends too.
    pipe: true,
    args: [
      // As root there is no sandbox to be had, and nothing but our own page is opened.
      '--no-sandbox', '--disable-gpu', '--disable-quic', '--no-first-run', '--disable-background-networking',
      '--disable-component-update', '--disable-sync',
      ...(process.env.CHROMIUM_FLAGS?.split(' ') ?? []),
    ],
  },
  firefox: {
    browser: 'firefox',
    executablePath: '/usr/bin/firefox-esr',
    extraPrefsFirefox: {
      // Debian's Firefox has no OpenH264 plug-in; these let WebRTC decode by the system's libavcodec.
      'media.webrtc.hw.h264.enabled': true,
      'gfx.blacklist.webrtc.hw.acceleration.h264': 1,
      'media.peerconnection.ice.obfuscate_host_addresses': false,
      // Whole microseconds, for the times of frames.
      'privacy.reduceTimerPrecision': false,
    },
  },
};

export const NAMES = Object.keys(BROWSERS);

/** Starts one of NAMES without a window, in a profile of its own. DUMPIO=1 shows what it says itself. */
export function launch(name) {
  return puppeteer.launch({
    ...BROWSERS[name],
    headless: true,
    acceptInsecureCerts: true, // the device makes its own
    dumpio: !!process.env.DUMPIO,
    handleSIGTERM: false, // whoever called closes the browser
    protocolTimeout: 100_000,
  });
}

/** Signs a page's browser in at a daemon, with the password in PEERCAM_PASSWORD, if it isn't yet; where none is given, not. */
export async function signIn(page, url) {
  const password = process.env.PEERCAM_PASSWORD;
  if (!password) return;
  await page.goto(new URL('healthz', url).href); // any text of ours, also below a path, that runs nothing
  const failed = await page.evaluate(async (body) => {
    const session = await (await fetch('api/session')).json();
    if (session.state === 'signed-in') return null;
    const reply = await fetch('api/login', { method: 'POST', headers: { 'content-type': 'application/json' }, body });
    return reply.ok ? null : `${reply.status}: ${await reply.text()}`;
  }, JSON.stringify({ password }));
  if (failed) throw new Error(`not signed in: ${failed}`);
}
