// A disabled button with a countdown, which a screen reader does not read every second.

import { waitWords } from './words.js';

/** Waiting buttons: their timers and their labels before. */
const waiting = new Map();

/** Whether a button waits. */
export function waits(button) {
  return waiting.has(button);
}

/** Sets the label of a button, or the label after it has waited. */
export function label(button, text) {
  const wait = waiting.get(button);
  if (wait) wait.label = text;
  else button.textContent = text;
}

/** Disables a button for this many seconds, and shows a countdown on it. */
export function countDown(button, s) {
  const before = waiting.get(button);
  clearInterval(before?.timer);
  const wait = { timer: null, label: before?.label ?? button.textContent };
  const until_ms = performance.now() + s * 1000;
  const tick = () => {
    const left_s = Math.ceil((until_ms - performance.now()) / 1000);
    button.disabled = left_s > 0;
    button.textContent = left_s > 0 ? waitWords(left_s) : wait.label;
    if (left_s > 0) return;
    clearInterval(wait.timer);
    waiting.delete(button);
  };
  waiting.set(button, wait);
  wait.timer = setInterval(tick, 250);
  tick();
}
