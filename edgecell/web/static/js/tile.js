/** One cell: as a tile of the gallery, and large beside it. */

import { number, t, time, word } from "/js/catalogue.js";
import { make, pair, renew } from "/js/dom.js";

/** Short names of classes, from their bundle's manifest: the machine's word has to fit below a person's. */
let short = new Map();

export function useShortNames(classes) {
  short = new Map(classes.map(({ label, abbreviation }) => [label, abbreviation]));
}

export const shortOf = (label) => short.get(label) || word("label", label);

/** An empty tile; `drawTile` fills it. */
export function newTile() {
  return make("div", { class: "tile", role: "option", draggable: "true" });
}

/** cell: undefined while it is on its way. place: {index, total, selected, active}. */
export function drawTile(tile, cell, { index, total, selected, active }) {
  tile.id = `tile-${index}`;
  tile.classList.toggle("active", active);
  tile.setAttribute("aria-selected", String(selected));
  tile.setAttribute("aria-posinset", index + 1);
  tile.setAttribute("aria-setsize", total);
  tile.setAttribute("aria-label", cell ? sentence(cell) : t("tile.coming"));
  renew(tile, [document.documentElement.lang, cell ?? null], () => (cell ? [picture(cell), ...lines(cell)] : []));
}

/** What the machine says of a cell: "Monocyte 42 %", "Unidentified: Monocyte 31 %", "Edge". */
export function machineWords(cell) {
  if (cell.excluded) return word("excluded", cell.excluded);
  const said = sure(word("label", cell.label), cell);
  return cell.decided ? said : t("tile.unsure", { said });
}

function sure(label, { confidence }) {
  return confidence === null ? label : t("tile.sure", { label, percent: percent(confidence) });
}

/** What a person says of a cell; "" where nobody did. */
export function personWords(cell) {
  const { review } = cell;
  if (!review) return "";
  if (review.action === "reject") return t("tile.rejected");
  const label = review.action === "relabel" ? review.label : cell.label;
  const name = label === "unsure" ? t("view.unsure") : word("label", label);
  return review.action === "confirm" ? t("tile.confirmed", { label: name }) : name;
}

/** The chosen cell, large, with all that is known of it; null: none is chosen. */
export function drawLarge(place, cell) {
  renew(place, [document.documentElement.lang, cell], () => (cell ? large(cell) : [make("p", { class: "empty" }, t("side.none"))]));
}

export function large(cell) {
  const { review } = cell;
  const facts = [
    ...pair(t("side.machine"), machineWords(cell)),
    ...pair(t("side.person"), personWords(cell) || t("side.nobody")),
    ...(review ? pair(t("side.by"), review.utc ? t("side.when", { operator: review.operator, time: time(review.utc) }) : review.operator) : []),
    ...pair(t("side.place"), t("side.frame", { frame: cell.frame, cell: cell.cell })),
    ...pair(t("side.kind"), word("kind", cell.kind)),
  ];
  const picture = shot(cell, t("side.picture", { said: personWords(cell) || machineWords(cell) }));
  return [make("span", { class: "shot" }, picture), make("dl", {}, ...facts)];
}

function sentence(cell) {
  const person = personWords(cell);
  const machine = t("tile.machine_says", { said: machineWords(cell) });
  return person ? t("tile.person_says", { said: person, machine }) : machine;
}

const picture = (cell) => make("span", { class: "shot" }, shot(cell, ""));

/** The picture, or words where none was kept or it has gone since. */
function shot(cell, alt) {
  const none = () => make("span", {}, t("tile.no_picture"));
  if (!cell.picture) return none();
  const image = make("img", { src: cell.picture, alt, draggable: "false", decoding: "async" });
  image.addEventListener("error", () => image.replaceWith(none()));
  return image;
}

/** The person's word above the machine's, which stays; or the machine's, and how sure it is. */
function lines(cell) {
  const person = personWords(cell);
  if (person) return [line("name person", person), line("machine", t("tile.was", { said: sure(shortOf(cell.label), cell) }))];
  const name = cell.excluded ? machineWords(cell) : word("label", cell.label);
  const second = cell.confidence === null || cell.excluded ? "" : t("tile.percent", { percent: percent(cell.confidence) });
  return [line("name", cell.decided || cell.excluded ? name : t("tile.unsure", { said: name })), line("machine", second)];
}

/** Never rounded up: 100 % would say that no doubt is left. */
const percent = (confidence) => number(Math.floor(100 * confidence + 1e-6));

const line = (kind, text) => make("span", { class: kind }, text);
