// Access to the document, for all modules that draw.

/** The element with this id. */
export const $ = (id) => document.getElementById(id);
