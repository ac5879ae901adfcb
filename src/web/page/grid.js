// The layout of the tiles: how many in a row, and which are next to each other. Pure.

/** Gap between two tiles in pixels, as in tiles.css. */
const GAP = 6;
/** Smallest width of a legible tile, pixels. If there are more rows than fit, the page scrolls. */
const LEAST = 150;
const RATIO = 16 / 9;

/** The number of columns in which `count` pictures of 16:9 are largest: { columns, width }; `width` is that of a tile. */
export function arrange(count, width, height) {
  let best = { columns: 1, width: 0 };
  for (let columns = 1; columns <= count; columns++) {
    const rows = Math.ceil(count / columns);
    const wide = (width - GAP * (columns - 1)) / columns;
    const high = (height - GAP * (rows - 1)) / rows;
    const tile = Math.min(wide, high * RATIO);
    if (tile > best.width) best = { columns, width: tile };
  }
  if (best.width < LEAST) {
    const columns = Math.min(count, Math.max(1, Math.floor((width + GAP) / (LEAST + GAP))));
    best = { columns, width: (width - GAP * (columns - 1)) / columns };
  }
  return { columns: best.columns, width: Math.max(0, Math.floor(best.width)) };
}

/** The box of each of `count` pictures in `room`: { width, height }. */
export function boxOf(count, room) {
  if (count === 1) return room;
  const { width } = arrange(count, room.width, room.height);
  return { width, height: width / RATIO };
}

/** The tile that an arrow key leads to from the one at `index`; `null` for other keys, and if there is none. */
export function neighbour(index, key, columns, count) {
  const step = { ArrowLeft: -1, ArrowRight: 1, ArrowUp: -columns, ArrowDown: columns }[key];
  const to = index + step;
  return to >= 0 && to < count ? to : null;
}
