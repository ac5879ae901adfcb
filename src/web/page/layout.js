// Which camera is enlarged, and the number of cameras, as this browser stores them for its next visit.

import { keep, kept } from './kept.js';

/** The layout in `storage()`: { enlarged, last }, names of cameras or `null`; `last` is the camera that was enlarged last. */
export function keptLayout(storage) {
  return { enlarged: kept(storage, 'enlarged'), last: kept(storage, 'last') };
}

export function keepLayout(storage, { enlarged, last }) {
  keep(storage, 'enlarged', enlarged);
  keep(storage, 'last', last);
}

/** The layout after a camera was enlarged (`null`: none is enlarged any more). */
export function enlarge(layout, name) {
  return { enlarged: name, last: name ?? layout.last };
}

/** Stores the number of cameras: the first offer of the next visit has this many video sections (early.js). */
export function keepCount(storage, count) {
  keep(storage, 'cameras', count > 1 ? String(count) : null);
}
