// The first that runs: connects at once, while the rest of the page is still on its way. Mostly we are let in; where we
// are not, door.js takes it from there.

import { kept } from './kept.js';
import { keptLayout } from './layout.js';
import { keptQuality } from './quality.js';
import { Session } from './session.js';

export const session = new Session(document.baseURI);
/** Whether it was begun (early.js). */
export const { begun } = self.early;
session.quality = keptQuality(() => localStorage);
session.layout = keptLayout(() => localStorage);
/** Whether this browser had the sound on last time. */
export const loud = kept(() => localStorage, 'sound') === 'on';
session.setSound(loud);
if (begun) session.start();
