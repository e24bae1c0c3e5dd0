/** A colour for each class: after Okabe and Ito's, made for colour-blind readers, as dark as white letters on them need. */

const FIRST = ["#0072b2", "#b85100", "#00805f", "#cc3c8c", "#783cb4", "#966e00"];
const COLOURS = [...FIRST, "#5a5a5a", "#007a9c", "#7a2a00", "#2f7d00", "#8c1d40", "#3d4f9f"];
/** Boxes of cells that no class was decided for, and of those left out; what stands behind the former's name. */
export const [UNSURE, UNSURE_NAME, LEFT_OUT] = ["#ff8c00", "#8a4b00", "#969696"];
const given = new Map();

/** The same for a label as long as the page is open; the first twelve labels have one each. */
export function colour(label) {
  if (!given.has(label)) given.set(label, COLOURS[given.size % COLOURS.length]);
  return given.get(label);
}

/** Gives labels their colours in this order, before they are seen in another. */
export function colourAll(labels) {
  labels.forEach(colour);
}
