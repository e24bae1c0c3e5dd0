/** The cells of one view of a run, fetched page by page where they are looked at. */

import { ask } from "/js/api.js";

const PAGE = 200;

/** Where a cell stands now: its class as reviewed or as the machine counts it, "unsure" or "excluded". */
export function standing(cell, groups) {
  const { review } = cell;
  if (review?.action === "reject" || (!review && cell.excluded)) return "excluded";
  const label = review?.action === "relabel" ? review.label : cell.label;
  const decided = review ? label !== "unsure" : cell.decided;
  return decided && groups.get(label) !== "reject" ? label : "unsure";
}

export const same = (one, other) => one.frame === other.frame && one.cell === other.cell;
export const nameOf = (cell) => `${cell.frame}:${cell.cell}`;

export class Cells {
  /**
   * path: of the run's API. view: as the API names it, such as unsure or label:monocyte. groups: label -> group of its class.
   * busy(): reviews are on their way: places shift once they are there, so nothing is fetched until `settle` is called.
   * Calls changed() when cells came, failed(error) when they could not.
   */
  constructor({ path, view, order, groups, total, busy, changed, failed }) {
    Object.assign(this, { path, view, order, groups, total, busy, changed, failed });
    this.items = [];
    this.version = 0;
    this.wanted = null;
    this.fetching = false;
    this.closed = false;
  }

  /** The cell at a place, or undefined while it is not here yet. */
  get(index) {
    return this.items[index];
  }

  indexOf(cell) {
    return this.items.findIndex((each) => each && same(each, cell));
  }

  /** See that the cells from..to are here, and a page behind them. */
  want(from, to) {
    this.wanted = [from, Math.min(this.total, to + PAGE)];
    this.fetch();
  }

  /** The device answered a review: what was asked for before it is of another order. */
  settle() {
    this.version += 1;
    this.fetch();
  }

  /** Takes a cell as it is now; it leaves the view if it no longer belongs there. Tells whether it left. */
  take(cell) {
    const index = this.indexOf(cell);
    if (index < 0) return false;
    this.version += 1;
    const stays = this.belongs(cell);
    if (stays) this.items[index] = cell;
    else {
      this.items.splice(index, 1);
      this.total -= 1;
    }
    return !stays;
  }

  belongs(cell) {
    if (this.view === "all") return true;
    if (this.view === "reviewed") return Boolean(cell.review);
    return standing(cell, this.groups) === this.view.replace(/^label:/, "");
  }

  /** Forgets all cells, to fetch anew what is looked at. */
  renew(total) {
    this.items = [];
    this.total = total;
  }

  async fetch() {
    const offset = this.missing();
    if (offset === null || this.fetching || this.closed || this.busy()) return;
    this.fetching = true;
    const version = this.version;
    const asked = new URLSearchParams({ view: this.view, order: this.order, offset, limit: PAGE });
    try {
      const page = await ask(`${this.path}/cells?${asked}`);
      if (version === this.version && !this.closed) this.keep(offset, page);
    } catch (error) {
      this.wanted = null;
      if (!this.closed) this.failed(error);
    } finally {
      this.fetching = false;
    }
    this.fetch();
  }

  /** The first place that is wanted and not here; null where all are. */
  missing() {
    const [from, to] = this.wanted ?? [0, 0];
    for (let i = from; i < Math.min(to, this.total); i += 1) if (!(i in this.items)) return i;
    return null;
  }

  /** The device knows best how many there are: a run that goes on finds more, other people review too. */
  keep(offset, { total, cells }) {
    this.total = total;
    this.items.length = Math.min(this.items.length, total);
    cells.forEach((cell, i) => {
      this.items[offset + i] = cell;
    });
    if (!cells.length) this.total = Math.min(total, offset);
    this.changed();
  }
}
