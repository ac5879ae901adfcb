// How the tests start Debian's browsers.
import puppeteer from 'puppeteer-core';

const BROWSERS = {
  chromium: {
    browser: 'chrome',
    executablePath: '/usr/bin/chromium',
    // The browser's end of a pipe closes when this process ends, in whatever way, and then the browser ends too.
    pipe: true,
    args: [
      // As root the sandbox is not available, and only our own page is opened.
      '--no-sandbox', '--disable-gpu', '--disable-quic', '--no-first-run', '--disable-background-networking',
      '--disable-component-update', '--disable-sync',
      ...(process.env.CHROMIUM_FLAGS?.split(' ') ?? []),
    ],
  },
  firefox: {
    browser: 'firefox',
    executablePath: '/usr/bin/firefox-esr',
    extraPrefsFirefox: {
      // Debian's Firefox has no OpenH264 plug-in; these preferences let WebRTC decode with the system's libavcodec.
      'media.webrtc.hw.h264.enabled': true,
      'gfx.blacklist.webrtc.hw.acceleration.h264': 1,
      'media.peerconnection.ice.obfuscate_host_addresses': false,
      // Microsecond resolution, for the times of frames.
      'privacy.reduceTimerPrecision': false,
    },
  },
};

export const NAMES = Object.keys(BROWSERS);

/** Starts one of NAMES without a window, with its own profile. DUMPIO=1 shows the browser's own output. */
export function launch(name) {
  return puppeteer.launch({
    ...BROWSERS[name],
    headless: true,
    acceptInsecureCerts: true, // the device makes its own certificate
    dumpio: !!process.env.DUMPIO,
    handleSIGTERM: false, // the caller closes the browser
    protocolTimeout: 100_000,
  });
}

/** Signs a page's browser in at a daemon with the password in PEERCAM_PASSWORD, if there is one and it isn't signed in yet. */
export async function signIn(page, url) {
  const password = process.env.PEERCAM_PASSWORD;
  if (!password) return;
  await page.goto(new URL('healthz', url).href); // a response of the daemon, also below a path, that runs no scripts
  const failed = await page.evaluate(async (body) => {
    const session = await (await fetch('api/session')).json();
    if (session.state === 'signed-in') return null;
    const reply = await fetch('api/login', { method: 'POST', headers: { 'content-type': 'application/json' }, body });
    return reply.ok ? null : `${reply.status}: ${await reply.text()}`;
  }, JSON.stringify({ password }));
  if (failed) throw new Error(`not signed in: ${failed}`);
}
