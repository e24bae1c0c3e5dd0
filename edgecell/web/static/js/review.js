/** The review of a run: its cells by class, the machine's and the reviewed differential, sign-off, reports. */

import { Refused, ask, save } from "/js/api.js";
import { number, t, time, word } from "/js/catalogue.js";
import { Desk } from "/js/desk.js";
import { operator, question, reviewer } from "/js/dialogs.js";
import { at, make, renew, tell } from "/js/dom.js";
import { Gallery, drawActions, drawHelp, takeDrops } from "/js/gallery.js";
import { drawBoth } from "/js/share.js";
import { useShortNames } from "/js/tile.js";

const REPORTS = ["pdf", "csv", "fhir.json", "json"];
/** How often a run that goes on is asked for new cells. */
const AGAIN_MS = 3000;
let gallery = null;
let now = null;

/** Once, when the page is there. */
export function prepareReview() {
  gallery = new Gallery();
  at("order").addEventListener("change", () => openView(now.view));
  at("newer").addEventListener("click", () => openView(now.view));
  at("sign").addEventListener("click", sign);
  at("who").addEventListener("click", () => reviewer({ again: true }));
  window.addEventListener("operator", drawWho);
  at("help-open").addEventListener("click", () => {
    drawHelp();
    at("help-dialog").showModal();
  });
  setInterval(look, AGAIN_MS);
}

/** Shows a run; the same one again is drawn anew, where it was. Raises Refused or Silent. */
export async function openReview(name) {
  const path = `/api/runs/${encodeURIComponent(name)}`;
  const again = now?.path === path ? now : null;
  const details = await detailsOf(path);
  now = { path, details, view: again?.view ?? (details.views.unsure ? "unsure" : "all") };
  now.desk = new Desk({ path, answered, failed });
  useShortNames(details.classes);
  if (!again) at("order").value = details.run.ended ? "doubtful" : "time";
  at("report-list").replaceChildren(...REPORTS.map(report));
  draw();
  openView(now.view);
}

async function detailsOf(path) {
  const details = await ask(path);
  details.classes.sort((one, other) => rank(one) - rank(other));
  return details;
}

export function closeReview() {
  gallery?.close();
  now = null;
}

/** What stands first among the keys and the bins: the differential, then by group; what is no cell and the many red cells last. */
const GROUPS = ["leukocyte", "erythroid", "megakaryocytic", "epithelial", "other", "platelet", "reject", "red_cell"];
const rank = ({ in_differential: inside, group }) => (inside ? -1 : GROUPS.indexOf(group));
const labels = () => now.details.classes.map((each) => each.label);
const total = (view) => (view === "all" ? sum(now.details.views) : (now.details.views[view.replace(/^label:/, "")] ?? 0));
const sum = (views) => Object.entries(views).reduce((n, [view, cells]) => (view === "reviewed" ? n : n + cells), 0);

function openView(view) {
  now.view = view;
  const groups = new Map(now.details.classes.map(({ label, group }) => [label, group]));
  const { path, desk } = now;
  const ended = Boolean(now.details.run.ended);
  gallery.open({ desk, path, view, groups, labels: labels(), order: at("order").value, ended, total: total(view), failed });
  tell(at("view-title"), t("view.title", { view: nameOf(view), n: total(view) }));
  at("newer").hidden = true;
  drawActions(gallery, labels());
  gallery.draw();
  drawBins();
}

const nameOf = (view) => (view.startsWith("label:") ? word("label", view.slice(6)) : t(`view.${view}`));

function draw() {
  const { run, crops, reconciles, differs, machine, reviewed, classes, review } = now.details;
  tell(at("review-title"), run.sample_id ? t("run.sample", { sample: run.sample_id }) : run.run_id);
  const facts = [
    signed(review.signed_off),
    t("review.count", { n: review.cells }),
    review.operators.length ? t("review.by", { names: review.operators.join(", ") }) : "",
    run.operator && t("run.operator", { operator: run.operator }),
    time(run.begun_utc),
  ];
  tell(at("review-facts"), facts.filter(Boolean).join(" \u00b7 "));
  at("review-facts").title = at("review-facts").textContent;
  const notes = [!crops && t("review.no_crops"), !reconciles && t("review.unreconciled", { differs }), !run.ended && t("review.goes_on")];
  tell(at("review-notes"), notes.filter(Boolean).join(" "));
  at("review-notes").hidden = !notes.some(Boolean);
  drawWho();
  drawBoth(at("both"), machine, reviewed, classes.filter((each) => each.in_differential).map((each) => each.label));
  drawBins();
}

function drawWho() {
  tell(at("who"), operator() ? t("review.as", { operator: operator() }) : t("ask.who"));
}

function signed(off) {
  return off ? t("review.signed", { operator: off.operator, time: time(off.utc) }) : "";
}

/** The bins: to look into, and to drop cells on. */
function drawBins() {
  const { views } = now.details;
  const known = new Set([...labels(), "unsure", "excluded", "reviewed"]);
  const others = Object.keys(views).filter((view) => !known.has(view)).sort();
  const bins = ["all", "unsure", ...[...labels(), ...others].map((label) => `label:${label}`), "excluded", "reviewed"];
  renew(at("bins"), [document.documentElement.lang, now.path, now.view, bins.map(total)], () => bins.map(bin));
}

function bin(view) {
  const current = view === now.view ? "true" : null;
  const count = make("span", { class: "count" }, number(total(view)));
  const opened = () => {
    openView(view);
    at("bins").querySelector("[aria-current]").focus();
  };
  const button = make("button", { "aria-current": current, "data-view": view, on: { click: opened } }, make("span", { class: "bin" }, nameOf(view)), count);
  if (view === "unsure") takeDrops(button, () => gallery.act("relabel", "unsure"));
  if (view === "excluded") takeDrops(button, () => gallery.act("reject"));
  if (labels().some((label) => view === `label:${label}`)) takeDrops(button, () => gallery.act("relabel", view.slice(6)));
  return button;
}

/** The device's answer to a review: the figures change at once. */
function answered(answer) {
  const { views, reviewed, review } = answer;
  Object.assign(now.details, { views, reviewed, review });
  gallery.answered(answer, total(now.view));
  tell(at("view-title"), t("view.title", { view: nameOf(now.view), n: total(now.view) }));
  draw();
}

/** What could not be done is told, and what stands is shown again. */
async function failed(error) {
  const path = now?.path;
  tell(at("said"), error instanceof Refused ? error.message : t("page.silent"));
  const details = await detailsOf(path).catch(() => null);
  if (!details || now?.path !== path) return;
  now.details = details;
  draw();
  openView(now.view);
}

/** A run that goes on has more cells each time, which are shown when they are asked for: none may move under a finger. */
async function look() {
  if (!now || now.details.run.ended || gallery.desk?.pending) return;
  const { path } = now;
  const details = await detailsOf(path).catch(() => null);
  if (!details || now?.path !== path || gallery.desk.pending) return;
  now.details = details;
  draw();
  const more = total(now.view) - gallery.cells.total;
  at("newer").hidden = more <= 0;
  tell(at("newer"), t("view.newer", { n: more }));
}

async function sign() {
  const seen = now.details.review.position;
  const words = t("sign.words", { n: now.details.review.cells, unsure: now.details.views.unsure ?? 0 });
  const operator = await question({ title: t("sign.title"), words, go: t("sign.go"), named: true });
  if (operator === null) return;
  try {
    await ask(`${now.path}/sign`, { method: "POST", body: { operator, seen } });
    now.details = await detailsOf(now.path);
    draw();
    tell(at("said"), t("said.signed"));
  } catch (error) {
    failed(error);
  }
}

function report(kind) {
  const fetched = async () => {
    try {
      await save(`${now.path}/report.${kind}`, `${now.details.run.run_id}.${kind}`);
      at("reports").open = false;
    } catch (error) {
      tell(at("said"), error instanceof Refused ? error.message : t("page.silent"));
    }
  };
  return make("li", {}, make("button", { "data-report": kind, on: { click: fetched } }, t(`report.${kind}`)));
}
