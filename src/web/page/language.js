// The page's language. It is written in English, and its English sentences are the keys of all other languages, which are in
// languages.js: that is loaded only by who needs it. A sentence that nobody has translated stays in English.

import { kept } from './kept.js';

/** Whoever needs another language waits no longer than this for it: English is better than nothing. */
const LOAD_MS = 5000;
/** What is for machines, or for a browser without scripts. */
const NOT_WORDS = 'code, kbd, script, noscript';
const NAMED = ['aria-label', 'title', 'label'];

const ENGLISH = prepared({ code: 'en', locale: 'en-GB', point: '.', small: true, texts: {}, told: {} });
let language = ENGLISH;

/** Marks a sentence that is translated, by `t`, where it is shown. */
export const english = (text) => text;

/**
 * A sentence in the page's language, with `values` in place of its {names}. Where one English word means two things, `|` follows it,
 * and what it is about: 'Full|size'.
 */
export function t(text, values = {}) {
  const found = language.texts.get(text) ?? text.split('|')[0];
  return fill(found, values);
}

/**
 * What the device says, or what connects to it, which come in English: with or without a capital and a full stop, as one sentence
 * or as several. What nobody has translated stays as it is, and what is nothing (`null`), too.
 */
export function told(text) {
  if (!text || language === ENGLISH) return text;
  return translated(text) ?? text.split(/([.!?] |; )/).map((part) => translated(part) ?? part).join('');
}

/** A name of a state as a word among others, where the language has no capitals there. */
export function small(text) {
  return language.small ? text.toLowerCase().replace('h.264', 'H.264') : text;
}

/** How dates and numbers are written. */
export function locale() {
  return language.locale;
}

/** A number with so many digits after the point. */
export function number(value, digits) {
  return value.toFixed(digits).replace('.', language.point);
}

/** What `make()` answers while the page speaks English: for whoever helps from afar. */
export function inEnglish(make) {
  const before = language;
  language = ENGLISH;
  try {
    return make();
  } finally {
    language = before;
  }
}

/** The languages that a person wants, the best one first: the one that `storage()` has kept, then those of the browser. */
export function wantedLanguages(storage, browser) {
  return [kept(storage, 'language'), ...(browser ?? [])].filter(Boolean);
}

/** Whether English is what is wanted, so that there is nothing to wait for. */
export function speaksEnglish([first = 'en']) {
  return isOf(first, ENGLISH);
}

/** The first of `all` that is wanted, or English. */
export function pick(wanted, all) {
  const found = wanted.map((tag) => [ENGLISH, ...all].find((one) => isOf(tag, one)));
  return found.find(Boolean) ?? ENGLISH;
}

/** Speaks a language of languages.js from now on. */
export function setLanguage(one) {
  language = one === ENGLISH ? ENGLISH : prepared(one);
}

/** Speaks the first of the `wanted` languages that there is, and puts the document into it. */
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

/** Whether a browser's tag ("de-AT") is of this language. */
function isOf(tag, { code }) {
  return `${tag}-`.toLowerCase().startsWith(`${code}-`.toLowerCase());
}

/** What is in the document before anything is drawn. */
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

/** A language of languages.js as it is looked up in. */
function prepared(one) {
  const [texts, said] = [one.texts, one.told].map(Object.entries);
  return {
    ...one,
    point: one.point ?? (1.5).toLocaleString(one.locale)[1], // English asks nobody: that takes a browser tens of ms
    texts: new Map(texts),
    exact: new Map([...texts, ...said].map(([key, text]) => [bare(key).toLowerCase(), text])),
    patterns: said.filter(([key]) => key.includes('{')).map(([key, text]) => [patternOf(bare(key)), text]),
  };
}

/** What a sentence with placeholders looks like; none of them stands for more than one clause. */
function patternOf(key) {
  const literal = key.replace(/[.*+?^$()[\]|\\]/g, '\\$&');
  return new RegExp(`^${literal.replace(/\{(\w+)\}/g, '(?<$1>(?:(?![.!?;] ).)+?)')}$`, 'is');
}

/** One sentence of the device's, or `null`. */
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
