// Where tiles stand: how many beside each other, and which is next to which. Pure.

/** Between two tiles, pixels; as tiles.css has it. */
const GAP = 6;
/** Narrower than this a tile can't be read: then there are more rows than fit, and one scrolls. */
const LEAST = 150;
const RATIO = 16 / 9;

/** The columns in which `count` pictures of 16:9 are largest on so much room: { columns, width }, the width that of a tile. */
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

/** The tile to which an arrow key leads from the one at `index`; `null` for other keys, and where there is none. */
export function neighbour(index, key, columns, count) {
  const step = { ArrowLeft: -1, ArrowRight: 1, ArrowUp: -columns, ArrowDown: columns }[key];
  const to = index + step;
  return to >= 0 && to < count ? to : null;
}
