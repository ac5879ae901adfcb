// Runs first: connects at once, while the rest of the page is still loading. Usually the browser has access; if it has none, door.js
// takes over.

import { kept } from './kept.js';
import { keptLayout } from './layout.js';
import { keptQuality } from './quality.js';
import { Session } from './session.js';

export const session = new Session(document.baseURI);
/** Whether connecting has begun (early.js). */
export const { begun } = self.early;
/** Whether the sound was on at the last visit. */
export const loud = kept(() => localStorage, 'sound') === 'on';
session.wish({
  sound: loud,
  quality: keptQuality(() => localStorage),
  layout: keptLayout(() => localStorage),
  room: { width: innerWidth * devicePixelRatio, height: innerHeight * devicePixelRatio },
});
if (begun) session.start();
