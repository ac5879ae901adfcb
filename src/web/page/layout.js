// Which camera is enlarged, and how many there were, as this browser keeps it for its next visit.

import { keep, kept } from './kept.js';

/** The layout that `storage()` has kept: { enlarged, last }, names of cameras or `null`; `last` is the one enlarged last. */
export function keptLayout(storage) {
  return { enlarged: kept(storage, 'enlarged'), last: kept(storage, 'last') };
}

export function keepLayout(storage, { enlarged, last }) {
  keep(storage, 'enlarged', enlarged);
  keep(storage, 'last', last);
}

/** The layout after a camera was enlarged (`null`: none is any more). */
export function enlarge(layout, name) {
  return { enlarged: name, last: name ?? layout.last };
}

/** How many cameras there are: the first offer of the next visit has so many sections for pictures (early.js). */
export function keepCount(storage, count) {
  keep(storage, 'cameras', count > 1 ? String(count) : null);
}
