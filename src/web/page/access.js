// The panel of who watches and who may: the list, the privacy switch, passwords, signing out. Guest links are in
// guests.js. It is loaded when it is first opened.

import { ask, sentence } from './api.js';
import { $ } from './dom.js';
import { Guests } from './guests.js';
import { bitrate, since, watchers } from './words.js';

/** As the daemon wants it. */
const LEAST_CHARACTERS = 8;

export class Access {
  #signOut;
  #guests = new Guests();
  #list = '';
  /** What was just asked of the privacy switch, until the status says the same. */
  #asked = null;
  #private = null;

  /** `signOut(everywhere)` answers a sentence where it fails. */
  constructor({ signOut }) {
    this.#signOut = signOut;
    $('privacy').addEventListener('click', () => this.#privacy());
    $('passwords').addEventListener('submit', (event) => this.#password(event));
    $('password-role').addEventListener('change', () => this.#links());
    $('sign-out').addEventListener('click', () => this.#leave(false));
    $('sign-out-everywhere').addEventListener('click', () => this.#leave(true));
  }

  /** It was opened, by `me` of /api/session. */
  opened(me) {
    for (const part of document.querySelectorAll('#access [data-for]')) {
      part.hidden = !part.dataset.for.split(' ').includes(me?.role);
    }
    $('session-name').textContent = me?.name ?? me?.role ?? 'somebody';
    $('session-error').textContent = '';
    this.#private = me?.privacy ?? null;
    if (me?.role === 'owner') {
      this.#guests.load();
      this.#links();
    }
    this.#certificate();
  }

  /** What a new password of the owner's ends, where there is anything. */
  async #links() {
    const viewer = $('password-role').value === 'viewer';
    $('password-none').hidden = !viewer;
    $('password-links').hidden = true;
    if (viewer) return;
    const { body } = await ask('GET', 'api/issued');
    const names = [...(body?.guests ?? []).map((n) => `guest link ${n}`), ...(body?.tokens ?? []).map((n) => `token ${n}`)];
    $('password-issued').textContent = names.join(', ');
    $('password-links').hidden = names.length === 0 || $('password-role').value === 'viewer';
  }

  /** There is none to trust over plain HTTP, or where the owner brought a certificate of their own. */
  async #certificate() {
    $('trust').hidden = location.protocol !== 'https:' || !(await ask('GET', 'api/ca.pem')).ok;
  }

  /** It was closed: nothing that was typed or made stays in the document. */
  closed() {
    $('passwords').reset();
    $('password-none').hidden = true;
    $('password-links').hidden = true;
    for (const id of ['password-error', 'password-done', 'privacy-error']) $(id).textContent = '';
    this.#guests.closed();
  }

  /** What the status says; called while it is open. */
  draw(status) {
    const problem = status?.state_problem ? sentence(status.state_problem) : '';
    if ($('state-problem').textContent !== problem) $('state-problem').textContent = problem;
    const { count, list } = status?.viewers ?? {};
    const words = watchers(count) ?? 'not known while the device does not answer';
    const text = words[0].toUpperCase() + words.slice(1);
    if ($('people-count').textContent !== text) $('people-count').textContent = text;
    this.#people(list ?? [], (status?.clock.unix_ms ?? 0) / 1000);
    if (status?.video?.state) this.#private = status.video.state === 'private';
    if (this.#asked === this.#private) this.#asked = null;
    this.#switch(this.#asked ?? this.#private);
  }

  #people(list, now_unix_s) {
    const lines = list.map((v) => [
      v.who ?? v.name,
      [v.address, since(v.since_s, now_unix_s), v.rung && v.rung !== 'full' && `${v.rung} size`, bitrate(v.rate_bps), v.sound && 'with sound'].filter(Boolean).join(', '),
    ]);
    const text = JSON.stringify(lines);
    if (text === this.#list) return;
    this.#list = text;
    $('people').replaceChildren(...lines.map(([who, rest]) => item(who, rest)));
  }

  #switch(off) {
    $('privacy').setAttribute('aria-checked', String(!off));
    $('privacy-word').textContent = off ? 'They are off' : 'They are on';
  }

  async #privacy() {
    const on = $('privacy').getAttribute('aria-checked') === 'true';
    this.#asked = on;
    this.#switch(on);
    const { ok, body, message } = await ask('POST', 'api/privacy', { on });
    if (!ok) {
      this.#asked = null;
      this.#switch(this.#private);
    }
    $('privacy-error').textContent = !ok ? message : body?.warning ? sentence(body.warning) : '';
  }

  async #password(event) {
    event.preventDefault();
    const role = $('password-role').value;
    const [old, first, second] = ['password-old', 'password-new', 'password-again'].map((id) => $(id).value);
    $('password-done').textContent = '';
    const wrong = this.#mistake(role, old, first, second);
    $('password-error').textContent = wrong ?? '';
    if (wrong) return;
    const button = $('passwords').querySelector('button');
    button.disabled = true;
    const keep_links = $('password-keep').checked;
    const { ok, status, message, retry_s } = await ask('POST', 'api/password', { old, new: first, role, keep_links });
    button.disabled = false;
    if (ok) {
      $('passwords').reset();
      this.#links();
      this.#guests.load();
      $('password-done').textContent = !first ? 'The household has no password any more.' : 'Changed.';
      return;
    }
    const later = status === 429 && retry_s ? ` Try again in ${retry_s} s.` : '';
    $('password-error').textContent = status === 401 ? 'That is not your present password.' : message + later;
  }

  #mistake(role, old, first, second) {
    if (!old) return 'Your present password is missing.';
    if (first !== second) return 'The two new passwords differ.';
    if (role === 'viewer' && !first) return null;
    return [...first].length < LEAST_CHARACTERS ? `The new password needs at least ${LEAST_CHARACTERS} characters.` : null;
  }

  async #leave(everywhere) {
    $('session-error').textContent = (await this.#signOut(everywhere)) ?? '';
  }
}

/** One line of a list: what it is, and the rest of what is known of it. */
export function item(name, rest) {
  const line = document.createElement('li');
  const [strong, small] = [document.createElement('strong'), document.createElement('span')];
  strong.textContent = name;
  small.textContent = rest;
  line.append(strong, small);
  return line;
}
