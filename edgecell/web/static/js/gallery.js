/** The cells of a view: choosing them by key and pointer, and what is then said of them. */

import { reviewer } from "/js/dialogs.js";
import { t, word } from "/js/catalogue.js";
import { at, make, pair, tell } from "/js/dom.js";
import { Cells, nameOf } from "/js/cells.js";
import { Grid } from "/js/grid.js";
import { ACTION_KEYS, UNSURE_KEY, classKeys, keyOf, step } from "/js/keys.js";
import { drawLarge, drawTile, large, newTile, shortOf } from "/js/tile.js";

/** The gallery of one screen; `open` shows a view of a run in it. */
export class Gallery {
  constructor() {
    this.grid = new Grid({ make: newTile, draw: (tile, index) => this.drawTile(tile, index), seen: (from, to) => this.cells?.want(from, to) });
    this.chosen = new Map();
    this.active = 0;
    this.anchor = 0;
    this.listen();
  }

  /**
   * desk: where reviews go. labels: that a cell can be given, in the order of their keys. ended: whether the run has: until then
   * others come all the time, and none may move under a finger.
   */
  open({ desk, labels, path, view, order, groups, total, ended, failed }) {
    this.close();
    Object.assign(this, { desk, ended, keys: classKeys(labels) });
    this.cells = new Cells({ path, view, order, groups, total, failed, busy: () => desk.pending > 0, changed: () => this.draw() });
    this.grid.scroller.scrollTop = 0;
    this.choose(null);
    this.active = this.anchor = 0;
    this.draw();
  }

  close() {
    if (this.cells) this.cells.closed = true;
    this.cells = null;
    this.grid.total = 0;
  }

  draw() {
    if (!this.cells) return;
    const { total } = this.cells;
    this.active = Math.max(0, Math.min(this.active, total - 1));
    this.grid.total = total;
    this.grid.now();
    at("grid-none").hidden = total > 0;
    tell(at("grid-none"), t("grid.none"));
    this.drawActive();
  }

  /** Where a cell that is chosen stands in words, for a reader, and large beside the grid. */
  drawActive() {
    const scroller = this.grid.scroller;
    if (this.grid.tiles.has(this.active)) scroller.setAttribute("aria-activedescendant", `tile-${this.active}`);
    else scroller.removeAttribute("aria-activedescendant");
    drawLarge(at("cell"), this.cells.get(this.active) ?? null);
    for (const button of at("actions").querySelectorAll("button[data-action]")) {
      button.disabled = !this.targets().length && button.dataset.action !== "undo";
    }
  }

  drawTile(tile, index) {
    const cell = this.cells.get(index);
    const selected = Boolean(cell && this.chosen.has(nameOf(cell)));
    drawTile(tile, cell, { index, total: this.cells.total, selected, active: index === this.active });
  }

  /** The cells that the next word is about: those chosen, else the active one; never one that the machine left out. */
  targets() {
    const cell = this.cells?.get(this.active);
    const all = this.chosen.size ? [...this.chosen.values()] : cell ? [cell] : [];
    return all.filter((each) => !each.excluded);
  }

  /** Chooses this cell alone; null: none. */
  choose(cell) {
    this.chosen = new Map(cell ? [[nameOf(cell), cell]] : []);
  }

  toggle(cell) {
    if (!this.chosen.delete(nameOf(cell))) this.chosen.set(nameOf(cell), cell);
  }

  /** Chooses all from the anchor to a place, as far as they are here. */
  extend(index) {
    this.choose(null);
    for (let i = Math.min(this.anchor, index); i <= Math.max(this.anchor, index); i += 1) {
      const cell = this.cells.get(i);
      if (cell) this.chosen.set(nameOf(cell), cell);
    }
  }

  /** The active tile is another one: it is shown, and with `extend` all up to it are chosen. */
  go(index, extend) {
    if (extend) this.extend(index);
    else {
      this.anchor = index;
      this.choose(null);
    }
    this.active = index;
    this.grid.reveal(index);
    this.drawActive();
  }

  /** Says something of the targets, at once here, then to the device. label: a class, or "unsure". */
  async act(action, label = "") {
    const targets = this.targets();
    if (action === "undo") return this.undo();
    if (!targets.length) return tell(at("said"), t(this.cells?.get(this.active)?.excluded ? "said.left_out" : "said.nothing"));
    const who = await reviewer();
    if (!who) return undefined;
    const left = targets.filter((cell) => this.cells.take({ ...cell, review: { action, label, operator: who, utc: null } })).length;
    if (targets.length === 1 && !left) this.active += 1;
    this.choose(null);
    this.anchor = this.active;
    this.draw();
    this.grid.reveal(this.active);
    tell(at("said"), t(`said.${action}`, { n: targets.length, label: label === "unsure" ? t("view.unsure") : word("label", label) }));
    this.desk.send(who, targets, action, label);
    at("grid").focus({ preventScroll: true });
    return undefined;
  }

  /** Takes back what was said of the chosen cells, else what was said last. */
  async undo() {
    const reviewed = this.targets().filter((cell) => cell.review?.utc);
    const cells = reviewed.length ? reviewed : this.desk.takeBack();
    if (!cells) return tell(at("said"), t("said.no_undo"));
    const who = await reviewer();
    if (!who) return undefined;
    this.desk.send(who, cells, "undo");
    return tell(at("said"), t("said.undo", { n: cells.length }));
  }

  /** The device's answer to a review. total: cells that it now counts in this view. */
  answered({ cells }, total) {
    const back = cells.some((cell) => this.cells.belongs(cell) && this.cells.indexOf(cell) < 0);
    for (const cell of cells) this.cells.take(cell);
    const settled = !this.desk.pending;
    if (settled && (back || (this.ended && total !== this.cells.total))) this.cells.renew(total);
    this.cells.settle();
    this.draw();
  }

  listen() {
    const { scroller } = this.grid;
    scroller.addEventListener("keydown", (event) => this.key(event));
    scroller.addEventListener("click", (event) => this.click(event));
    scroller.addEventListener("dblclick", () => this.zoom());
    scroller.addEventListener("dragstart", (event) => this.drag(event));
    at("several").addEventListener("click", () => at("several").setAttribute("aria-pressed", String(!this.several)));
  }

  get several() {
    return at("several").getAttribute("aria-pressed") === "true";
  }

  key(event) {
    if (!this.cells || event.ctrlKey || event.altKey || event.metaKey) return;
    const to = step(event.key, this.active, { total: this.cells.total, columns: this.grid.columns, page: this.grid.page });
    if (to !== null) this.go(to, event.shiftKey);
    else if (event.key === " ") this.pick(this.active, true, false);
    else if (event.key === "Enter") this.zoom();
    else if (event.key === "Escape") this.go(this.active, false);
    else if (!this.say(keyOf(event))) return;
    event.preventDefault();
  }

  /** What a key says of the targets; false where it says nothing. */
  say(key) {
    const label = [...this.keys].find(([, each]) => each && each === key)?.[0];
    if (label) this.act("relabel", label);
    else if (key === UNSURE_KEY) this.act("relabel", "unsure");
    else if (key === "?") at("help-open").click();
    else if (key in ACTION_KEYS) this.act(ACTION_KEYS[key]);
    else if (key === "s") at("several").click();
    else return false;
    return true;
  }

  click(event) {
    const index = this.grid.indexOf(event.target);
    if (index !== null) this.pick(index, this.several || event.ctrlKey || event.metaKey, event.shiftKey);
  }

  /** Chooses the cell at a place: with others, up to it, or alone. */
  pick(index, toggle, extend) {
    const cell = this.cells.get(index);
    if (extend) this.extend(index);
    else if (cell && toggle) this.toggle(cell);
    else this.choose(cell);
    if (!extend) this.anchor = index;
    this.active = index;
    this.grid.now();
    this.drawActive();
    const n = this.chosen.size;
    tell(at("said"), t("said.chosen", { n }));
  }

  drag(event) {
    const cell = this.cells.get(this.grid.indexOf(event.target));
    if (!cell) return event.preventDefault();
    if (!this.chosen.has(nameOf(cell))) this.pick(this.grid.indexOf(event.target), false, false);
    event.dataTransfer.setData("text/plain", nameOf(cell));
    event.dataTransfer.effectAllowed = "move";
    return undefined;
  }

  zoom() {
    const cell = this.cells?.get(this.active);
    if (!cell) return;
    at("zoom-title").textContent = t("side.frame", { frame: cell.frame, cell: cell.cell });
    at("zoom-body").replaceChildren(...large(cell));
    at("zoom-dialog").showModal();
  }
}

/** Makes an element take cells that are dragged onto it. */
export function takeDrops(element, dropped) {
  const over = (yes) => element.classList.toggle("over", yes);
  element.addEventListener("dragover", (event) => {
    event.preventDefault();
    over(true);
  });
  element.addEventListener("dragleave", () => over(false));
  element.addEventListener("drop", (event) => {
    event.preventDefault();
    over(false);
    dropped();
  });
}

/** The buttons below the grid, each with its key: the legend, and what a finger uses. */
export function drawActions(gallery, labels) {
  const named = labels.map((label) => [gallery.keys.get(label), "relabel", label, shortOf(label), word("label", label)]);
  const unsure = [UNSURE_KEY, "relabel", "unsure", t("action.unsure"), t("view.unsure")];
  const acts = Object.entries(ACTION_KEYS).map(([key, name]) => [key, name, "", t(`action.${name}`), t(`action.${name}`)]);
  at("actions").replaceChildren(...[...named, unsure, ...acts].map((each) => action(gallery, each)));
}

function action(gallery, [key, name, label, text, full]) {
  const said = { "data-action": name, "data-label": label, "aria-label": full, title: full, "aria-keyshortcuts": key || null };
  const hint = key ? make("kbd", { "aria-hidden": "true" }, key.toUpperCase()) : null;
  const button = make("button", { ...said, on: { click: () => gallery.act(name, label) } }, hint, text);
  if (name === "relabel" || name === "reject") takeDrops(button, () => gallery.act(name, label));
  return button;
}

/** The list of keys in the help. */
export function drawHelp() {
  const keys = ["arrows", "shift", "space", "enter", "escape", "classes", "unsure", "r", "c", "u", "s"];
  at("help-keys").replaceChildren(...keys.flatMap((key) => pair(make("kbd", {}, t(`key.${key}`)), t(`help.${key}`))));
}
