// The settings panel: who is watching and who may watch, the certificate, options of this browser, signing out. The privacy switch is
// in privacy.js, guest links are in guests.js, passwords in passwords.js. This module is loaded when the panel is first opened.

import { sentence } from './api.js';
import { $ } from './dom.js';
import { Guests } from './guests.js';
import { keep, kept } from './kept.js';
import { t, told } from './language.js';
import { Passwords } from './passwords.js';
import { Privacy } from './privacy.js';
import { bitrate, since, watchers } from './words.js';

export class Access {
  #signOut;
  #guests = new Guests();
  #passwords = new Passwords(() => this.#guests.load());
  #privacy;
  #list = '';

  /** `awake` of awake.js; `setPrivacy` of page.js; `signOut(everywhere)` returns a sentence if it fails. */
  constructor({ awake, setPrivacy, signOut }) {
    this.#signOut = signOut;
    this.#privacy = new Privacy(setPrivacy);
    $('awake').hidden = !awake.possible;
    $('awake-missing').hidden = awake.possible;
    const tell = () => $('awake').setAttribute('aria-checked', String(awake.wanted));
    $('awake').addEventListener('click', () => {
      awake.want(!awake.wanted);
      tell();
    });
    tell();
    $('language').addEventListener('change', () => {
      keep(() => localStorage, 'language', $('language').value || null);
      location.reload();
    });
    $('sign-out').addEventListener('click', () => this.#leave(false));
    $('sign-out-everywhere').addEventListener('click', () => this.#leave(true));
  }

  /** The panel was opened, by `me` of /api/session. */
  opened(me) {
    for (const part of document.querySelectorAll('#access [data-for]')) {
      part.hidden = !part.dataset.for.split(' ').includes(me?.role);
    }
    $('session-name').textContent = told(me?.name ?? me?.role) ?? t('somebody');
    $('session-error').textContent = '';
    this.#privacy.opened(me);
    if (me?.role === 'owner') {
      this.#guests.load();
      this.#passwords.load();
    }
    this.#certificate(me);
    this.#languages();
  }

  /** Lists the available languages by their own names, and selects the stored choice. */
  async #languages() {
    const { LANGUAGES } = await import('./languages.js').catch(() => ({ LANGUAGES: [] }));
    const all = [{ code: 'en', name: 'English' }, ...LANGUAGES];
    const named = all.map(({ code, name }) => Object.assign(new Option(name, code), { lang: code }));
    $('language').replaceChildren(new Option(t('same as the browser'), ''), ...named);
    const wish = kept(() => localStorage, 'language');
    $('language').value = named.some(({ value }) => value === wish) ? wish : '';
  }

  /**
   * Over plain HTTP there is no certificate. The authority is offered only if the device made one, and not to guests: trusting it is
   * worthwhile only for people who come often.
   */
  #certificate(me) {
    const { kind, fingerprint } = me?.certificate ?? {};
    $('trust').hidden = location.protocol !== 'https:' || !fingerprint;
    $('fingerprint-of').textContent = kind === 'device' ? t("SHA-256 of this device's certificate authority:") : t('SHA-256 of the certificate:');
    $('fingerprint').textContent = fingerprint ?? '';
    $('authority').hidden = kind !== 'device' || me?.role === 'guest';
  }

  /** The panel was closed: nothing that was typed or created stays in the document. */
  closed() {
    this.#privacy.closed();
    this.#passwords.closed();
    this.#guests.closed();
  }

  /** Draws the status; `viewer` is the id of this page's own viewer. Called while the panel is open. */
  draw(status, viewer) {
    const problem = status?.state_problem ? sentence(told(status.state_problem)) : '';
    if ($('state-problem').textContent !== problem) $('state-problem').textContent = problem;
    const { count, list } = status?.viewers ?? {};
    const words = watchers(count) ?? t('unknown while the device does not answer');
    const text = words[0].toUpperCase() + words.slice(1);
    if ($('people-count').textContent !== text) $('people-count').textContent = text;
    const { cameras = [] } = status ?? {};
    const labels = new Map(cameras.length > 1 ? cameras.map(({ name, label }) => [name, label]) : []);
    this.#people(list ?? [], (status?.clock.unix_ms ?? 0) / 1000, labels, viewer);
    this.#privacy.draw(status);
    this.#guests.draw(cameras);
  }

  /** `labels`: the cameras' labels by name, if there are several cameras. */
  #people(list, now_unix_s, labels, viewer) {
    const lines = list.map((v) => [
      told(v.who ?? v.name),
      [
        viewer?.startsWith(v.id) && t('this browser'),
        v.address,
        since(v.since_s, now_unix_s),
        ...watched(v, labels),
        bitrate(v.rate_bps),
        v.link && t('link {rate}', { rate: bitrate(v.link.estimate_bps) }),
        v.sound && t('with sound'),
      ].filter(Boolean).join(', '),
    ]);
    const text = JSON.stringify(lines);
    if (text === this.#list) return;
    this.#list = text;
    $('people').replaceChildren(...lines.map(([who, rest]) => item(who, rest)));
  }

  async #leave(everywhere) {
    $('session-error').textContent = (await this.#signOut(everywhere)) ?? '';
  }
}

/** What somebody watches: which cameras, if there are several, in which size, unless it is the full size, and whether pictures are left out. */
function watched({ rung, cameras = [{ rung }] }, labels) {
  const now = cameras.filter(({ paused }) => !paused);
  const less = { base: t('every second picture'), none: t('no pictures') };
  return now.flatMap(({ camera, rung: size, pictures }) => [inSize(labels.get(camera), size), less[pictures]]).filter(Boolean);
}

function inSize(label, size) {
  if (size === 'half') return label ? t('{label} in half size', { label }) : t('half size');
  if (size === 'quarter') return label ? t('{label} in quarter size', { label }) : t('quarter size');
  return label;
}

/** One line of a list: a name, and what else is known about it. */
function item(name, rest) {
  const line = document.createElement('li');
  const [strong, small] = [document.createElement('strong'), document.createElement('span')];
  strong.textContent = name;
  small.textContent = rest;
  line.append(strong, small);
  return line;
}
