// The first that runs: connects at once, while the rest of the page is still on its way. Mostly we are let in; where we
// are not, door.js takes it from there.

import { Session } from './session.js';

export const session = new Session(document.baseURI);
/** Whether it was begun: a link with a secret has to be looked at first. */
export const begun = !/^#(pair|guest)=/.test(location.hash);
if (begun) session.start();
