// Everything that touches the document. It is told a model and writes what differs from what it wrote before.

import { Announcer } from './announce.js';
import { $ } from './dom.js';
import { Panels } from './panels.js';
import { qualityChoices, receivedQuality } from './quality.js';
import { bitrate, board, delayWords, duration, fps, mode, ms, title } from './words.js';

/** In full screen the bar goes away when nothing has moved for this long. */
const IDLE_MS = 3000;

export class View {
  app = $('app');
  video = $('video');
  #written = new Map();
  #idle = null;
  #panels;
  #announcer = new Announcer();

  /**
   * Ties buttons and keys to what they do; `panel(id)` is told which of the panels opened, or `null`; `act(what)` does what
   * a state offers (words.js), and answers a sentence where that fails; `why(open)` opens or closes the report of why it does
   * not connect.
   */
  controls({ sound, loud, full, play, panel, quality, act, why }) {
    this.#panels = new Panels(this.app, { 'people-button': 'access', info: 'details' }, panel);
    const toggle = (id) => () => this.#panels.toggle(id);
    $('sound').addEventListener('click', sound);
    $('refused').addEventListener('click', () => {
      loud();
      $('sound').focus(); // This button goes, and the other one is where the sound is turned off.
    });
    $('full').addEventListener('click', full);
    $('play').addEventListener('click', play);
    $('why-button').addEventListener('click', () => this.#openWhy($('why').hidden, why));
    $('why-close').addEventListener('click', () => this.#openWhy(false, why));
    $('quality').addEventListener('change', () => quality($('quality').value));
    $('notice-act').addEventListener('click', async () => {
      $('notice-error').textContent = '';
      $('notice-error').textContent = (await act($('notice-act').dataset.what)) ?? '';
    });
    this.video.addEventListener('dblclick', full);
    const keys = {
      m: () => !$('sound').disabled && sound(),
      f: () => !$('full').hidden && full(),
      i: toggle('details'),
      w: toggle('access'),
    };
    document.addEventListener('keydown', (event) => {
      this.#awake();
      if (this.app.hidden || event.ctrlKey || event.metaKey || event.altKey || event.repeat) return;
      if (event.key === 'Escape' && !document.fullscreenElement) {
        if (this.#panels.open) return this.#panels.close();
        if (!$('why').hidden) return this.#openWhy(false, why);
      }
      if (event.target.closest?.('input, select, textarea')) return; // Who writes means letters.
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
    const { said, facts, sound, full } = model;
    this.#once('outside', model.outside, (outside) => (this.app.hidden = outside));
    if (model.outside) return this.#away();
    this.#data('state', said.state);
    this.#data('tone', said.tone);
    this.#data('full', String(full.active));
    this.#text('head', said.head);
    this.#text('text', line(said));
    this.#text('spoken', this.#announcer.tell(said, performance.now()));
    this.#text('mark', said.mark ?? '');
    this.#hide('mark', !said.mark || !model.hasPicture || model.why.open);
    this.#why(model.why);
    const notice = (said.card || !model.hasPicture) && !model.blocked && !model.why.open;
    this.#notice(said, notice, model.hasPicture);
    this.#hide('play', !model.blocked);
    this.#once('title', title(said), (t) => (document.title = t));
    const { ok, bad, busy } = $('icon').dataset;
    this.#once('icon', said.tone === 'ok' ? ok : said.tone === 'bad' ? bad : busy, (href) => ($('icon').href = href));
    this.#once('ratio', facts.width && `${facts.width} / ${facts.height}`, (ratio) => {
      if (ratio) this.app.style.setProperty('--ratio', ratio);
    });
    this.#sound(sound);
    this.#hide('refused', !sound.refused || !sound.possible || notice || model.why.open);
    this.#hide('full', !full.possible);
    this.#text('full-label', full.active ? 'Leave full screen' : 'Full screen');
    const { count } = model.status?.viewers ?? {};
    this.#hide('people-shown', count === undefined);
    this.#text('people-number', String(count ?? ''));
    this.#line(model);
    if (!$('details').hidden) this.#details(model);
  }

  #sound({ on, possible }) {
    this.#once('sound-on', on, () => $('sound').setAttribute('aria-pressed', String(on)));
    this.#once('sound-possible', possible, () => ($('sound').disabled = !possible));
    this.#text('sound-word', !possible ? 'is missing' : on ? 'is on' : 'is off');
    this.#once('sound-title', on, () => ($('sound').title = `Turn the sound ${on ? 'off' : 'on'} (m)`));
  }

  /** The panel that is open, or `null`. */
  get panel() {
    return this.#panels.open;
  }

  closePanels() {
    this.#panels.close();
  }

  /** The words in place of the picture, or `over` the last one, with what can be done about it. */
  #notice(said, shown, over) {
    const { act } = said;
    this.#once('act', act?.what, (what) => {
      const focused = document.activeElement === $('notice-act');
      $('notice-act').hidden = !act;
      $('notice-act').dataset.what = what ?? '';
      $('notice-error').textContent = '';
      if (focused && !act) $('people-button').focus(); // Whoever pressed it goes on from there.
    });
    this.#text('notice-act', act?.label ?? '');
    this.#hide('notice', !shown);
    this.#once('notice over', over, () => $('notice').classList.toggle('over', over));
    this.#hide('text', shown); // Once is enough.
    this.#text('notice-head', said.head);
    this.#text('notice-text', line(said));
    this.#once('notice steps', said.steps.join(), () => {
      $('notice-steps').replaceChildren(...said.steps.map((step) => Object.assign(document.createElement('li'), { textContent: step })));
      $('notice-steps').hidden = said.steps.length === 0;
    });
  }

  /** The button while there is a report to read, and the report while it is being read. */
  #why({ offered, open }) {
    const focused = $('why').contains(document.activeElement) || document.activeElement === $('why-button');
    this.#once('why open', open, () => $('why-button').setAttribute('aria-expanded', String(open)));
    this.#hide('why', !open);
    this.#hide('why-button', !offered);
    if (focused && !offered) $('people-button').focus(); // It connects: whoever read goes on from there.
  }

  /** Whoever opens the report reads on in it, and is back at its button after that. */
  #openWhy(open, why) {
    why(open);
    $(open ? 'why' : 'why-button').focus({ preventScroll: true });
  }

  /** The door has the word; who comes back is told anew. */
  #away() {
    this.#written.delete('title');
    this.#announcer = new Announcer();
    this.#text('spoken', '');
  }

  /** The figures that are always visible, while there is a picture to measure. */
  #line({ said, facts, measurable }) {
    const live = said.state === 'live' || said.state === 'camera-gone';
    this.#hide('figures', !live);
    this.#text('size', (live && facts.width && `${facts.width}×${facts.height}`) || '');
    this.#text('fps', (live && fps(facts.fps)) || '');
    this.#text('rate', (live && bitrate(facts.bitrate_bps)) || '');
    this.#text('rtt', (live && facts.rtt_ms !== null && `${ms(facts.rtt_ms)} round trip`) || '');
    const delay = delayWords(facts.delay_ms, facts.sync_ms);
    this.#text('delay', !live ? '' : delay ? `delay ${delay}` : measurable === false ? 'delay not measurable here' : '');
  }

  #details({ facts, measured, measurable, status, hello, clockRtt_ms }) {
    const { video, audio } = status ?? {};
    this.#quality(qualityChoices(hello?.qualities, video?.rungs, facts.quality), facts.quality);
    const { reduced } = video ?? {};
    const percent = (share) => (share === null ? null : `${(share * 100).toFixed(1)} %`);
    const join = (...parts) => parts.filter(Boolean).join(', ') || null;
    const rows = {
      'd-source': join(video?.source === 'pattern' ? 'built-in test picture' : video?.name, video?.device),
      'd-why': video?.why,
      'd-reason': video?.state === 'gone' ? video.reason : null,
      'd-mode': mode(video?.negotiated),
      'd-wanted': differs(video) ? mode(video.wanted) : null,
      'd-delivered': join(fps(video?.delivered_fps), video?.rate_note),
      'd-reduced': reduced ? `${mode(reduced)}: ${reduced.why}` : null,
      'd-encoder': join(video?.encoder, video?.bitrate_bps && bitrate(video.bitrate_bps)),
      'd-shown': join(facts.width && `${facts.width}×${facts.height}`, fps(facts.fps)),
      'd-received': receivedQuality(video?.rungs, facts.width, facts.height),
      'd-codec': join(measured?.codec, measured?.decoder),
      'd-dropped': measured?.dropped ? `${measured.dropped} frames` : null,
      'd-video-rate': bitrate(measured?.video_bps),
      'd-delay': delayWords(facts.delay_ms, facts.sync_ms) ?? (measurable === false ? 'not measurable in this browser' : null),
      'd-slowest': ms(facts.delay_p95_ms),
      'd-behind': facts.sound_behind_ms === null ? null : `${Math.round(facts.sound_behind_ms)} ms`,
      'd-clock': facts.clock_error_ms === null ? null : `± ${facts.clock_error_ms.toFixed(1)} ms`,
      'd-rtt': ms(measured?.rtt_ms),
      'd-ws-rtt': ms(clockRtt_ms),
      'd-lost': percent(measured?.lost_share ?? null),
      'd-path': measured?.path,
      'd-audio': join(audio?.source === 'tone' ? 'built-in test tone' : audio?.source === 'off' ? 'off' : audio?.name, audio?.device),
      'd-audio-why': audio?.why,
      'd-audio-reason': audio?.state === 'gone' ? audio.reason : null,
      'd-audio-rate': bitrate(measured?.audio_bps),
      'd-drift': audio?.drift_ppm == null ? null : `${audio.drift_ppm.toFixed(1)} ppm`,
      'd-viewers': status?.viewers?.count === undefined ? null : `${status.viewers.count}${status.viewers.max ? ` of ${status.viewers.max}` : ''}`,
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

  /** The choice of quality, where there is one. */
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

  /** The document is written only on change: a screen reader and the layout notice each write. */
  #once(key, value, write) {
    if (this.#written.get(key) === value) return;
    this.#written.set(key, value);
    write(value);
  }
}

/** A state's sentence, with when it is tried again. */
function line({ text, again }) {
  return [text, again].filter(Boolean).join(' ');
}

function differs(video) {
  const { wanted, negotiated } = video ?? {};
  if (!wanted || !negotiated) return false;
  return wanted.width !== negotiated.width || wanted.height !== negotiated.height || Math.abs(wanted.fps - negotiated.fps) > 0.5;
}
