// Guest links: made, copied, listed, revoked. A part of the panel in access.js.

import { ask, sentence } from './api.js';
import { copy } from './copy.js';
import { $ } from './dom.js';
import { expires } from './words.js';

export class Guests {
  constructor() {
    $('guest').addEventListener('submit', (event) => this.#make(event));
    $('guest-copy').addEventListener('click', async () => {
      $('guest-copied').textContent = (await copy($('guest-link').value)) ? 'Copied.' : 'Select the link and copy it yourself.';
    });
    $('guest-link').addEventListener('focus', () => $('guest-link').select());
  }

  /** Asks for the list anew. */
  async load() {
    const { ok, body, message } = await ask('GET', 'api/guests');
    if (!ok) return this.#wrong(message);
    const now_s = Date.now() / 1000;
    $('guests').replaceChildren(...body.map((guest) => this.#line(guest, now_s)));
    $('guests').hidden = body.length === 0;
  }

  /** The panel was closed: a link is shown once. */
  closed() {
    this.#wrong('');
    $('guest-made').hidden = true;
    $('guest-link').value = '';
    $('guest-copied').textContent = '';
  }

  async #make(event) {
    event.preventDefault();
    this.closed();
    const button = $('guest').querySelector('button');
    const label = $('guest-label').value.trim() || 'guest';
    button.disabled = true;
    const { ok, body, message } = await ask('POST', 'api/guests', { label, hours: Number($('guest-hours').value) });
    button.disabled = false;
    if (!ok) return this.#wrong(message);
    $('guest-label').value = '';
    $('guest-link').value = new URL(`#guest=${body.secret}`, document.baseURI).href;
    $('guest-made').hidden = false;
    $('guest-copy').focus();
    await this.load();
  }

  #line({ id, label, expires_unix }, now_s) {
    const line = document.createElement('li');
    const [name, until, revoke] = ['strong', 'span', 'button'].map((kind) => document.createElement(kind));
    name.textContent = label;
    until.textContent = expires(expires_unix, now_s);
    revoke.type = 'button';
    revoke.textContent = 'Revoke';
    revoke.setAttribute('aria-label', `Revoke the link for ${label}`);
    revoke.addEventListener('click', async () => {
      revoke.disabled = true;
      const { ok, status, body, message } = await ask('DELETE', `api/guests/${encodeURIComponent(id)}`);
      this.#wrong(body?.warning ? sentence(body.warning) : ok || status === 404 ? '' : message);
      await this.load();
      ($('guests').querySelector('button') ?? $('guest-label')).focus();
    });
    line.append(name, until, revoke);
    return line;
  }

  #wrong(sentence) {
    $('guest-error').textContent = sentence;
  }
}
