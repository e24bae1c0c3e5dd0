/** A colour for each class: Okabe and Ito's, made for colour-blind readers, darkened where it would vanish on a bright field. */

const COLOURS = ["#0072b2", "#d55e00", "#00805f", "#cc3c8c", "#783cb4", "#966e00", "#5a5a5a", "#0096be", "#7a2a00", "#2f7d00"];
export const [UNSURE, LEFT_OUT] = ["#ff8c00", "#969696"];
const given = new Map();

/** The same for a label as long as the page is open; the first ten labels have one each. */
export function colour(label) {
  if (!given.has(label)) given.set(label, COLOURS[given.size % COLOURS.length]);
  return given.get(label);
}

/** Gives labels their colours in this order, before they are seen in another. */
export function colourAll(labels) {
  labels.forEach(colour);
}
