// All access to the document. It gets a model and writes only what differs from what it wrote before.

import { Announcer } from './announce.js';
import { $ } from './dom.js';
import { number, t, told } from './language.js';
import { Panels } from './panels.js';
import { qualityChoices, receivedQuality } from './sizes.js';
import { bitrate, board, delayWords, duration, fps, linkWords, mode, ms, times, title } from './words.js';

/** In full screen the bar is hidden after this time without movement, ms. */
const IDLE_MS = 3000;
/** How long a toast is shown, ms. */
const TOAST_MS = 8000;

export class View {
  app = $('app');
  #written = new Map();
  #idle = null;
  #toast = null;
  #panels;
  #announcer = new Announcer();

  /**
   * Connects buttons and keys to their actions. `panel(id)` gets the panel that opened, or `null`; `act(what)` performs what a state
   * offers (words.js) and returns a sentence if it fails; `why(open)` opens or closes the report of why it does not connect;
   * `tile(event)` returns whether a key was for a tile; the others have the names of their buttons.
   */
  controls({ sound, loud, still, corner, full, whole, closeAll, play, panel, quality, explain, act, why, tile }) {
    this.#panels = new Panels(this.app, { settings: 'access', info: 'details' }, panel);
    const toggle = (id) => () => this.#panels.toggle(id);
    const keysShown = () => $('keys').open || $('keys').showModal();
    $('sound').addEventListener('click', sound);
    $('still').addEventListener('click', still);
    $('corner').addEventListener('click', corner);
    $('zoom').addEventListener('click', whole);
    $('close-all').addEventListener('click', closeAll);
    $('keys-button').addEventListener('click', keysShown);
    $('explain').addEventListener('click', async () => {
      await explain();
      $('explain').setAttribute('aria-pressed', String($('details').classList.toggle('explained')));
    });
    $('refused').addEventListener('click', () => {
      loud();
      $('sound').focus(); // this button disappears; the sound button turns the sound off again
    });
    $('full').addEventListener('click', full);
    $('play').addEventListener('click', play);
    $('why-button').addEventListener('click', () => this.#openWhy($('why').hidden, why));
    $('why-close').addEventListener('click', () => this.#openWhy(false, why));
    $('quality').addEventListener('change', () => quality($('quality').value));
    $('line-act').addEventListener('click', async () => {
      const problem = await act($('line-act').dataset.what);
      if (problem) this.toast(problem);
    });
    $('notice-act').addEventListener('click', async () => {
      $('notice-error').textContent = '';
      $('notice-error').textContent = (await act($('notice-act').dataset.what)) ?? '';
    });
    const keys = {
      m: () => !$('sound').disabled && sound(),
      c: () => !$('still').disabled && still(),
      p: () => !$('corner').hidden && corner(),
      f: () => !$('full').hidden && full(),
      i: toggle('details'),
      s: toggle('access'),
      '?': keysShown,
    };
    document.addEventListener('keydown', (event) => {
      this.#awake();
      if (this.app.hidden || $('keys').open || event.ctrlKey || event.metaKey || event.altKey || event.repeat) return;
      if (event.key === 'Escape' && !document.fullscreenElement) {
        if (this.#panels.open) return this.#panels.close();
        if (!$('why').hidden) return this.#openWhy(false, why);
      }
      if (event.target.closest?.('input, select, textarea')) return; // in a text field, keys are letters
      if (tile(event)) return event.preventDefault();
      const act = keys[event.key.toLowerCase()];
      if (!act) return;
      event.preventDefault();
      act();
    });
    for (const type of ['pointermove', 'pointerdown', 'focusin']) {
      document.addEventListener(type, () => this.#awake(), { passive: true });
    }
    this.#awake();
  }

  draw(model) {
    const { said, facts, sound, full, several, corner, zoom, privacy } = model;
    this.#once('outside', model.outside, (outside) => (this.app.hidden = outside));
    if (model.outside) return this.#away();
    this.#data('state', said.state);
    this.#data('tone', said.tone);
    this.#data('full', String(full.active));
    this.#text('head', said.head);
    this.#text('text', line(said));
    this.#text('spoken', this.#announcer.tell(model.told, performance.now()));
    this.#text('mark', said.mark ?? '');
    this.#hide('mark', !said.mark || !model.hasPicture || model.why.open || several); // each tile has its own mark
    this.#why(model.why);
    const notice = (said.card || !model.hasPicture) && !model.blocked && !model.why.open;
    this.#notice(said, notice, model.hasPicture);
    this.#lineAct(notice ? null : said.act);
    this.#hide('play', !model.blocked);
    this.#once('title', title(said, model.named), (text) => (document.title = text));
    if (said.state === 'live') this.#once('session', model.named, (name) => this.#name(name)); // this loads an image, which is not urgent
    const { ok, bad, busy } = $('icon').dataset;
    this.#once('icon', said.tone === 'ok' ? ok : said.tone === 'bad' ? bad : busy, (href) => ($('icon').href = href));
    this.#once('ratio', facts.width && `${facts.width} / ${facts.height}`, (ratio) => {
      if (ratio) this.app.style.setProperty('--ratio', ratio);
    });
    this.#sound(sound);
    this.#hide('refused', !sound.refused || !sound.possible || notice || model.why.open);
    this.#once('still', model.hasPicture, (there) => ($('still').disabled = !there));
    this.#hide('corner', !corner.possible);
    this.#once('corner', corner.active, (active) => $('corner').setAttribute('aria-pressed', String(active)));
    this.#hide('zoom', zoom === 1 || notice || model.why.open);
    this.#text('zoom', times(zoom));
    this.#once('zoom label', zoom, () => $('zoom').setAttribute('aria-label', t('{scale}: show the whole picture', { scale: times(zoom) })));
    this.#privacy(privacy);
    this.#once('keys', several, () => document.querySelectorAll('#keys .several').forEach((row) => (row.hidden = !several)));
    this.#hide('full', !full.possible);
    this.#text('full-label', full.active ? t('Leave full screen') : t('Full screen'));
    const { count } = model.status?.viewers ?? {};
    this.#hide('people-shown', count === undefined);
    this.#text('people-number', String(count ?? ''));
    this.#line(model);
    if (!$('details').hidden) this.#details(model);
  }

  #sound({ on, possible }) {
    this.#once('sound-on', on, () => $('sound').setAttribute('aria-pressed', String(on)));
    this.#once('sound-possible', possible, () => ($('sound').disabled = !possible));
    this.#text('sound-word', !possible ? t('is missing') : on ? t('is on') : t('is off'));
    this.#once('sound-title', on, () => ($('sound').title = on ? t('Turn the sound off (m)') : t('Turn the sound on (m)')));
  }

  /** The button with which the owner closes and opens all cameras and microphones. */
  #privacy({ shown, on, several }) {
    this.#hide('close-all', !shown);
    this.#once('private', on, () => ($('close-all').dataset.private = String(on)));
    const all = on ? t('Switch all cameras and microphones on') : t('Switch all cameras and microphones off');
    const one = on ? t('Switch camera and microphone on') : t('Switch camera and microphone off');
    const label = several ? all : one;
    this.#text('close-all-label', label);
    this.#once('close-all title', label, () => ($('close-all').title = label));
  }

  /** The name that the system shows for the media, for example on a lock screen. */
  #name(name) {
    if (!navigator.mediaSession || !globalThis.MediaMetadata) return;
    const artwork = [{ src: $('icon').dataset.busy, type: 'image/svg+xml' }];
    navigator.mediaSession.metadata = new MediaMetadata({ title: name ?? 'peercam', artist: name ? 'peercam' : '', artwork });
  }

  /** Shows a message for some seconds; `act` is a possible action, { label, press }, or `null`. */
  toast(text, act = null) {
    clearTimeout(this.#toast);
    $('toast').hidden = false;
    $('toast-text').textContent = text;
    $('toast-act').hidden = !act;
    $('toast-act').textContent = act?.label ?? '';
    $('toast-act').onclick = act?.press ?? null;
    this.#toast = setTimeout(() => this.#hideToast(), TOAST_MS);
  }

  #hideToast() {
    const focused = document.activeElement === $('toast-act');
    $('toast').hidden = true;
    $('toast-text').textContent = '';
    if (focused) $('still').focus();
  }

  /** The panel that is open, or `null`. */
  get panel() {
    return this.#panels.open;
  }

  closePanels() {
    this.#panels.close();
  }

  /** The message in place of the picture, or `over` the last one, with its action. */
  #notice(said, shown, over) {
    const { act } = said;
    this.#once('act', act?.what, (what) => {
      const focused = document.activeElement === $('notice-act');
      $('notice-act').hidden = !act;
      $('notice-act').dataset.what = what ?? '';
      $('notice-error').textContent = '';
      if (focused && !act) $('settings').focus(); // the pressed button disappears
    });
    this.#text('notice-act', act?.label ?? '');
    this.#hide('notice', !shown);
    this.#once('notice over', over, () => $('notice').classList.toggle('over', over));
    this.#hide('text', shown); // do not show the same text twice
    this.#text('notice-head', said.head);
    this.#text('notice-text', line(said));
    this.#once('notice steps', said.steps.join(), () => {
      $('notice-steps').replaceChildren(...said.steps.map((step) => Object.assign(document.createElement('li'), { textContent: step })));
      $('notice-steps').hidden = said.steps.length === 0;
    });
  }

  /** The action of a state whose message is only in the status line. */
  #lineAct(act) {
    const focused = document.activeElement === $('line-act');
    this.#once('line-act', act?.what, (what) => ($('line-act').dataset.what = what ?? ''));
    this.#text('line-act', act?.label ?? '');
    this.#hide('line-act', !act);
    if (focused && !act) $('settings').focus(); // the pressed button disappears
  }

  /** Shows the button while there is a report, and the report while it is open. */
  #why({ offered, open }) {
    const focused = $('why').contains(document.activeElement) || document.activeElement === $('why-button');
    this.#once('why open', open, () => $('why-button').setAttribute('aria-expanded', String(open)));
    this.#hide('why', !open);
    this.#hide('why-button', !offered);
    if (focused && !offered) $('settings').focus(); // it connects; keyboard users continue here
  }

  /** Opens or closes the report, and moves the focus into it or back to its button. */
  #openWhy(open, why) {
    why(open);
    $(open ? 'why' : 'why-button').focus({ preventScroll: true });
  }

  /** The door is shown: forgets what was announced. */
  #away() {
    this.#written.delete('title');
    this.#announcer = new Announcer();
    this.#text('spoken', '');
  }

  /** The figures that are always visible, while there is a picture to measure. */
  #line({ said, facts, measurable, several, enlarged, camera, named }) {
    const live = said.state === 'live' || said.state === 'camera-gone';
    this.#hide('figures', !live);
    this.#text('figures-of', live && !enlarged ? (several ? camera : (named ?? '')) : '');
    this.#text('size', (live && facts.width && `${facts.width}×${facts.height}`) || '');
    this.#text('fps', (live && fps(facts.fps)) || '');
    this.#text('rate', (live && bitrate(facts.bitrate_bps)) || '');
    this.#text('rtt', (live && facts.rtt_ms !== null && t('{ms} round trip', { ms: ms(facts.rtt_ms) })) || '');
    const delay = delayWords(facts.delay_ms, facts.sync_ms);
    this.#text('delay', !live ? '' : delay ? t('delay {delay}', { delay }) : measurable === false ? t('delay not measurable here') : '');
  }

  #details({ facts, own, measured, measurable, status, hello, qualities, several, camera, clockRtt_ms }) {
    const { video, audio } = status ?? {};
    this.#quality(qualityChoices(qualities, video?.rungs, facts.quality), facts.quality);
    this.#hide('quality-tiles', !several);
    const { reduced } = video ?? {};
    const { count, max } = status?.viewers ?? {};
    const percent = (share) => (share === null ? null : `${number(share * 100, 1)} %`);
    const join = (...parts) => parts.filter(Boolean).join(', ') || null;
    const rows = {
      'd-camera': several ? camera : null,
      'd-source': join(video?.source === 'pattern' ? t('built-in test picture') : video?.name, video?.device),
      'd-why': told(video?.why),
      'd-reason': video?.state === 'gone' ? told(video.reason) : null,
      'd-mode': mode(video?.negotiated),
      'd-wanted': differs(video) ? mode(video.wanted) : null,
      'd-delivered': join(fps(video?.delivered_fps), told(video?.rate_note)),
      'd-reduced': reduced ? t('{label}: {text}', { label: mode(reduced), text: told(reduced.why) }) : null,
      'd-encoder': join(video?.encoder, video?.bitrate_bps && bitrate(video.bitrate_bps)),
      'd-shown': join(facts.width && `${facts.width}×${facts.height}`, fps(facts.fps)),
      'd-received': receivedQuality(video?.rungs, facts.width, facts.height, own?.cameras?.find(({ camera: name }) => name === facts.camera)),
      'd-codec': join(measured?.codec, measured?.decoder),
      'd-dropped': measured?.dropped ? t('{count} frames', { count: measured.dropped }) : null,
      'd-video-rate': bitrate(measured?.video_bps),
      'd-delay': delayWords(facts.delay_ms, facts.sync_ms) ?? (measurable === false ? t('not measurable in this browser') : null),
      'd-slowest': ms(facts.delay_p95_ms),
      'd-behind': facts.sound_behind_ms === null ? null : `${Math.round(facts.sound_behind_ms)} ms`,
      'd-clock': facts.clock_error_ms === null ? null : `± ${number(facts.clock_error_ms, 1)} ms`,
      'd-rtt': ms(measured?.rtt_ms),
      'd-ws-rtt': ms(clockRtt_ms),
      'd-lost': percent(measured?.lost_share ?? null),
      'd-link': linkWords(own?.link),
      'd-path': measured?.path,
      'd-audio': join(audio?.source === 'tone' ? t('built-in test tone') : audio?.source === 'off' ? t('off') : audio?.name, audio?.device),
      'd-audio-why': told(audio?.why),
      'd-audio-reason': audio?.state === 'gone' ? told(audio.reason) : null,
      'd-audio-rate': bitrate(measured?.audio_bps),
      'd-drift': audio?.drift_ppm == null ? null : `${number(audio.drift_ppm, 1)} ppm`,
      'd-viewers': count === undefined ? null : max ? t('{count} of {max}', { count, max }) : String(count),
      'd-board': board(status?.board),
      'd-uptime': status?.uptime_s === undefined ? null : duration(status.uptime_s),
      'd-version': hello?.version,
      'd-viewer': facts.viewer,
    };
    for (const [id, value] of Object.entries(rows)) {
      this.#text(id, value ?? '');
      this.#once(`row ${id}`, !value, (empty) => ($(id).parentElement.hidden = empty));
    }
  }

  /** The choice of quality, if there is one. */
  #quality(choices, wish) {
    this.#hide('quality-choice', !choices.length);
    this.#once('quality choices', JSON.stringify(choices), () => {
      $('quality').replaceChildren(...choices.map(({ value, text }) => new Option(text, value)));
      this.#written.delete('quality wish');
    });
    this.#once('quality wish', wish, () => ($('quality').value = wish));
  }

  #awake() {
    this.app.classList.remove('idle');
    clearTimeout(this.#idle);
    this.#idle = setTimeout(() => this.app.classList.add('idle'), IDLE_MS);
  }

  #text(id, value) {
    this.#once(`text ${id}`, value, () => ($(id).textContent = value));
  }

  #hide(id, hidden) {
    this.#once(`hide ${id}`, hidden, () => ($(id).hidden = hidden));
  }

  #data(name, value) {
    this.#once(`data ${name}`, value, () => (this.app.dataset[name] = value));
  }

  /** Writes to the document only on change: each write makes screen reader and layout react. */
  #once(key, value, write) {
    if (this.#written.get(key) === value) return;
    this.#written.set(key, value);
    write(value);
  }
}

/** The sentence of a state, with the time to the next attempt. */
function line({ text, again }) {
  return [text, again].filter(Boolean).join(' ');
}

function differs(video) {
  const { wanted, negotiated } = video ?? {};
  if (!wanted || !negotiated) return false;
  return wanted.width !== negotiated.width || wanted.height !== negotiated.height || Math.abs(wanted.fps - negotiated.fps) > 0.5;
}
