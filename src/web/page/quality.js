// Which size of the picture is asked for: a wish of this browser, kept for its next visit.

import { keep, kept } from './kept.js';

/** Every wish there is, as the messages have it. */
export const QUALITIES = ['auto', 'full', 'half', 'quarter'];

/** The wish that `storage()` has kept. */
export function keptQuality(storage) {
  const quality = kept(storage, 'quality');
  return QUALITIES.includes(quality) ? quality : 'auto';
}

/** Keeps a wish, where that is allowed. */
export function keepQuality(storage, quality) {
  keep(storage, 'quality', quality);
}
