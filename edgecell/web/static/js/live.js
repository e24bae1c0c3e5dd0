/** The live view: what the device says, as it says it. */

import { ask } from "/js/api.js";
import { number, t, time, word } from "/js/catalogue.js";
import { at, make, pair, renew, tell } from "/js/dom.js";
import { lights } from "/js/lights.js";
import { paint, showPreview } from "/js/preview.js";
import { drawShare } from "/js/share.js";

const GOES_ON = ["starting", "running", "stopping"];
const FATES = ["captured", "processed", "gated", "dropped", "failed", "in_flight"];
/** A run that says nothing for so long has no news, which is not a count of zero. */
const SILENT_MS = 10_000;
/** A preview that is older says nothing of the focus now. */
const STALE_MS = 5_000;
/** After a refusal the device is asked again. */
const AGAIN_MS = 2_000;
const LOW_DISK_MIB = 1024;

const told = { run: null, counts: null, before: null, heartbeat: null, preview: null };
const state = { connected: false, heard: 0, shown: 0, drawing: false };
let stream = null;

/** Listens for good: a browser connects again by itself, but not after a refusal. */
export function listen() {
  if (stream && stream.readyState !== EventSource.CLOSED) return;
  stream = new EventSource("/api/live");
  stream.onopen = () => connected(true);
  stream.onerror = () => lost(stream);
  for (const event of ["run", "counts", "heartbeat", "preview"]) {
    stream.addEventListener(event, (message) => heard(event, JSON.parse(message.data)));
  }
}

/** The run that goes on or was the last, or null. */
export const run = () => told.run;

/** Draws all of it at the next frame of the screen, once however much came. */
export function draw() {
  if (state.drawing) return;
  state.drawing = true;
  requestAnimationFrame(() => {
    state.drawing = false;
    drawDevice();
    drawRun();
    drawProgress();
    drawAlarms();
    drawLights();
    const counts = told.counts;
    drawShare(at("differential"), counts?.differential ?? nothing(), counts?.cumulative ?? {});
    drawFates();
    paint();
  });
}

function connected(yes) {
  state.connected = yes;
  state.heard = Date.now();
  draw();
}

async function lost(broken) {
  connected(false);
  if (broken.readyState !== EventSource.CLOSED) return;
  const me = await ask("/api/me").catch(() => null);
  if (me && !me.signed_in) window.dispatchEvent(new Event("signed-out"));
  else setTimeout(listen, AGAIN_MS);
}

function heard(event, data) {
  state.heard = Date.now();
  if (event === "run" && data.run_id !== told.run?.run_id) forget();
  if (event === "counts") told.before = told.counts?.run_id === data.run_id ? told.counts : null;
  told[event] = data;
  if (event === "preview") {
    state.shown = Date.now();
    showPreview(data);
  }
  draw();
}

/** Another run: nothing of the last one may stand beside its name. */
function forget() {
  Object.assign(told, { counts: null, before: null, preview: null, heartbeat: null });
  showPreview(null);
}

const goesOn = () => GOES_ON.includes(told.run?.state) || (!told.run?.run_id && told.heartbeat && !over(told.heartbeat));
const over = (heartbeat) => ["stopped", "failed"].includes(heartbeat.state);
const nothing = () => ({ n: 0, rows: [], confidence: 0.95, erythroblasts_per_100: null });

function drawDevice() {
  const beat = told.heartbeat;
  tell(at("device"), beat ? t("device.is", { device: beat.device_id, state: word("state", beat.state) }) : "");
}

function drawRun() {
  const now = told.run;
  const sample = now?.sample_id || told.counts?.sample_id || "";
  tell(at("run-title"), sample ? t("run.sample", { sample }) : t(told.counts ? "run.unnamed" : "run.none"));
  const facts = [now?.operator && t("run.operator", { operator: now.operator }), now?.begun_utc && time(now.begun_utc)];
  tell(at("run-facts"), [...facts, now?.run_id && word("run.state", now.state)].filter(Boolean).join(" \u00b7 "));
  at("start").hidden = GOES_ON.includes(now?.state);
  at("stop").hidden = !["starting", "running"].includes(now?.state);
  const review = at("run-review");
  review.hidden = !now?.run_id;
  review.href = `#/runs/${encodeURIComponent(now?.run_id ?? "")}`;
}

function drawProgress() {
  const [stop, n] = [told.counts?.stop, told.counts?.differential.n ?? 0];
  const bar = at("progress");
  bar.hidden = !stop;
  if (stop) bar.value = stop.progress;
  tell(at("progress-words"), stop?.cells ? t("progress.of", { now: n, aim: stop.cells }) : t("progress.cells", { n }));
  tell(at("progress-rule"), stop ? rule(stop) : told.counts ? t("progress.free") : "");
}

function rule(stop) {
  if (stop.reached) return t("progress.reached");
  if (stop.cells) return t("progress.until_cells", { n: stop.cells });
  const classes = stop.classes.map((each) => word("label", each)).join(", ");
  return t("progress.until_width", { width: number(stop.width, 1), now: number(stop.now, 1), classes });
}

/** What is wrong or worth a remark, most urgent first; "all is well" only while a run goes on and says so. */
function drawAlarms() {
  const list = alarms();
  const well = goesOn() ? t("alarms.well") : t("alarms.idle");
  renew(at("alarms"), [list, well], () =>
    list.length
      ? list.map(({ text, own, kind }) => make("li", { class: kind }, text, own ? " " : "", own ? make("span", { lang: "en" }, own) : ""))
      : [make("li", { class: "well" }, well)],
  );
}

/** text: the page's words; own: the device's, which are English. */
function alarms() {
  const { run: now, counts, heartbeat } = told;
  const found = [];
  const alarm = (text, own = "", kind = "alarm") => found.push({ text, own, kind });
  if (!state.connected) alarm(t("alarms.connection"));
  if (now?.error) alarm(t("alarms.run"), [now.error, now.fix].filter(Boolean).join(" \u2014 "));
  if (goesOn()) {
    if (state.connected && Date.now() - state.heard > SILENT_MS) alarm(t("alarms.silent", { n: Math.round((Date.now() - state.heard) / 1000) }));
    if (heartbeat && ["degraded", "failed"].includes(heartbeat.state)) alarm(word("state", heartbeat.state), heartbeat.reason);
    if (counts?.valid === false) alarm(t("alarms.invalid"), counts.invalid_reason);
    if (counts?.domain === "foreign") alarm(t("alarms.foreign"));
  }
  vitals(heartbeat?.device, alarm);
  if (heartbeat?.unsent) alarm(t("alarms.unsent", { n: heartbeat.unsent }), "", "remark");
  for (const each of counts?.remarks ?? []) alarm(t("alarms.remark"), each, "remark");
  return found;
}

function vitals(device, alarm) {
  if (device?.throttled?.length) alarm(t("alarms.throttled"), device.throttled.join(", "));
  if (device?.disk_free_mib != null && device.disk_free_mib < LOW_DISK_MIB) alarm(t("alarms.disk", { mib: device.disk_free_mib }));
}

function drawLights() {
  const fresh = goesOn() && Date.now() - state.shown < STALE_MS ? told.preview : null;
  const shown = goesOn() ? lights(fresh, told.counts, told.before) : lights(null, null, null);
  for (const [name, { state: how, reason }] of Object.entries(shown)) {
    const light = at(`light-${name}`);
    light.className = `light ${how}`;
    tell(light.querySelector("dd"), reason ? word("gate", reason) : t(`light.${how}`));
  }
}

function drawFates() {
  const frames = told.counts?.frames ?? told.heartbeat?.frames;
  renew(at("fates"), [document.documentElement.lang, frames], () =>
    FATES.map((fate) => make("div", {}, ...pair(t(`fate.${fate}`), number(frames?.[fate] ?? 0)))),
  );
  const why = Object.entries(told.counts?.gated_reasons ?? {}).map(([reason, n]) => `${word("gate", reason)} ${number(n)}`);
  const left = Object.entries(told.counts?.excluded ?? {}).map(([reason, n]) => `${word("excluded", reason)} ${number(n)}`);
  const lines = [
    why.length && t("fates.gated", { list: why.join(", ") }),
    told.counts && t("fates.unsure", { unsure: told.counts.unsure, cells: told.counts.cells_total }),
    left.length && t("fates.excluded", { list: left.join(", ") }),
    told.counts?.counting === "every_frame" && t("fates.every_frame"),
  ];
  tell(at("fates-why"), lines.filter(Boolean).join(" "));
}

setInterval(draw, 1000);
