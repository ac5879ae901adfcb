// The page's language. The page is written in English, and its English sentences are the keys of the translations in languages.js,
// which is loaded only if needed. A sentence without a translation stays in English.

import { kept } from './kept.js';

/** How long to wait for the translations, ms: English is better than nothing. */
const LOAD_MS = 5000;
/** Elements that are not translated: for machines, or for browsers without scripts. */
const NOT_WORDS = 'code, kbd, script, noscript';
const NAMED = ['aria-label', 'title', 'label'];

const ENGLISH = prepared({ code: 'en', locale: 'en-GB', point: '.', small: true, texts: {}, told: {} });
let language = ENGLISH;

/** Marks a sentence that is translated later, by `t`, where it is shown. */
export const english = (text) => text;

/**
 * A sentence in the page's language, with `values` in place of its {names}. If one English word means two things, `|` and its
 * subject follow it: 'Full|size'.
 */
export function t(text, values = {}) {
  const found = language.texts.get(text) ?? text.split('|')[0];
  return fill(found, values);
}

/**
 * Translates a message of the device, or of the code that connects to it, which are in English: with or without a capital and a full
 * stop, one sentence or several. A message without a translation, and `null`, stay as they are.
 */
export function told(text) {
  if (!text || language === ENGLISH) return text;
  return translated(text) ?? text.split(/([.!?] |; )/).map((part) => translated(part) ?? part).join('');
}

/** The name of a state for use within a sentence: in lower case, if the language writes it so. */
export function small(text) {
  return language.small ? text.toLowerCase().replace('h.264', 'H.264') : text;
}

/** How dates and numbers are written. */
export function locale() {
  return language.locale;
}

/** A number with this many digits after the point. */
export function number(value, digits) {
  return value.toFixed(digits).replace('.', language.point);
}

/** The result of `make()` in English, for people who help from afar. */
export function inEnglish(make) {
  const before = language;
  language = ENGLISH;
  try {
    return make();
  } finally {
    language = before;
  }
}

/** The preferred languages, the best one first: the stored choice, then those of the browser. */
export function wantedLanguages(storage, browser) {
  return [kept(storage, 'language'), ...(browser ?? [])].filter(Boolean);
}

/** Whether English is preferred, so that nothing needs to be loaded. */
export function speaksEnglish([first = 'en']) {
  return isOf(first, ENGLISH);
}

/** The best of `all` for the preferred languages, or English. */
export function pick(wanted, all) {
  const found = wanted.map((tag) => [ENGLISH, ...all].find((one) => isOf(tag, one)));
  return found.find(Boolean) ?? ENGLISH;
}

/** Sets the language, one of languages.js. */
export function setLanguage(one) {
  language = one === ENGLISH ? ENGLISH : prepared(one);
}

/** Sets the first of the `wanted` languages that exists, and translates the document. */
export async function speak(wanted) {
  let timer;
  const late = new Promise((_, reject) => (timer = setTimeout(reject, LOAD_MS)));
  const { LANGUAGES } = await Promise.race([import('./languages.js'), late]).catch(() => ({ LANGUAGES: [] }));
  clearTimeout(timer);
  setLanguage(pick(wanted, LANGUAGES));
  if (language === ENGLISH) return;
  document.documentElement.lang = language.code;
  translate(document.body);
}

/** Whether a browser's language tag ("de-AT") belongs to this language. */
function isOf(tag, { code }) {
  return `${tag}-`.toLowerCase().startsWith(`${code}-`.toLowerCase());
}

/** Translates the text that the document has before anything is drawn. */
function translate(root) {
  const walk = document.createTreeWalker(root, NodeFilter.SHOW_TEXT);
  while (walk.nextNode()) {
    const node = walk.currentNode;
    const words = node.data.trim();
    const text = words && !node.parentElement.closest(NOT_WORDS) && language.texts.get(words.replace(/\s+/g, ' '));
    if (text) node.data = node.data.replace(words, () => text);
  }
  for (const name of NAMED) {
    for (const element of root.querySelectorAll(`[${name}]`)) {
      const text = language.texts.get(element.getAttribute(name));
      if (text && !element.closest(NOT_WORDS)) element.setAttribute(name, text);
    }
  }
}

/** A language of languages.js, prepared for lookups. */
function prepared(one) {
  const [texts, said] = [one.texts, one.told].map(Object.entries);
  return {
    ...one,
    point: one.point ?? (1.5).toLocaleString(one.locale)[1], // not computed for English, because it takes a browser tens of ms
    texts: new Map(texts),
    exact: new Map([...texts, ...said].map(([key, text]) => [bare(key).toLowerCase(), text])),
    patterns: said.filter(([key]) => key.includes('{')).map(([key, text]) => [patternOf(bare(key)), text]),
  };
}

/** A pattern that matches a sentence with placeholders; none of them matches more than one clause. */
function patternOf(key) {
  const literal = key.replace(/[.*+?^$()[\]|\\]/g, '\\$&');
  return new RegExp(`^${literal.replace(/\{(\w+)\}/g, '(?<$1>(?:(?![.!?;] ).)+?)')}$`, 'is');
}

/** The translation of one sentence of the device, or `null`. */
function translated(text) {
  const plain = bare(text);
  const found = language.exact.get(plain.toLowerCase()) ?? matched(plain);
  if (!found) return null;
  const begins = /^\p{Lu}/u.test(text) ? found.charAt(0).toUpperCase() + found.slice(1) : found;
  return bare(begins) + text.slice(plain.length);
}

function matched(plain) {
  for (const [pattern, text] of language.patterns) {
    const { groups } = pattern.exec(plain) ?? {};
    if (groups) return fill(text, groups);
  }
  return null;
}

/** Without its full stop. */
function bare(text) {
  return text.replace(/\.$/, '');
}

function fill(text, values) {
  return text.replace(/\{(\w+)\}/g, (all, name) => (name in values ? values[name] : all));
}
