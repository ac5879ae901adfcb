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

/**
 * What a person may choose from: [{ value, text }], or none where the daemon has one size only. `offered` is as the daemon
 * tells it, `rungs` the sizes if they are known. A wish that can't be had now stays visible: it is had as soon as it can.
 */
export function qualityChoices(offered, rungs, wish) {
  if (!(offered?.length > 1)) return [];
  const names = QUALITIES.filter((name) => name === 'auto' || name === wish || offered.includes(name));
  return names.map((value) => {
    if (value !== 'auto' && !offered.includes(value)) return { value, text: `${word(value)} (not available now)` };
    const size = sizeOf(rungs?.find((rung) => rung.name === value));
    return { value, text: size ? `${word(value)}, ${size}` : word(value) };
  });
}

/** Which of the sizes a picture of `width` and `height` is, in words, or `null`. */
export function receivedQuality(rungs, width, height) {
  const rung = width && rungs?.find((r) => r.width === width && r.height === height);
  return rung ? word(rung.name) : null;
}

function word(name) {
  return name[0].toUpperCase() + name.slice(1);
}

function sizeOf(rung) {
  return rung?.width ? `${rung.width}×${rung.height}` : null;
}
