/** Words in the reader's language. Every text of the page has a key in catalogue/en.json and in each other catalogue. */

import { make } from "/js/dom.js";

/** Each in its own words: whoever reads none of the others finds it. */
const LANGUAGES = { en: "English", fr: "Français" };
const KEPT = "edgecell.language";
let words = {};
let language = "en";

/** Reads the catalogue of the language that was chosen before, else of the browser's first that there is. */
export async function read(chosen = localStorage.getItem(KEPT) || wished()) {
  language = chosen in LANGUAGES ? chosen : "en";
  words = await (await fetch(`/catalogue/${language}.json`)).json();
  document.documentElement.lang = language;
}

/** Offers the languages; `changed` draws everything anew. */
export function offer(select, changed) {
  select.replaceChildren(...Object.entries(LANGUAGES).map(([code, name]) => make("option", { value: code, lang: code }, name)));
  select.value = language;
  select.addEventListener("change", async () => {
    localStorage.setItem(KEPT, select.value);
    await read(select.value);
    changed();
  });
}

/** The text of a key. {name} stands for values.name; where n is among them, key.one or key.other is taken by its plural. */
export function t(key, values = {}) {
  const rule = "n" in values ? `${key}.${new Intl.PluralRules(language).select(values.n)}` : key;
  const text = words[rule] ?? words[`${key}.other`] ?? words[key] ?? key;
  return text.replace(/\{(\w+)\}/g, (_, name) => (typeof values[name] === "number" ? number(values[name]) : values[name]));
}

/** The catalogue's word for one of the device's own (a class, a state, a reason); its own where there is none. */
export function word(family, name) {
  return words[`${family}.${name}`] ?? String(name).replaceAll("_", " ");
}

/** A number as it is written in the language; digits: after the point. */
export function number(value, digits = 0) {
  return new Intl.NumberFormat(language, { minimumFractionDigits: digits, maximumFractionDigits: digits }).format(value);
}

/** A UTC time of the device (ISO 8601) as local date and time; "" where there is none. */
export function time(utc) {
  return utc ? new Intl.DateTimeFormat(language, { dateStyle: "medium", timeStyle: "short" }).format(new Date(utc)) : "";
}

/** Fills what the page's HTML names by its key: text or accessible name. */
export function translate(root = document) {
  for (const each of root.querySelectorAll("[data-t]")) each.textContent = t(each.dataset.t);
  for (const each of root.querySelectorAll("[data-t-label]")) each.setAttribute("aria-label", t(each.dataset.tLabel));
}

function wished() {
  return navigator.languages.map((each) => each.slice(0, 2).toLowerCase()).find((each) => each in LANGUAGES);
}
