/** The runs that the journal has, newest first. */

import { ask } from "/js/api.js";
import { number, time, word } from "/js/catalogue.js";
import { at, make } from "/js/dom.js";

export async function openRuns() {
  const { runs } = await ask("/api/runs");
  at("runs-none").hidden = runs.length > 0;
  at("runs-table").hidden = runs.length === 0;
  at("runs-table").tBodies[0].replaceChildren(...runs.map(row));
}

function row(run) {
  const name = run.sample_id || run.run_id;
  const link = make("a", { href: `#/runs/${encodeURIComponent(run.run_id)}` }, name);
  return make(
    "tr",
    {},
    make("th", { scope: "row" }, link),
    make("td", {}, time(run.begun_utc)),
    make("td", {}, run.operator ?? ""),
    make("td", {}, word("ended", run.ended || "open")),
    make("td", { class: "number" }, number(run.n ?? 0)),
    make("td", { class: "number" }, number(run.reviewed ?? 0)),
  );
}
