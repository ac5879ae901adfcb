// Changing and removing the owner's and the household's password. A part of the panel in access.js.

import { ask } from './api.js';
import { $ } from './dom.js';
import { t, told } from './language.js';
import { countDown, label, waits } from './wait.js';

/** Shortest password that the daemon accepts, characters. */
const LEAST_CHARACTERS = 8;

export class Passwords {
  #changed;

  /** `changed()` is called after a change, which may have ended guest links. */
  constructor(changed) {
    this.#changed = changed;
    $('passwords').addEventListener('submit', (event) => this.#submit(event));
    $('password-role').addEventListener('change', () => this.load());
    $('household-remove').addEventListener('click', () => {
      $('password-role').value = 'remove';
      this.load();
      $('password-old').focus();
    });
  }

  /** Requests whether the household has a password, and which links and tokens a new owner password ends. */
  async load() {
    this.#fields();
    const { body } = await ask('GET', 'api/issued');
    const household = body?.household ?? false;
    $('household-state').textContent = household ? t('set') : t('not set');
    $('household-remove').hidden = !household;
    $('password-role').querySelector('[value="remove"]').hidden = !household;
    const guests = (body?.guests ?? []).map((name) => t('guest link {name}', { name }));
    const names = [...guests, ...(body?.tokens ?? []).map((name) => t('token {name}', { name }))];
    $('password-issued').textContent = names.join(', ');
    $('password-links').hidden = names.length === 0 || $('password-role').value !== 'owner';
  }

  /** The panel was closed: nothing that was typed stays in the document. */
  closed() {
    $('passwords').reset();
    this.#fields();
  }

  /** Shows the fields for the selected action. Password managers distinguish two passwords of one page by their user names. */
  #fields() {
    const role = $('password-role').value;
    $('password-user').value = role === 'viewer' ? 'household' : 'owner';
    $('password-fields').hidden = role === 'remove';
    label($('password-submit'), role === 'remove' ? t('Remove') : t('Change'));
    $('password-links').hidden = true;
    for (const id of ['password-error', 'password-done']) $(id).textContent = ''; // these messages were about something else
  }

  async #submit(event) {
    event.preventDefault();
    if (waits($('password-submit'))) return; // Enter in a field
    const role = $('password-role').value;
    const [old, first, second] = ['password-old', 'password-new', 'password-again'].map((id) => $(id).value);
    $('password-done').textContent = '';
    const wrong = this.#mistake(role, old, first, second);
    $('password-error').textContent = wrong ?? '';
    if (wrong) return;
    const wish = role === 'remove' ? { role: 'viewer', new: '' } : { role, new: first, keep_links: $('password-keep').checked };
    $('password-submit').disabled = true;
    const { ok, status, message, retry_s } = await ask('POST', 'api/password', { old, ...wish });
    $('password-submit').disabled = waits($('password-submit'));
    if (ok) {
      $('passwords').reset();
      this.load();
      this.#changed();
      $('password-done').textContent = role === 'remove' ? t('The household no longer has a password.') : t('Changed.');
      return;
    }
    if (status === 429) countDown($('password-submit'), retry_s ?? 1);
    $('password-error').textContent = status === 401 ? t('That is not your current password.') : told(message);
  }

  #mistake(role, old, first, second) {
    if (!old) return t('Enter your current password.');
    if (role === 'remove') return null;
    if (first !== second) return t('The new passwords do not match.');
    return [...first].length < LEAST_CHARACTERS ? t('The new password needs at least {least} characters.', { least: LEAST_CHARACTERS }) : null;
  }
}
