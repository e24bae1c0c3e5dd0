/** Dialogs that ask before anything is done: beginning a run, ending it, signing a review. */

import { Refused, ask } from "/js/api.js";
import { t, word } from "/js/catalogue.js";
import { at, make } from "/js/dom.js";

const KEPT = "edgecell.operator";

/** Who works here, as they last said in this tab; "" before. */
export const operator = () => sessionStorage.getItem(KEPT) ?? "";

export function remember(name) {
  sessionStorage.setItem(KEPT, name);
  window.dispatchEvent(new Event("operator"));
}

/** Who reviews: as they said before in this tab, or asked now; null where they would rather not say. `again`: another one. */
export async function reviewer({ again = false } = {}) {
  if (operator() && !again) return operator();
  return (await question({ title: t("ask.who"), words: t("ask.why"), go: t("ask.go"), named: true })) || null;
}

/** Every "cancel" closes its dialog, as Escape does. */
export function prepareDialogs() {
  for (const button of document.querySelectorAll("dialog .cancel")) {
    button.addEventListener("click", () => button.closest("dialog").close());
  }
  at("start-dialog").querySelector("form").addEventListener("submit", begin);
}

/**
 * Asks one question; resolves to the operator's name, or null where they would rather not.
 * title, words, go: texts. named: whether a name is needed.
 */
export function question({ title, words, go, named }) {
  const dialog = at("ask-dialog");
  const field = at("ask-operator");
  at("ask-title").textContent = title;
  at("ask-words").textContent = words;
  at("ask-go").textContent = go;
  field.value = operator();
  field.required = named;
  for (const each of [field, dialog.querySelector("label")]) each.hidden = !named;
  return new Promise((resolve) => {
    let answer = null;
    dialog.querySelector("form").onsubmit = () => {
      answer = field.value.trim();
      if (named) remember(answer);
    };
    dialog.onclose = () => resolve(answer);
    dialog.showModal();
  });
}

/** settings: those that the device offers, as /api/me names them. */
export function openStart(settings) {
  const dialog = at("start-dialog");
  const choice = at("settings");
  const named = ({ name, specimen }) => (specimen ? t("start.of", { name, specimen: word("specimen", specimen) }) : name);
  choice.replaceChildren(...settings.map((each) => make("option", { value: each.name }, named(each))));
  choice.onchange = () => offerClasses(settings.find(({ name }) => name === choice.value));
  at("operator").value = at("operator").value || operator();
  clearErrors(dialog);
  choice.onchange();
  dialog.showModal();
}

/** The classes that a width can be about are those of the settings; settings that are wrong say so. */
function offerClasses(chosen) {
  at("error-settings").textContent = [chosen?.error, chosen?.fix].filter(Boolean).join(" \u2014 ");
  at("classes").replaceChildren(...(chosen?.classes ?? []).map((label) => {
    const box = make("input", { type: "checkbox", name: "classes", value: label });
    return make("label", { class: "tick" }, box, make("span", {}, word("label", label)));
  }));
}

async function begin(event) {
  event.preventDefault();
  const form = event.target;
  clearErrors(form);
  const body = wanted(new FormData(form));
  try {
    await ask("/api/run", { method: "POST", body });
    remember(body.operator);
    at("sample").value = "";
    at("start-dialog").close();
  } catch (error) {
    show(form, error);
  }
}

function wanted(fields) {
  const text = (name) => fields.get(name).trim();
  const classes = fields.getAll("classes");
  const rules = { none: null, cells: { cells: Number(fields.get("cells")) }, width: { width: Number(fields.get("width")), classes } };
  return {
    settings: text("settings"),
    sample_id: text("sample_id"),
    operator: text("operator"),
    stop: rules[fields.get("rule")],
    crops: fields.has("crops"),
    preview: fields.has("preview"),
  };
}

/** The refusal beside the field that it is about, which gets the focus. */
function show(form, error) {
  const field = error instanceof Refused ? error.field.split(".")[0] : "";
  const place = document.getElementById(`error-${field}`) ?? at("error-");
  place.textContent = error instanceof Refused ? error.message : t("page.silent");
  const input = form.elements.namedItem(field);
  if (input instanceof HTMLElement) {
    input.setAttribute("aria-invalid", "true");
    input.focus();
  }
}

function clearErrors(form) {
  for (const each of form.querySelectorAll(".error")) each.textContent = "";
  for (const each of form.querySelectorAll("[aria-invalid]")) each.removeAttribute("aria-invalid");
}
