// What this browser keeps for its next visit, under one name each. A browser may forbid it, and anything may be in it.

/** The text kept under `name`, or `null`; `storage()` is localStorage. */
export function kept(storage, name) {
  try {
    return storage().getItem(`peercam.${name}`);
  } catch {
    return null;
  }
}

/** Keeps a text, or with `null` forgets it, where that is allowed; else it holds for this visit. */
export function keep(storage, name, text) {
  try {
    if (text === null) storage().removeItem(`peercam.${name}`);
    else storage().setItem(`peercam.${name}`, text);
  } catch {
    // As said.
  }
}
