// The panel of who watches and who may: the list, the privacy switch, signing out. Guest links are in guests.js, passwords
// in passwords.js. It is loaded when it is first opened.

import { ask, sentence } from './api.js';
import { $ } from './dom.js';
import { Guests } from './guests.js';
import { Passwords } from './passwords.js';
import { bitrate, since, watchers } from './words.js';

export class Access {
  #signOut;
  #guests = new Guests();
  #passwords = new Passwords(() => this.#guests.load());
  #list = '';
  /** What was just asked of the privacy switch, until the status says the same. */
  #asked = null;
  #private = null;

  /** `signOut(everywhere)` answers a sentence where it fails. */
  constructor({ signOut }) {
    this.#signOut = signOut;
    $('privacy').addEventListener('click', () => this.#privacy());
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
      this.#passwords.load();
    }
    this.#certificate();
  }

  /** There is none to trust over plain HTTP, or where the owner brought a certificate of their own. */
  async #certificate() {
    $('trust').hidden = location.protocol !== 'https:' || !(await ask('GET', 'api/ca.pem')).ok;
  }

  /** It was closed: nothing that was typed or made stays in the document. */
  closed() {
    $('privacy-error').textContent = '';
    this.#passwords.closed();
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
