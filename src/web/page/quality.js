// The size of the picture that this browser requests, stored for its next visit.

import { keep, kept } from './kept.js';

/** All possible choices, as in the messages. */
export const QUALITIES = ['auto', 'full', 'half', 'quarter'];

/** The choice in `storage()`. */
export function keptQuality(storage) {
  const quality = kept(storage, 'quality');
  return QUALITIES.includes(quality) ? quality : 'auto';
}

/** Stores a choice, if storage is allowed. */
export function keepQuality(storage, quality) {
  keep(storage, 'quality', quality);
}
