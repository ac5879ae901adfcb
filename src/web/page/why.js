// Shows the report of why it does not connect. Loaded when it is first needed.

import { copy } from './copy.js';
import { diagnose, reportText } from './diagnosis.js';
import { $ } from './dom.js';
import { t } from './language.js';

export class Why {
  #seen = null;
  #drawn = '';

  constructor() {
    $('why-copy').addEventListener('click', async () => {
      const done = await copy(reportText(this.#seen));
      $('why-copied').textContent = done ? t('Copied.') : t('The browser refused to copy it: select the text and copy it yourself.');
    });
  }

  /** Writes the report for `seen` (snapshot.js), and returns its first sentence. */
  draw(seen) {
    this.#seen = seen;
    const { sentences, pairs, facts } = diagnose(seen);
    const passing = [t('Time'), t('Waited')];
    const text = JSON.stringify([sentences, pairs, facts.filter(([name]) => !passing.includes(name))]);
    if (text === this.#drawn) return sentences[0];
    this.#drawn = text;
    $('why-tried').hidden = pairs.length === 0;
    $('why-sentences').replaceChildren(...sentences.map((s) => make('li', s)));
    const rows = pairs.map(({ from, to, how, fate }) => make('tr', null, [to, how, fate, from].map((words) => make('td', words))));
    $('why-pairs').replaceChildren(...rows);
    $('why-facts').replaceChildren(...facts.map(([name, value]) => make('div', null, [make('dt', name), make('dd', value)])));
    return sentences[0];
  }

  /** Removes the note about copying, which was about the previous report. */
  clear() {
    $('why-copied').textContent = '';
  }
}

function make(kind, text, children = []) {
  const element = document.createElement(kind);
  if (text !== null) element.textContent = text;
  element.append(...children);
  return element;
}
