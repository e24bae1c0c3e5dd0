/** The page: which screen is shown, signing in, the language. The screen is named by the address behind the #. */

import { Refused, ask } from "/js/api.js";
import { offer, read, t, translate } from "/js/catalogue.js";
import { openStart, prepareDialogs, question } from "/js/dialogs.js";
import { at, tell } from "/js/dom.js";
import { closeReview, openReview, prepareReview } from "/js/review.js";
import { draw, listen, run } from "/js/live.js";
import { colourAll } from "/js/palette.js";
import { paint } from "/js/preview.js";
import { openRuns } from "/js/runs.js";

const SCREENS = ["login", "live", "runs", "review"];
let me = { settings: [] };

async function begin() {
  await read();
  translate();
  offer(at("language"), () => {
    translate();
    draw();
    route();
  });
  prepareDialogs();
  prepareReview();
  prepareSigningIn();
  at("boxes").addEventListener("change", paint);
  at("start").addEventListener("click", start);
  at("stop").addEventListener("click", stop);
  addEventListener("hashchange", () => route().then(() => at("main").focus()));
  addEventListener("signed-out", () => show("login"));
  await useTokenOfAddress();
  await route();
}

/** Asks who one is to the device, then shows the screen that the address names. */
async function route() {
  trouble("");
  try {
    me = await ask("/api/me");
    if (me.token_needed && !me.signed_in) return show("login");
    colourAll(me.settings.flatMap(({ classes }) => classes));
    listen();
    const [screen, name] = location.hash.replace(/^#\//, "").split("/");
    if (screen === "runs" && name) {
      show("review");
      return await openReview(decodeURIComponent(name));
    }
    show(screen === "runs" ? "runs" : "live");
    if (screen === "runs") await openRuns();
    else draw();
  } catch (error) {
    failed(error);
  }
  return undefined;
}

function show(screen) {
  for (const each of SCREENS) at(each).hidden = each !== screen;
  if (screen !== "review") closeReview();
  document.title = t("page.title", { screen: t(`${screen}.title`) });
  for (const link of document.querySelectorAll(".top nav a")) {
    const current = link.hash === (screen === "live" ? "#/live" : "#/runs") && screen !== "login";
    if (current) link.setAttribute("aria-current", "page");
    else link.removeAttribute("aria-current");
  }
  if (screen === "login") at("token").focus();
}

function trouble(text) {
  at("trouble").hidden = !text;
  tell(at("trouble"), text);
}

/** What the device refused, in its words; or that it does not answer. */
function failed(error) {
  trouble(error instanceof Refused ? error.message : t("page.silent"));
}

function prepareSigningIn() {
  const form = at("login").querySelector("form");
  form.addEventListener("submit", async (event) => {
    event.preventDefault();
    const said = form.querySelector(".error");
    said.textContent = "";
    try {
      await signIn(at("token").value);
      at("token").value = "";
      await route();
    } catch (error) {
      said.textContent = error.status === 401 ? t("login.wrong") : error instanceof Refused ? error.message : t("page.silent");
      at("token").focus();
    }
  });
}

const signIn = (token) => ask("/api/login", { method: "POST", body: { token } });

/** The address that the server prints holds the token behind the #, which no log sees; it goes from the history at once. */
async function useTokenOfAddress() {
  const given = new URLSearchParams(location.hash.slice(1)).get("token");
  if (!given) return;
  history.replaceState(null, "", `${location.pathname}#/live`);
  await signIn(given).catch(() => null);
}

async function start() {
  try {
    me = await ask("/api/me");
    openStart(me.settings);
  } catch (error) {
    failed(error);
  }
}

async function stop() {
  const sample = run()?.sample_id ?? "";
  const sure = { title: t("stop.title"), words: t("stop.words", { sample }), go: t("stop.go"), named: false };
  if ((await question(sure)) === null) return;
  await ask("/api/run", { method: "DELETE" }).catch(failed);
}

begin();
