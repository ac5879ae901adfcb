import assert from 'node:assert/strict';
import { readFileSync, readdirSync } from 'node:fs';
import { test } from 'node:test';
import { diagnose, reportText } from '../../../src/web/page/diagnosis.js';
import { MEANINGS } from '../../../src/web/page/explain.js';
import { inEnglish, locale, number, pick, setLanguage, small, speak } from '../../../src/web/page/language.js';
import { speaksEnglish, t, told, wantedLanguages } from '../../../src/web/page/language.js';
import { LANGUAGES } from '../../../src/web/page/languages.js';
import { describe, expires, mode, title } from '../../../src/web/page/words.js';

const PAGE = new URL('../../../src/web/page/', import.meta.url);
const RUST = new URL('../../../src/', import.meta.url);
/** The messages of these modules are translated by the modules that show them. */
const TOLD_BY = ['api.js', 'link.js', 'peer.js', 'session.js', 'signaling.js', 'whep.js'];
/** A name, and a message between tabs. */
const NO_KEYS = ['peercam', 'I do'];
const NOT_WORDS = ['code', 'kbd', 'script', 'noscript'];

const read = (url) => readFileSync(url, 'utf8');
const modules = readdirSync(PAGE).filter((name) => name.endsWith('.js') && name !== 'languages.js');
/** Removes comments, which have apostrophes. */
const bare = (source) => source.replace(/^\s*(\/\/|\/?\*).*$/gm, '').replace(/ \/\/ .*$/gm, '');
const source = (name) => bare(read(new URL(name, PAGE)));
const QUOTED = /'(?:[^'\\\n]|\\.)*'|"(?:[^"\\\n]|\\.)*"|`(?:[^`\\]|\\.)*`/g;
const unquoted = (literal) => literal.slice(1, -1).replace(/\$\{[^}]*\}/g, '{}').replace(/\\(.)/g, '$1');
const placeholders = (text) => [...text.matchAll(/\{(\w+)\}/g)].map(([, name]) => name).sort();
const collapsed = (text) => text.trim().replace(/\s+/g, ' ');

/** The keys that a module translates. */
function keysOf(name) {
  const calls = source(name).matchAll(/\b(?:t|english)\(\s*('(?:[^'\\\n]|\\.)*'|"(?:[^"\\\n]|\\.)*")/g);
  return [...calls].map(([, literal]) => unquoted(literal));
}

/** The texts in index.html. */
function keysOfPage() {
  const html = read(new URL('index.html', PAGE));
  const found = [];
  let hidden = 0;
  for (const [token] of html.slice(html.indexOf('<body>')).matchAll(/<!--.*?-->|<[^>]+>|[^<]+/gs)) {
    const [, end, name] = /^<(\/?)(\w+)/.exec(token) ?? [];
    if (NOT_WORDS.includes(name)) hidden += end ? -1 : 1;
    if (hidden || token.startsWith('<!--')) continue;
    if (name) found.push(...[...token.matchAll(/ (?:aria-label|title|label)="([^"]*)"/g)].map(([, text]) => text));
    else found.push(collapsed(token));
  }
  return found.filter((text) => /\p{L}/u.test(text));
}

const keys = new Set([...modules.flatMap(keysOf), ...keysOfPage(), ...Object.values(MEANINGS)].filter((key) => !NO_KEYS.includes(key)));


/** Every string of the daemon, as a pattern of its possible messages. */
const SAID_BY_DEVICE = (() => {
  const files = readdirSync(RUST, { recursive: true }).filter((name) => name.endsWith('.rs'));
  const strings = new Set();
  for (const file of files) {
    const rust = read(new URL(file, RUST)).replace(/^\s*\/\/.*$/gm, '');
    // A quote as a character literal does not open a string.
    for (const [, text] of rust.matchAll(/'(?:\\.|[^'\\])'|"((?:[^"\\]|\\[\s\S])*)"/g)) {
      if (text) strings.add(text.replace(/\\\n\s*/g, '').replace(/\\(["'\\])/g, '$1'));
    }
  }
  return [...strings].map(patternOf);
})();

function patternOf(text) {
  const parts = text.split(/\{[^}]*\}/);
  const literal = parts.map((part) => part.replace(/[.*+?^$()[\]|\\{}]/g, '\\$&'));
  return { text, own: parts.join('').length, matches: new RegExp(`^${literal.join('.*')}$`, 's') };
}

/** Every string of the daemon and of TOLD_BY, as patterns. */
const SAID = [...SAID_BY_DEVICE, ...TOLD_BY.flatMap(stringsOf).map(patternOf)];

/** Whether some source can produce this message; most of the words must be in the source. */
function isSaid(key) {
  const text = key.replace(/\{\w+\}/g, '*');
  const own = key.replace(/\{\w+\}/g, '').length;
  return SAID.some((one) => one.own >= 0.4 * own && (one.matches.test(text) || one.text.includes(text)));
}

function stringsOf(name) {
  return [...source(name).matchAll(QUOTED)].map(([literal]) => unquoted(literal));
}

/** Whether a text is a sentence: several words starting with a capital; not a header name, not a part of a selector. */
const isSentence = (text) => /^\p{Lu}\p{L}*,? \p{Ll}/u.test(text);
const speaking = (code) => setLanguage(pick([code], LANGUAGES));
const [german, french] = ['de', 'fr'].map((code) => LANGUAGES.find((one) => one.code === code));

test('each language has all texts of the page: none is missing, and none is left over', () => {
  assert.ok(keys.size > 400, `${keys.size} found`);
  for (const { code, texts } of LANGUAGES) {
    const has = Object.keys(texts);
    assert.deepEqual([...keys].filter((key) => !has.includes(key)), [], `missing in ${code}`);
    assert.deepEqual(has.filter((key) => !keys.has(key)), [], `left over in ${code}`);
  }
});

test('each language has the same messages, and each message is produced somewhere', () => {
  const all = new Set(LANGUAGES.flatMap(({ told: said }) => Object.keys(said)));
  for (const { code, told: said } of LANGUAGES) assert.deepEqual([...all].filter((key) => !(key in said)), [], `missing in ${code}`);
  assert.deepEqual([...all].filter((key) => !isSaid(key)), [], 'nobody says this');
});

test('no key stands twice: the first translation would be lost', () => {
  const blocks = [...read(new URL('languages.js', PAGE)).matchAll(/^ {4}(texts|told): \{\n(.*?)^ {4}\},$/gms)];
  assert.deepEqual(blocks.map(([, kind]) => kind), LANGUAGES.flatMap(() => ['texts', 'told']));
  for (const [n, [, kind, block]] of blocks.entries()) {
    const { code, [kind]: translated } = LANGUAGES[Math.floor(n / 2)];
    const literals = [...block.matchAll(/^ {6}('(?:[^'\\\n]|\\.)*'|"(?:[^"\\\n]|\\.)*"):/gm)].map(([, literal]) => unquoted(literal));
    assert.deepEqual(literals.filter((key, at) => literals.indexOf(key) !== at), [], `twice in ${code}, ${kind}`);
    assert.deepEqual(literals, Object.keys(translated), `${code}, ${kind}: all keys were found`);
  }
});

test('a translation has words, and the placeholders of its key', () => {
  for (const { code, texts, told: said } of LANGUAGES) {
    for (const [key, text] of [...Object.entries(texts), ...Object.entries(said)]) {
      assert.deepEqual(placeholders(text), placeholders(key), `${code}: ${key}`);
      assert.equal(collapsed(text).length, text.length, `${code}: ${key}`);
    }
  }
});

test('every sentence on the page has a key', () => {
  const known = new Set([...keys].map((key) => key.replace(/\{\w+\}/g, '{}')));
  for (const name of modules.filter((module) => !TOLD_BY.includes(module))) {
    assert.doesNotMatch(source(name), /\b(t|english|told)\(`/, `${name}: a key has no \${values}`);
    const sentences = stringsOf(name).filter((text) => isSentence(text) && !NO_KEYS.includes(text));
    assert.deepEqual(sentences.filter((text) => !known.has(text.replace(/\{\w+\}/g, '{}'))), [], name);
  }
  const said = Object.keys(LANGUAGES[0].told);
  for (const name of TOLD_BY) {
    const isTold = (text) => said.some((key) => patternOf(key).matches.test(text.replace(/\.$/, '')));
    assert.deepEqual(stringsOf(name).filter((text) => isSentence(text) && !isTold(text)), [], name);
  }
});

test('English needs nothing', () => {
  speaking('en');
  assert.equal(t('Wait {time}', { time: '3 s' }), 'Wait 3 s');
  assert.equal(t('Full|size'), 'Full');
  assert.equal(t('{a} and $1 {b}', { a: '$&' }), '$& and $1 {b}', 'a value is taken as it is');
  assert.equal(told('camera unplugged'), 'camera unplugged');
  assert.equal(small('No H.264 in this browser'), 'no H.264 in this browser');
  assert.deepEqual([locale(), number(2.04, 1)], ['en-GB', '2.0']);
});

test('a translated sentence has its values, and a sentence without a translation stays', () => {
  speaking('de');
  assert.equal(t('{live} of {all} live', { live: 1, all: 3 }), '1 von 3 live');
  assert.equal(t('Nobody has {this}', { this: 'that' }), 'Nobody has that');
  assert.equal(t('Full|size'), 'Voll');
  assert.equal(t('None|kind'), 'None');
  assert.deepEqual([locale(), number(2.04, 1), number(30, 0)], ['de-DE', '2,0', '30']);
  speaking('fr');
  assert.deepEqual([t('Full'), t('Full|size')], ['Complet', 'Entière']);
  speaking('en');
});

test('names of states are in lower case within a sentence, but nouns are not', () => {
  speaking('de');
  assert.equal(small(t('Camera gone')), 'Kamera weg');
  speaking('fr');
  assert.equal(small(t('Camera gone')), 'caméra absente');
  assert.equal(small(t('No H.264 in this browser')), 'pas de H.264 dans ce navigateur');
  speaking('en');
});

test('messages of the device are found with and without a capital and a full stop, and by pattern', () => {
  speaking('de');
  const full = 'es schauen zu viele Leute zu (höchstens 3)';
  assert.equal(told('too many people are watching (limit 3)'), full);
  assert.equal(told('Too many people are watching (limit 3).'), `E${full.slice(1)}.`);
  assert.equal(told('/dev/video0 is in use by another program'), '/dev/video0 ist belegt: Ein anderes Programm benutzt es');
  assert.equal(told('The device does not answer.'), 'Das Gerät antwortet nicht.');
  assert.equal(told('the board is too hot'), 'die Platine ist zu heiß', 'the page says the same');
  speaking('en');
});

test('several sentences are translated one by one, and unknown ones stay', () => {
  speaking('de');
  const ended = 'Dieser Gastlink ist abgelaufen.';
  assert.equal(told('Camera unplugged. The flux is low. This guest link has ended.'), `Kamera ausgesteckt. The flux is low. ${ended}`);
  const busy = 'hw:C920 ist belegt: Ein anderes Programm benutzt es';
  assert.equal(told('it is the first microphone on USB; hw:C920 is in use by another program'), `das erste an USB; ${busy}`);
  for (const text of ['opening /dev/video9: Invalid argument (os error 22)', 'a; b. c', '', null, undefined]) assert.equal(told(text), text);
  speaking('en');
});

test('the chosen language is used, else the first available one of the browser', () => {
  const storage = (text) => () => ({ getItem: (name) => (name === 'peercam.language' ? text : null) });
  assert.deepEqual(wantedLanguages(storage(null), ['de-AT', 'en']), ['de-AT', 'en']);
  assert.deepEqual(wantedLanguages(storage('fr'), ['de']), ['fr', 'de']);
  assert.deepEqual(wantedLanguages(storage(null), undefined), []);
  const picked = (...wanted) => pick(wanted, LANGUAGES).code;
  assert.equal(picked('de-AT'), 'de');
  assert.equal(picked('DE'), 'de');
  assert.equal(picked('nl', 'fr-CA', 'de'), 'fr');
  assert.equal(picked('nl', 'en-US', 'de'), 'en');
  assert.equal(picked('den', 'nl'), 'en');
  assert.equal(picked(), 'en');
  for (const [wanted, english] of [[['en-US', 'de'], true], [['EN'], true], [[], true], [['de', 'en'], false], [['nl'], false]]) {
    assert.equal(speaksEnglish(wanted), english, wanted.join());
  }
});

/** The required parts of a document: text nodes, each in an element of that name, and elements with attributes. */
function documentOf(texts, elements) {
  const nodes = texts.map(([name, data]) => ({ data, parentElement: { closest: (names) => names.split(', ').includes(name) } }));
  const made = elements.map((attributes) => ({
    attributes,
    closest: () => null,
    getAttribute: (name) => attributes[name],
    setAttribute: (name, text) => (attributes[name] = text),
  }));
  const walker = { currentNode: null, nextNode: () => (walker.currentNode = nodes.shift() ?? null) };
  const all = [...nodes];
  const body = { querySelectorAll: (selector) => made.filter(({ attributes }) => selector.slice(1, -1) in attributes) };
  return { documentElement: { lang: 'en' }, body, createTreeWalker: () => walker, texts: () => all.map(({ data }) => data), elements };
}

test('the document is translated, except what is for machines', async () => {
  globalThis.NodeFilter = { SHOW_TEXT: 4 };
  globalThis.document = documentOf(
    [['p', '\n    Full\n      screen '], ['code', 'Full screen'], ['p', '\n  '], ['p', 'peercam'], ['span', ', nobody knows this']],
    [{ title: 'Full screen (f)', 'aria-label': 'Controls' }, { title: 'something else' }],
  );
  await speak(['nl', 'de-CH']);
  const { documentElement, texts, elements } = document;
  assert.equal(documentElement.lang, 'de');
  assert.deepEqual(texts(), ['\n    Vollbild ', 'Full screen', '\n  ', 'peercam', ', nobody knows this']);
  assert.deepEqual(elements, [{ title: 'Vollbild (f)', 'aria-label': 'Bedienung' }, { title: 'something else' }]);
  assert.equal(t('Full screen'), 'Vollbild');
  await speak(['nl']);
  assert.equal(t('Full screen'), 'Full screen', 'where there is none that is wanted it is English');
});

test('the whole page is in German, but the report for support is not', () => {
  const seen = JSON.parse(read(new URL('../../data/connecting/chromium-udp-blocked.json', import.meta.url)));
  const english = reportText(seen);
  speaking('de');
  const { sentences, facts } = diagnose({ ...seen, told: 'camera unplugged' });
  assert.match(sentences[0], /^Keine Antwort von UDP-Port \d+ von 10\.77\.9\.1/);
  assert.ok(sentences.includes('Das Gerät sagt zum Versuch davor: Kamera ausgesteckt.'));
  assert.ok(facts.some(([name]) => name === 'Browser') && facts.some(([name]) => name === german.texts['Own addresses']));
  assert.equal(reportText(seen), english);
  assert.equal(locale(), 'de-DE', 'and goes on in German');
  const noon = new Date(2026, 10, 20, 12).getTime() / 1000;
  assert.equal(expires(noon + 86_400, noon), 'bis 21. November, 12:00');
  assert.equal(mode({ width: 640, height: 480, fps: 7.5, format: 'YUYV' }), '640×480, 7,5 Bilder/s, YUYV');
  const known = { socket: 'closed', lost_ms: null, media: 'none', retry_ms: 2500, status: null, everLive: false, since_ms: 0, shown_ms: null };
  const said = describe({ ...known, trouble: { kind: 'full', message: 'too many people are watching (limit 1)' } }, 0);
  assert.equal(said.text, 'Es schauen zu viele Leute zu (höchstens 1). Sie kommen von selbst hinein, sobald jemand geht.');
  assert.equal(title(said), 'Voll — peercam');
  assert.equal(inEnglish(() => t('Full screen')), 'Full screen');
  speaking('en');
});

test('French has spaces before punctuation', () => {
  const texts = [...Object.values(french.texts), ...Object.values(french.told)];
  assert.deepEqual(texts.filter((text) => / [:;?!»]|« /.test(text)), []);
});
