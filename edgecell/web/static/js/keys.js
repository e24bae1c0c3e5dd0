/** Which key stands for what in the gallery. */

/** Keys that a class may have: not those of R reject, U undo, C confirm, S several, and 0, unidentified. */
const FREE = [..."123456789", ..."qwetyiopadfghjklzxvbnm"];
export const UNSURE_KEY = "0";
export const ACTION_KEYS = { r: "reject", u: "undo", c: "confirm" };

/** label -> key, in the order of the labels; those beyond the last key have none. */
export function classKeys(labels) {
  return new Map(labels.map((label, i) => [label, FREE[i] ?? ""]));
}

/** The key as the legend shows it; a digit is taken from its place on the keyboard, since on some it needs Shift. */
export function keyOf(event) {
  const digit = /^(?:Digit|Numpad)(\d)$/.exec(event.code);
  return digit && !event.shiftKey ? digit[1] : event.key.toLowerCase();
}

/** Where an arrow or the like leads from tile `index` of `total`, `columns` wide and `page` tiles high; null for other keys. */
export function step(key, index, { total, columns, page }) {
  const moves = {
    ArrowLeft: index - 1,
    ArrowRight: index + 1,
    ArrowUp: index - columns,
    ArrowDown: index + columns,
    PageUp: index - page,
    PageDown: index + page,
    Home: 0,
    End: total - 1,
  };
  return key in moves ? Math.max(0, Math.min(total - 1, moves[key])) : null;
}
