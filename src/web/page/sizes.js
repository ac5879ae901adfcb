// The sizes of the picture in words: which there are to choose from, and which one comes.

import { english, t } from './language.js';
import { QUALITIES } from './quality.js';

/** By the messages' word for it. */
const WORDS = { auto: english('Auto'), full: english('Full|size'), half: english('Half'), quarter: english('Quarter') };

/**
 * What a person may choose from: [{ value, text }], or none where the daemon has one size only. `offered` is as the daemon
 * tells it, `rungs` the sizes if they are known. A wish that can't be had now stays visible: it is had as soon as it can.
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

/** Which of the sizes a picture of `width` and `height` is, in words, or `null`. */
export function receivedQuality(rungs, width, height) {
  const rung = width && rungs?.find((r) => r.width === width && r.height === height);
  return rung ? word(rung.name) : null;
}

function word(name) {
  return t(WORDS[name]);
}

function sizeOf(rung) {
  return rung?.width ? `${rung.width}×${rung.height}` : null;
}
