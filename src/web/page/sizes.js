// The picture sizes in words: the choices, and the size that arrives.

import { english, t } from './language.js';
import { QUALITIES } from './quality.js';

/** The words for the values in messages. */
const WORDS = { auto: english('Auto'), full: english('Full|size'), half: english('Half'), quarter: english('Quarter') };

/** The sizes from large to small. */
const SIZES = ['full', 'half', 'quarter'];

/**
 * The choices for the person: [{ value, text }], or none if the daemon has only one size. `offered` is what the daemon offers,
 * `rungs` the sizes if they are known. A choice that is not available now stays visible: it applies as soon as it is available.
 */
export function qualityChoices(offered, rungs, wish) {
  if (!(offered?.length > 1)) return [];
  const names = QUALITIES.filter((name) => name === 'auto' || name === wish || offered.includes(name));
  return names.map((value) => {
    if (value !== 'auto' && !offered.includes(value)) return { value, text: t('{size} (not available now)', { size: word(value) }) };
    const size = sizeOf(rungs?.find((rung) => rung.name === value));
    return { value, text: size ? `${word(value)}, ${size}` : word(value) };
  });
}

/**
 * The words for the size of a picture of `width` and `height`, or `null`. `track` is what the device reports of it: if it sends
 * less than was requested, the words say so.
 */
export function receivedQuality(rungs, width, height, track) {
  const rung = width && rungs?.find((r) => r.width === width && r.height === height);
  if (!rung) return null;
  const half = track?.pictures === 'base';
  const received = half ? t('{size}, every second picture', { size: word(rung.name) }) : word(rung.name);
  const less = half || SIZES.indexOf(track?.rung) > Math.max(0, SIZES.indexOf(track?.quality));
  return less ? t('{received}, because the network carries no more', { received }) : received;
}

function word(name) {
  return t(WORDS[name]);
}

function sizeOf(rung) {
  return rung?.width ? `${rung.width}×${rung.height}` : null;
}
