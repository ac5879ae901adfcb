// Guest links: made, copied, listed, revoked. A part of the panel in access.js.

import { ask, sentence } from './api.js';
import { copy } from './copy.js';
import { $ } from './dom.js';
import { expires } from './words.js';

/** How long revoking can be undone: a little shorter than the device allows. */
const UNDO_MS = 15_000;

export class Guests {
  /** The link that is shown, and the one that was revoked, by their ids. */
  #made = null;
  #revoked = null;
  #timer = null;

  constructor() {
    $('guest-undo-button').addEventListener('click', () => this.#undo());
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
    this.#done();
    this.#hideMade();
  }

  #hideMade() {
    this.#wrong('');
    $('guest-made').hidden = true;
    $('guest-link').value = '';
    $('guest-copied').textContent = '';
  }

  async #make(event) {
    event.preventDefault();
    this.#hideMade();
    const button = $('guest').querySelector('button');
    const label = $('guest-label').value.trim() || 'guest';
    button.disabled = true;
    const { ok, body, message } = await ask('POST', 'api/guests', { label, hours: Number($('guest-hours').value) });
    button.disabled = false;
    if (!ok) return this.#wrong(message);
    this.#made = body.id;
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
    revoke.addEventListener('click', () => this.#revoke(revoke, id, label));
    line.append(name, until, revoke);
    return line;
  }

  async #revoke(button, id, label) {
    button.disabled = true;
    const { ok, status, body, message } = await ask('DELETE', `api/guests/${encodeURIComponent(id)}`);
    this.#wrong(body?.warning ? sentence(body.warning) : ok || status === 404 ? '' : message);
    await this.load();
    if (!ok) return this.#onwards();
    if (id === this.#made) this.#hideMade();
    this.#revoked = id;
    $('guest-undo-label').textContent = label;
    $('guest-undo-button').setAttribute('aria-label', `Undo: the link for ${label} was revoked`);
    $('guest-undo').hidden = false;
    $('guest-undo-button').focus();
    clearTimeout(this.#timer);
    this.#timer = setTimeout(() => this.#done(), UNDO_MS);
  }

  async #undo() {
    const id = this.#revoked;
    if (id === null) return;
    const { ok, message } = await ask('POST', `api/guests/${encodeURIComponent(id)}`, {});
    this.#wrong(ok ? '' : message);
    await this.load();
    this.#done();
  }

  /** There is nothing to undo any more. */
  #done() {
    clearTimeout(this.#timer);
    this.#revoked = null;
    const focused = document.activeElement === $('guest-undo-button');
    $('guest-undo').hidden = true;
    if (focused) this.#onwards();
  }

  /** To where whoever pressed a button that is gone goes on. */
  #onwards() {
    ($('guests').querySelector('button') ?? $('guest-label')).focus();
  }

  #wrong(sentence) {
    $('guest-error').textContent = sentence;
  }
}
