// The cameras of the device, and what the viewer wants of each. Pure.

import { boxOf } from './grid.js';

/** The sizes from large to small, and their share of the full width and height. */
const SHARES = { full: 1, half: 1 / 2, quarter: 1 / 4 };
/** A picture may be enlarged this much: in motion, nobody sees that a larger one would be sharper. */
const ENLARGED_MOST = 1.5;

/** The cameras in `hello`: [{ name, label, has_audio, qualities, width, height }]. An older daemon has one camera without a name. */
export function camerasOf(hello) {
  if (!hello) return [];
  const { cameras, has_audio, qualities } = hello;
  return cameras ?? [{ name: 'camera', label: 'Camera', has_audio, qualities }];
}

/** Whether `names` are the names of `cameras`, in any order. */
export function sameCameras(names, cameras) {
  return names.length === cameras.length && cameras.every(({ name }) => names.includes(name));
}

/** The camera that is heard and measured: the enlarged one, else the one that was enlarged last, else the first. */
export function mainOf(cameras, { enlarged, last }) {
  const find = (wish) => cameras.find(({ name }) => name === wish);
  return find(enlarged) ?? find(last) ?? cameras[0] ?? null;
}

/**
 * The size to request of a camera: the one that the person chose, `wish`, or a smaller one that is enough for `box`, which has the
 * width and height of its picture's place in the window, in pixels of the screen.
 */
export function qualityOf({ width, height, qualities }, box, wish) {
  if (!width || !box.width) return wish; // not known yet
  const shown = Math.min(box.width, (box.height * width) / height);
  const offered = Object.keys(SHARES).filter((name) => qualities.includes(name));
  const enough = offered.findLast((name) => width * SHARES[name] * ENLARGED_MOST >= shown) ?? 'full';
  // The largest one is no limit; the device may call it "auto".
  return enough === 'full' || SHARES[wish] <= SHARES[enough] ? wish : enough;
}

/**
 * What the viewer wants: { sound, listen, sections: [{ mid, camera, quality, paused }] }. `mids` maps each camera's name to its
 * video section; `wishes` is { sound, quality, layout, room, boxes, paused }, where `boxes` has the box of each camera's picture (see
 * qualityOf) by name, `room` is the box of all of them, and `paused` has the names of the cameras that nobody sees.
 */
export function wantedOf(hello, mids, { sound, quality, layout, room, boxes, paused }) {
  if (!hello.cameras) return { sound, sections: [{ quality }] };
  const here = hello.cameras.filter(({ name }) => mids.has(name));
  const section = (camera) => {
    const { name } = camera;
    const box = boxes.get(name) ?? boxOf(name === layout.enlarged ? 1 : here.length, room);
    return { mid: mids.get(name), camera: name, quality: qualityOf(camera, box, quality), paused: paused.has(name) };
  };
  return { sound, listen: mainOf(here, layout)?.name, sections: here.map(section) };
}

/** The same in the form for an offer, which pauses nothing. */
export function offerOf({ sound, listen, sections }) {
  if (listen === undefined) return { sound, quality: sections[0]?.quality };
  return { sound, listen, cameras: sections.map(({ mid, camera, quality }) => ({ mid, camera, quality })) };
}

/** Whether a section that an offer began is paused: it is not (`false`), and an older daemon's section can't be (`undefined`). */
const unpaused = ({ paused }) => (paused === undefined ? undefined : false);

/** What the daemon knows after it accepted that offer; `before` is what it knew, for a later offer of a viewer. */
export function toldBy(wanted, before = null) {
  const still = ({ mid, camera }) => before?.sections.find((section) => section.mid === mid && section.camera === camera);
  const sections = wanted.sections.map((section) => ({ ...section, paused: still(section)?.paused ?? unpaused(section) }));
  return { ...wanted, listen: before ? before.listen : wanted.listen, sections };
}

/** The messages that change a viewer from what the daemon knows, `told` (`null`: nothing), to what is `wanted`. */
export function changes(told, wanted) {
  const messages = [];
  const { sound, listen, sections } = wanted;
  if (told?.sound !== sound) messages.push({ type: 'sound', on: sound });
  if (told?.listen !== listen) messages.push({ type: 'listen', camera: listen });
  for (const { mid, quality, paused } of sections) {
    const before = told?.sections.find((section) => section.mid === mid);
    if (before?.quality !== quality) messages.push({ type: 'quality', quality, mid });
    if (before?.paused !== paused) messages.push({ type: 'pause', mid, on: paused });
  }
  return messages;
}

/** The status in the form of one camera: its own devices replace those of the first camera. */
export function statusOf(status, cameras, name) {
  if (!status || cameras.length < 2) return status;
  const own = status.cameras?.find((camera) => camera.name === name);
  const video = own?.private ? { ...own.video, state: 'private' } : own?.video;
  return { ...status, video, audio: own?.audio };
}

/** What the device says of this viewer: { cameras, link }, or undefined. */
export function ownOf(status, viewer) {
  const { list, own = list } = status?.viewers ?? {};
  return viewer ? own?.find(({ id }) => viewer.startsWith(id)) : undefined;
}

/** Who watches a camera: the names (only the owner gets them, else `null`), and the number, or `undefined`. */
export function watchersOf(status, name) {
  const count = status?.cameras?.find((camera) => camera.name === name)?.viewers;
  const list = status?.viewers?.list?.filter((v) => v.cameras?.some(({ camera, paused }) => camera === name && !paused));
  return { count, names: list ? list.map((v) => v.who ?? v.name) : null };
}
