// The door: signing in, pairing, and what to do if neither is possible. It changes only elements inside #door.

import { ask, sentence } from './api.js';
import { $ } from './dom.js';
import { small, t, told } from './language.js';
import { countDown, waits } from './wait.js';

const VIEWS = ['sign-in', 'pair', 'pair-ended', 'unpaired', 'link-ended'];
/** Shortest password that the daemon accepts, in characters, not bytes. */
const LEAST_CHARACTERS = 8;

export class Forms {
  #entered;
  #pairEnded;
  #secret = null;

  /**
   * `entered(me)` is called when somebody got access, with the answer of /api/session; `pairEnded()` when a pairing link is no
   * longer valid; `instead()` when somebody wants to continue without a link.
   */
  constructor({ entered, pairEnded, instead }) {
    this.#entered = entered;
    this.#pairEnded = pairEnded;
    for (const id of ['have-password', 'pair-instead']) $(id).addEventListener('click', instead);
    $('sign-in').addEventListener('submit', (event) => this.#submit(event, () => this.#signIn()));
    $('pair').addEventListener('submit', (event) => this.#submit(event, () => this.#pair()));
    for (const box of document.querySelectorAll('#door [data-shows]')) {
      box.addEventListener('change', () => {
        for (const id of box.dataset.shows.split(' ')) $(id).type = box.checked ? 'text' : 'password';
      });
    }
  }

  /** Shows one of the views, with a `reason` or without; `secret` is that of the pairing link, `state` that of /api/session. */
  show(what, { reason, secret, state }) {
    if (secret) this.#secret = secret;
    this.#owned(state !== undefined && state !== 'unpaired');
    $('sign-in-user').value = '';
    $('pair-instead').textContent = state === 'signed-in' ? t('Go to the picture') : t('Sign in instead');
    for (const view of VIEWS) $(view).hidden = view !== what;
    $('door-reason').textContent = reason ? sentence(told(reason)) : '';
    $('door-reason').hidden = !reason;
    $('door').hidden = false;
    document.title = `${small($(what).querySelector('h2').textContent)} — peercam`;
    // A screen reader continues from here; the reason is an alert and is read anyway.
    ($(what).querySelector('input:not([hidden])') ?? $(what).querySelector('h2')).focus();
  }

  /** If there is an owner already, pairing sets a new password, and older links and tokens may exist. */
  #owned(owned) {
    $('pair-title').textContent = owned ? t('Set a new owner password') : t('Set up this camera');
    for (const id of ['pair-links', 'pair-before']) $(id).hidden = !owned;
  }

  hide() {
    $('door').hidden = true;
    for (const input of document.querySelectorAll('#door input:not([type="checkbox"], [autocomplete="username"])')) input.value = '';
  }

  async #signIn() {
    const password = $('password').value;
    if (!password) return this.#wrong('sign-in', 'password', t('Enter the password.'));
    const { ok, status, body, message, retry_s } = await ask('POST', 'api/login', { password });
    if (ok) {
      // The user name for password managers: they store the owner's and the household's password separately.
      $('sign-in-user').value = body.role === 'owner' ? 'owner' : 'household';
      return this.#entered(body);
    }
    if (status === 429) countDown($('sign-in').querySelector('button'), retry_s ?? 1);
    this.#wrong('sign-in', 'password', status === 401 ? t('Wrong password.') : told(message));
  }

  async #pair() {
    const [first, second] = [$('pair-password').value, $('pair-again').value];
    if ([...first].length < LEAST_CHARACTERS) {
      return this.#wrong('pair', 'pair-password', t('The password needs at least {least} characters.', { least: LEAST_CHARACTERS }));
    }
    if (first !== second) return this.#wrong('pair', 'pair-again', t('The passwords do not match.'));
    const { ok, status, message, retry_s } = await ask('POST', 'api/pair', {
      secret: this.#secret,
      password: first,
      keep_links: $('pair-keep').checked,
    });
    if (!ok) {
      if (status === 401) return this.#pairEnded();
      if (status === 429) countDown($('pair').querySelector('button'), retry_s ?? 1);
      return this.#wrong('pair', 'pair-password', told(message));
    }
    this.#secret = null;
    const { body } = await ask('GET', 'api/session');
    this.#entered(body?.state ? body : { state: 'signed-in', role: 'owner' });
  }

  /** Only one request at a time, however often the button is pressed. */
  async #submit(event, act) {
    event.preventDefault();
    const button = event.target.querySelector('button');
    if (button.disabled) return;
    this.#right(event.target.id);
    button.disabled = true;
    try {
      await act();
    } finally {
      button.disabled = waits(button);
    }
  }

  #wrong(form, input, sentence) {
    $(`${form}-error`).textContent = sentence;
    if (!input) return;
    $(input).setAttribute('aria-invalid', 'true');
    $(input).focus();
    $(input).select?.();
  }

  #right(form) {
    $(`${form}-error`).textContent = '';
    for (const input of $(form).querySelectorAll('[aria-invalid]')) input.removeAttribute('aria-invalid');
  }
}
