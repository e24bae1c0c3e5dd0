/** The latest frame on a canvas, with a box and a label at each cell that the message names. */

import { at, tell } from "/js/dom.js";
import { t, word } from "/js/catalogue.js";
import { LEFT_OUT, UNSURE, UNSURE_NAME, colour } from "/js/palette.js";

/** Where nothing is classified further than found: above so many cells labels would cover them, so that boxes stand alone. */
const NAMED_MOST = 60;
let latest = null;
let image = null;

/** Shows a preview message once its picture is here; null: there is none. */
export async function showPreview(message) {
  latest = message;
  if (!message) {
    image = null;
    return paint();
  }
  const picture = new Image();
  picture.src = message.picture;
  await picture.decode().catch(() => null);
  if (latest !== message || !picture.naturalWidth) return undefined;
  image = picture;
  return paint();
}

/** Draws what there is: also when boxes are switched on and off, or the language changed. */
export function paint() {
  const canvas = at("preview");
  at("preview-none").hidden = Boolean(image);
  canvas.hidden = !image;
  tell(at("preview-frame"), image ? t("preview.frame", { frame: latest.frame_index, n: latest.cells.length }) : "");
  if (!image) return;
  canvas.setAttribute("aria-label", words(latest));
  [canvas.width, canvas.height] = [image.naturalWidth, image.naturalHeight];
  const pen = canvas.getContext("2d");
  pen.drawImage(image, 0, 0);
  if (at("boxes").checked) drawCells(pen, latest, image.naturalWidth / latest.width_px);
}

/** What the picture shows, for who does not see it: cells by label. */
function words(message) {
  const found = {};
  for (const cell of message.cells) {
    const name = standing(cell);
    found[name] = (found[name] ?? 0) + 1;
  }
  const list = Object.entries(found).map(([name, n]) => `${n} ${name}`).join(", ");
  return t("preview.words", { frame: message.frame_index, list: list || t("preview.empty") });
}

function standing(cell) {
  if (cell.excluded) return word("excluded", cell.excluded);
  return cell.decided ? word("label", cell.label) : t("view.unsure");
}

/** scale: pixels of the picture in one of the frame, which boxes are measured in. */
function drawCells(pen, message, scale) {
  const line = 1.5 * shrunk(pen.canvas);
  pen.font = `600 ${Math.round(8 * line)}px sans-serif`;
  pen.textBaseline = "bottom";
  const named = toName(message.cells);
  for (const cell of message.cells) {
    const [x0, y0, x1, y1] = cell.box_px.map((each) => each * scale);
    const box = [x0, y0, x1 - x0, y1 - y0];
    const shade = cell.excluded ? LEFT_OUT : cell.decided ? colour(cell.label) : UNSURE;
    pen.setLineDash(cell.excluded ? [line, 2 * line] : cell.decided ? [] : [4 * line, 2 * line]);
    if (named.has(cell)) frame(pen, box, "#ffffff", 2 * line);
    frame(pen, box, shade, named.has(cell) ? line : line / 2);
    if (named.has(cell)) tag(pen, [x0, y0, y1], standing(cell), shade, line);
  }
  pen.setLineDash([]);
}

/** The cells that are named: those that a classifier looked at; there are hundreds of red cells. */
function toName(cells) {
  const counted = cells.filter((cell) => !cell.excluded);
  const refined = counted.filter((cell) => cell.label !== cell.kind);
  return new Set(refined.length ? refined : counted.length <= NAMED_MOST ? counted : []);
}

/** Pixels of the canvas in one of the screen: lines and letters are as large on a phone. */
function shrunk(canvas) {
  return Math.max(canvas.width / (canvas.clientWidth || canvas.width), canvas.height / (canvas.clientHeight || canvas.height));
}

function frame(pen, box, shade, width) {
  pen.strokeStyle = shade;
  pen.lineWidth = width;
  pen.strokeRect(...box);
}

/** White letters on the box's colour, above the box where there is room, else below. */
function tag(pen, [x0, y0, y1], text, shade, line) {
  const [wide, high] = [pen.measureText(text).width + 4 * line, 10 * line];
  const left = Math.max(0, Math.min(x0, pen.canvas.width - wide));
  const bottom = y0 > high ? y0 : Math.min(y1 + high, pen.canvas.height);
  pen.fillStyle = shade === UNSURE ? UNSURE_NAME : shade;
  pen.fillRect(left, bottom - high, wide, high);
  pen.fillStyle = "#ffffff";
  pen.fillText(text, left + 2 * line, bottom - line);
}
