// Saves or copies the picture that is shown now. It is the browser's own frame: nothing is requested from the device.

/** The current picture of a video element in full size, as an image of `kind`; `null` if there is none. */
export function still(video, kind) {
  const { videoWidth: width, videoHeight: height } = video;
  if (!width) return Promise.resolve(null);
  const canvas = Object.assign(document.createElement('canvas'), { width, height });
  canvas.getContext('2d').drawImage(video, 0, 0);
  return new Promise((done) => canvas.toBlob(done, kind, 0.92));
}

/** The file name for a camera's label and a local time: "front-door-2026-11-29-142501.jpg". */
export function stillName(label, date) {
  const what = label.normalize('NFC').replace(/[^\p{L}\p{N}]+/gu, '-').replace(/^-+|-+$/g, '').toLowerCase() || 'camera';
  const two = (n) => String(n).padStart(2, '0');
  const day = [date.getFullYear(), two(date.getMonth() + 1), two(date.getDate())].join('-');
  return `${what}-${day}-${[date.getHours(), date.getMinutes(), date.getSeconds()].map(two).join('')}.jpg`;
}

/** Saves a picture as a download. */
export function save(blob, name) {
  const link = Object.assign(document.createElement('a'), { href: URL.createObjectURL(blob), download: name });
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 10_000); // the browser may ask the person where to save it
}

/** Whether pictures can be copied to the clipboard: not over plain HTTP, and not in every browser. */
export function canCopyPictures() {
  return Boolean(globalThis.ClipboardItem && navigator.clipboard?.write);
}

/** Copies a picture to the clipboard as PNG, which all browsers accept. Must be called from a click; returns whether it worked. */
export async function copyPicture(video) {
  try {
    const picture = still(video, 'image/png');
    await navigator.clipboard.write([new ClipboardItem({ 'image/png': picture })]);
    return true;
  } catch (e) {
    console.debug('not copied:', e.message);
    return false;
  }
}
