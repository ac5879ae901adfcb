// Which cameras are paused, because nobody sees their pictures. Pure: time is an argument.

/** How long a picture must be invisible before it is paused, ms. A shorter absence costs no keyframe. */
const HIDDEN_MS = 10_000;

export class Pausing {
  /** By camera name: since when the camera is not visible. */
  #since_ms = new Map();

  /** The names of the cameras paused at `now_ms`; `all` is [{ name, visible }]. A camera that becomes visible is resumed at once. */
  look(all, now_ms) {
    const before = this.#since_ms;
    const hidden = all.filter(({ visible }) => !visible);
    this.#since_ms = new Map(hidden.map(({ name }) => [name, before.get(name) ?? now_ms]));
    return new Set(hidden.map(({ name }) => name).filter((name) => now_ms - this.#since_ms.get(name) >= HIDDEN_MS));
  }
}
