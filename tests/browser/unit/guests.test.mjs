import assert from 'node:assert/strict';
import { test } from 'node:test';
import { Guests } from '../../../src/web/page/guests.js';

/** The required parts of an element. */
function element() {
  const made = { children: [], dataset: {}, textContent: '', addEventListener() {}, setAttribute() {} };
  made.append = (...parts) => made.children.push(...parts);
  made.replaceChildren = (...parts) => (made.children = parts.filter(Boolean));
  return made;
}

/** A document whose elements exist once they are asked for, and the requests of the page. */
function page(links) {
  const elements = new Map();
  const asked = [];
  globalThis.document = {
    baseURI: 'http://door/',
    createElement: element,
    getElementById: (id) => elements.get(id) ?? elements.set(id, element()).get(id),
  };
  globalThis.fetch = async (url, { method }) => {
    asked.push(`${method} ${url.pathname}`);
    return new Response(JSON.stringify(links));
  };
  return asked;
}

const lines = () => document.getElementById('guests').children.map(({ children: [, until] }) => until.textContent);
const two = [{ name: 'front', label: 'Front door' }, { name: 'back', label: 'Back' }];

test('who only watches asks for no guest links', () => {
  const asked = page([]);
  new Guests().draw(two);
  assert.deepEqual(asked, []);
  assert.equal(document.getElementById('guest-cameras').hidden, false);
});

test('the links name the cameras by their labels, and are asked for once', async () => {
  const asked = page([{ id: 'a', label: 'Grandma', cameras: ['back'], expires_unix: Date.now() / 1000 + 3600 }]);
  const guests = new Guests();
  await guests.load();
  assert.match(lines()[0], /, back$/);
  guests.draw(two);
  assert.match(lines()[0], /, Back$/);
  assert.deepEqual(asked, ['GET /api/guests']);
});
