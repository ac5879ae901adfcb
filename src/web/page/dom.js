// What all that draws needs of the document.

/** The element with this id. */
export const $ = (id) => document.getElementById(id);
