/** A differential as a table with bars: each class's percentage, and its interval as a line over the bar. */

import { make, renew } from "/js/dom.js";
import { number, t, word } from "/js/catalogue.js";
import { colour, colourAll } from "/js/palette.js";

/** One differential, and the cells of classes outside it (`cumulative`: label -> cells) below without a percentage. */
export function drawShare(place, share, cumulative) {
  renew(place, [document.documentElement.lang, share, cumulative], () => {
    colourAll(share.rows.map((row) => row.label));
    const inside = new Set(share.rows.map((row) => row.label));
    const others = Object.keys(cumulative).filter((label) => !inside.has(label)).sort();
    const rows = share.rows.map((row) => line([name(row.label), ...figures(row), make("td", { class: "scale" }, track(row, ""))]));
    const apart = others.map((label) => line([name(label), count(cumulative[label]), make("td", { colspan: 3 })]));
    const heads = ["differential.class", "differential.cells", "differential.percent", "differential.interval"];
    return [table(caption(share), heads, [...rows, ...apart], "share"), ...nucleated(share)];
  });
}

/** The machine's and the reviewed one side by side; `labels`: all classes of the differential, in their order. */
export function drawBoth(place, machine, reviewed, labels) {
  renew(place, [document.documentElement.lang, machine, reviewed, labels], () => {
    const of = (share, label) => share.rows.find((row) => row.label === label) ?? null;
    const rows = labels.flatMap((label) => [
      line([make("th", { scope: "rowgroup", colspan: 2 }, word("label", label))]),
      line([side(of(machine, label), ""), side(of(reviewed, label), "person")]),
    ]);
    const heads = ["differential.machine", "differential.reviewed"];
    const words = t("differential.two", { machine: machine.n, reviewed: reviewed.n });
    return [table(words, heads, rows, "share both"), ...nucleated(reviewed)];
  });
}

function table(words, heads, rows, kind) {
  const titles = heads.map((key, i) => make("th", { scope: "col", class: i || kind !== "share" ? "number" : null }, t(key)));
  const head = make("thead", {}, make("tr", {}, ...titles, kind === "share" ? make("td", {}) : null));
  return make("table", { class: kind }, make("caption", {}, words), head, make("tbody", {}, ...rows));
}

const line = (cells) => make("tr", {}, ...cells);
const count = (cells) => make("td", { class: "number" }, number(cells));
function name(label) {
  const swatch = make("span", { class: "swatch", "aria-hidden": "true" });
  swatch.style.backgroundColor = colour(label);
  return make("th", { scope: "row" }, swatch, word("label", label));
}

const limits = (row) => t("differential.limits", { low: number(row.low, 1), high: number(row.high, 1) });

function figures(row) {
  const percent = make("td", { class: "number" }, number(row.percent, 1));
  return [count(row.count), percent, make("td", { class: "number interval" }, limits(row))];
}

/** One of two differentials in a cell of its own: cells and percentage, interval, bar; a dash where nothing is counted. */
function side(row, kind) {
  if (!row) return make("td", { class: "number" }, "\u2013");
  const share = t("differential.share", { count: row.count, percent: number(row.percent, 1) });
  return make("td", { class: "number" }, share, make("div", { class: "interval" }, limits(row)), track(row, kind));
}

/** A bar from 0 to 100 % with the interval as a line over it. The figures say the same, so a screen reader need not. */
function track(row, kind) {
  const [bar, line] = [make("i"), make("b")];
  bar.style.width = `${row.percent}%`;
  line.style.left = `${row.low}%`;
  line.style.width = `${row.high - row.low}%`;
  return make("span", { class: `track ${kind}`, "aria-hidden": "true" }, bar, line);
}

function caption(share) {
  return t("differential.of", { n: share.n, confidence: Math.round(100 * share.confidence) });
}

function nucleated(share) {
  const ratio = share.erythroblasts_per_100;
  return ratio === null ? [] : [make("p", { class: "facts" }, t("differential.erythroblasts", { ratio: number(ratio, 1) }))];
}
