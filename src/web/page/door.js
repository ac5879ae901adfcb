// Who is signed in, and therefore what the page shows: the picture, or the door (the forms for signing in). The forms are in
// forms.js, which is loaded only if needed.

import { ask } from './api.js';
import { keep, kept } from './kept.js';
import { english, t, told } from './language.js';

/** If access was given and lost again within this time, ms, trying once more is useless. */
const AGAIN_MS = 10_000;
/** A revoked link can be restored for some seconds. For how long, and how often, a page that used it checks for that, ms. */
const UNDONE_MS = 30_000;
const LOOK_MS = 3000;
const PAIR_ENDED = english('This pairing link no longer works: it was already used, is older than 15 minutes, or was replaced by a newer one.');
/** States in which the person is outside and may get access without doing anything on this page. */
const WAITING = ['sign-in', 'unpaired', 'link-ended'];

/** The fragment of a pairing or guest link. */
const SECRET = /^#(pair|guest)=([\w-]{1,128})$/;

/** The secret of a pairing or guest link, `{ kind, secret }`, or `null`. */
export function secretOf(fragment) {
  const found = SECRET.exec(fragment);
  return found && { kind: found[1], secret: found[2] };
}

/**
 * What to do next, from `session` (of /api/session, `null` if there was no answer), the link's `secret`, and whether this
 * browser got access with a guest link (`guest`): 'watch', 'pair' or 'sign-in' (forms), 'unpaired' (how to get a link),
 * 'link-ended' (that of a guest), or 'guest' (exchange the secret, and ask again).
 */
export function next(session, secret, guest) {
  if (secret?.kind === 'pair') return 'pair';
  switch (session?.state) {
    case 'unpaired':
      return 'unpaired';
    case 'signed-out':
      return secret ? 'guest' : guest ? 'link-ended' : 'sign-in';
    case 'signed-in':
      // Somebody who may do more than watch keeps that: they are only trying the guest link.
      return secret && session.role === 'guest' ? 'guest' : 'watch';
  }
  return 'watch'; // There is no answer: the session says so, and keeps trying.
}

export class Door {
  #hooks;
  #secret = null;
  #forms = null;
  #denied_ms = -Infinity;
  #signingOut = false;
  /** Whether this browser last got access with a guest link. */
  #guest = kept(() => localStorage, 'guest') !== null;

  /** The answer of /api/session: { state, role, name, privacy, version, secure }; `null` before it. */
  me = null;
  /** 'watch', 'pair', 'pair-ended', 'sign-in', 'unpaired' or 'link-ended'; `null` until it is decided. */
  shown = null;

  /** `watch()` starts and `leave()` ends the live picture; `changed()` is called when `me` or `shown` changed. */
  constructor({ watch, leave, changed }) {
    this.#hooks = { watch, leave, changed };
    addEventListener('hashchange', () => this.#takeSecret() && this.open());
    this.#takeSecret();
  }

  /**
   * Starts without waiting for /api/session: usually the browser has access, and the request would only cost time. If it has none,
   * the WebSocket is refused, and the answer of /api/session says what to show.
   */
  async open() {
    if (this.#secret?.kind === 'pair') return this.#pairing();
    if (!this.#secret) this.#hooks.watch();
    const { body } = await ask('GET', 'api/session');
    if (body?.state) this.me = body;
    await this.#go(null);
  }

  /** Checks the pairing link before the person has to think of a password. */
  async #pairing() {
    const { secret } = this.#secret;
    const [{ body }, link] = await Promise.all([ask('GET', 'api/session'), ask('POST', 'api/pair', { secret })]);
    if (this.#secret?.secret !== secret) return; // there is a newer link
    if (body?.state) this.me = body;
    if (link.status === 401) return this.#pairEnded();
    await this.#show('pair', link.ok ? null : link.message);
  }

  async #pairEnded() {
    this.#secret = null;
    if (this.me?.state === 'unpaired') return this.#show('unpaired', t(PAIR_ENDED));
    await this.#show('pair-ended');
  }

  /** The daemon no longer gives access. `reason`: one sentence, or `null` if there was no access before. */
  async denied(reason) {
    if (this.#signingOut || ['pair', 'pair-ended', 'sign-in', 'link-ended'].includes(this.shown)) return;
    const { body } = await ask('GET', 'api/session');
    this.me = body?.state ? body : { state: 'signed-out', role: null };
    const before_ms = this.#denied_ms;
    this.#denied_ms = performance.now();
    // Another tab with the same cookie has signed in again: leave the door.
    if (this.me.state === 'signed-in' && this.#denied_ms - before_ms < AGAIN_MS) return this.#show('sign-in', reason);
    await this.#go(reason);
    if (this.shown === 'link-ended') this.#lookAgain(performance.now() + UNDONE_MS);
  }

  #lookAgain(until_ms) {
    setTimeout(async () => {
      if (this.shown !== 'link-ended' || performance.now() > until_ms) return;
      await this.look();
      this.#lookAgain(until_ms);
    }, LOOK_MS);
  }

  /** Checks whether access was given in the meantime, by another tab or device. */
  async look() {
    if (!WAITING.includes(this.shown)) return;
    const { body } = await ask('GET', 'api/session');
    if (!body?.state || !WAITING.includes(this.shown)) return;
    this.me = body;
    const step = next(body, null, this.#guest);
    if (step === 'watch') this.#enter();
    else if (step !== this.shown) await this.#show(step);
  }

  /** Signs out, here or on all devices; returns a sentence if that fails. */
  async signOut(everywhere) {
    this.#signingOut = true;
    const { ok, status, message } = await ask('POST', 'api/logout', { everywhere });
    this.#signingOut = false;
    if (!ok && status !== 401) return told(message);
    this.me = { state: 'signed-out', role: null };
    this.#remember(false);
    await this.#go(everywhere ? t('You have signed out on all devices.') : t('You have signed out.'));
    return null;
  }

  async #go(reason) {
    const step = next(this.me, this.#secret, this.#guest);
    if (step === 'guest') return this.#exchange();
    this.#secret = null;
    if (step === 'watch') return this.#enter();
    await this.#show(step, step === 'link-ended' ? null : reason);
  }

  async #exchange() {
    const { secret } = this.#secret;
    this.#secret = null;
    const { ok, status, body, message } = await ask('POST', 'api/guest', { secret });
    if (ok) {
      this.me = body;
      return this.#enter();
    }
    if (this.me?.state === 'signed-in') return this.#enter();
    if (status !== 401) return this.#show('sign-in', message);
    this.#remember(true);
    await this.#show('link-ended');
  }

  /** Guests whose link has ended read that, also after a reload, instead of being asked for a password. */
  #remember(guest) {
    this.#guest = guest;
    keep(() => localStorage, 'guest', guest ? 'yes' : null);
  }

  #enter() {
    if (this.me?.state === 'signed-in') this.#remember(this.me.role === 'guest');
    this.#forms?.hide();
    this.shown = 'watch';
    this.#hooks.watch();
    this.#hooks.changed();
  }

  async #show(what, reason = null) {
    // The answer to an earlier request may arrive late: it does not remove the reason.
    if (what === this.shown && !reason && !this.#secret) return;
    this.#hooks.leave();
    this.shown = what;
    const secret = this.#secret?.secret;
    this.#secret = null;
    this.#hooks.changed();
    if (!this.#forms) {
      const { Forms } = await import('./forms.js');
      this.#forms ??= new Forms({
        entered: (me) => {
          this.me = me;
          this.#enter();
        },
        pairEnded: () => this.#pairEnded(),
        instead: () => {
          if (this.me?.state === 'signed-in') return this.#enter();
          this.#remember(false);
          this.#show('sign-in');
        },
      });
    }
    if (this.shown === what) this.#forms.show(what, { reason, secret, state: this.me?.state });
  }

  /** Removes the secret from the address bar, and so from the history, at once: bystanders must not see it. */
  #takeSecret() {
    const secret = secretOf(location.hash);
    if (secret) {
      history.replaceState(history.state, '', location.pathname + location.search);
      this.#secret = secret;
    }
    return secret !== null;
  }
}
