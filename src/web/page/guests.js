// Guest links: making, copying, listing and revoking them. A part of the panel in access.js.

import { ask, sentence } from './api.js';
import { copy } from './copy.js';
import { $ } from './dom.js';
import { t, told } from './language.js';
import { expires } from './words.js';

/** How long revoking can be undone, ms: a little shorter than the device allows. */
const UNDO_MS = 15_000;

export class Guests {
  /** The ids of the link that is shown, and of the link that was revoked. */
  #made = null;
  #revoked = null;
  #timer = null;
  /** The links in the last answer. */
  #links = [];
  /** Labels of the cameras by name, if there are several. */
  #cameras = new Map();

  constructor() {
    $('guest-undo-button').addEventListener('click', () => this.#undo());
    $('guest').addEventListener('submit', (event) => this.#make(event));
    $('guest-copy').addEventListener('click', async () => {
      $('guest-copied').textContent = (await copy($('guest-link').value)) ? t('Copied.') : t('Select the link and copy it yourself.');
    });
    $('guest-share').addEventListener('click', () => this.#share());
    $('guest-link').addEventListener('focus', () => $('guest-link').select());
  }

  /** Requests the list again. */
  async load() {
    const { ok, body, message } = await ask('GET', 'api/guests');
    if (!ok) return this.#wrong(message);
    this.#links = body;
    this.#list();
  }

  #list() {
    const now_s = Date.now() / 1000;
    $('guests').replaceChildren(...this.#links.map((guest) => this.#line(guest, now_s)));
    $('guests').hidden = this.#links.length === 0;
    $('guests-count').textContent = this.#links.length || '';
  }

  /** Draws the cameras of the status: if there are several, a link can be for some of them. */
  draw(cameras) {
    const several = cameras.length > 1 ? cameras : [];
    const labels = new Map(several.map(({ name, label }) => [name, label]));
    if (JSON.stringify([...labels]) === JSON.stringify([...this.#cameras])) return;
    this.#cameras = labels;
    const place = $('guest-cameras');
    place.hidden = labels.size === 0;
    const boxes = [...labels].map(([name, label]) => {
      const [line, box] = ['label', 'input'].map((kind) => document.createElement(kind));
      Object.assign(box, { type: 'checkbox', value: name, checked: true });
      line.className = 'check';
      line.append(box, ` ${label}`);
      return line;
    });
    place.replaceChildren(place.firstElementChild, ...boxes);
    this.#list(); // its lines name cameras by their labels
  }

  /** The names of the selected cameras; `undefined` means all, including cameras that are added later. */
  #chosen() {
    const boxes = [...$('guest-cameras').querySelectorAll('input')];
    return boxes.every((box) => box.checked) ? undefined : boxes.filter((box) => box.checked).map((box) => box.value);
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
    $('guest-qr').hidden = true;
  }

  /** Opens the system's own dialog for sharing. */
  async #share() {
    try {
      await navigator.share({ title: document.title, url: $('guest-link').value });
    } catch (e) {
      if (e.name !== 'AbortError') $('guest-copied').textContent = t('This browser cannot share the link; copy it instead.');
    }
  }

  /** Draws the QR code, to be scanned with a phone. */
  async #draw(link) {
    const { ok, body } = await ask('POST', 'api/qr', { text: link });
    if (!ok || $('guest-link').value !== link) return;
    const svg = $('guest-qr').querySelector('svg');
    svg.setAttribute('viewBox', `-4 -4 ${body.size + 8} ${body.size + 8}`); // a QR code needs a margin of four modules
    svg.firstElementChild.setAttribute('d', body.path);
    $('guest-qr').hidden = false;
  }

  async #make(event) {
    event.preventDefault();
    this.#hideMade();
    const button = $('guest').querySelector('button');
    const label = $('guest-label').value.trim() || t('guest');
    button.disabled = true;
    const wish = { label, hours: Number($('guest-hours').value), cameras: this.#chosen() };
    const { ok, body, message } = await ask('POST', 'api/guests', wish);
    button.disabled = false;
    if (!ok) return this.#wrong(message);
    this.#made = body.id;
    $('guest-label').value = '';
    $('guest-link').value = new URL(`#guest=${body.secret}`, document.baseURI).href;
    $('guest-made').hidden = false;
    $('guest-share').hidden = !navigator.share;
    $('guest-copy').focus();
    this.#draw($('guest-link').value);
    await this.load();
  }

  #line({ id, label, cameras, expires_unix }, now_s) {
    const line = document.createElement('li');
    const [name, until, revoke] = ['strong', 'span', 'button'].map((kind) => document.createElement(kind));
    name.textContent = label;
    const of = cameras?.map((camera) => this.#cameras.get(camera) ?? camera).join(', ');
    until.textContent = [expires(expires_unix, now_s), of !== undefined && (of || t('no camera'))].filter(Boolean).join(', ');
    revoke.type = 'button';
    revoke.textContent = t('Revoke');
    revoke.setAttribute('aria-label', t('Revoke the link for {label}', { label }));
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
    $('guest-undo-button').setAttribute('aria-label', t('Undo: the link for {label} was revoked', { label }));
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

  /** Nothing can be undone any more. */
  #done() {
    clearTimeout(this.#timer);
    this.#revoked = null;
    const focused = document.activeElement === $('guest-undo-button');
    $('guest-undo').hidden = true;
    if (focused) this.#onwards();
  }

  /** Moves the focus to the next useful place, after the focused button has disappeared. */
  #onwards() {
    ($('guests').querySelector('button') ?? $('guest-label')).focus();
  }

  #wrong(text) {
    $('guest-error').textContent = told(text);
  }
}
