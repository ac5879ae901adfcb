// What this browser stores for its next visit, one name for each value. A browser may forbid storage, and the values may be anything.

/** The text stored under `name`, or `null`; `storage()` is localStorage. */
export function kept(storage, name) {
  try {
    return storage().getItem(`peercam.${name}`);
  } catch {
    return null;
  }
}

/** Stores a text, or with `null` removes it, if storage is allowed; else the choice is valid for this visit only. */
export function keep(storage, name, text) {
  try {
    if (text === null) storage().removeItem(`peercam.${name}`);
    else storage().setItem(`peercam.${name}`, text);
  } catch {
    // Storage is forbidden.
  }
}
