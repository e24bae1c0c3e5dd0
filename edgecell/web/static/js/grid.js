/** A grid of thousands of tiles of which only those in sight exist. */

import { at } from "/js/dom.js";

/** Pixels of a tile; rows above and below that are ready before they are scrolled to. */
const [WIDTH, HEIGHT, AROUND] = [96, 122, 2];

export class Grid {
  /** draw(tile, index) fills a tile; make() gives a new one; seen(from, to) hears which are in sight. */
  constructor({ make, draw, seen }) {
    Object.assign(this, { make, draw, seen });
    this.scroller = at("grid");
    this.sheet = at("grid-sheet");
    this.tiles = new Map();
    this.total = 0;
    this.scroller.addEventListener("scroll", () => this.later());
    new ResizeObserver(() => this.later()).observe(this.scroller);
  }

  get columns() {
    return Math.max(1, Math.floor(this.scroller.clientWidth / WIDTH));
  }

  /** Tiles in a page of the screen. */
  get page() {
    return this.columns * Math.max(1, Math.floor(this.scroller.clientHeight / HEIGHT));
  }

  /** Draws all in sight, now or at the next frame of the screen. */
  later() {
    if (this.asked) return;
    this.asked = requestAnimationFrame(() => this.now());
  }

  now() {
    cancelAnimationFrame(this.asked);
    this.asked = 0;
    const { columns } = this;
    const width = Math.floor(this.scroller.clientWidth / columns);
    this.sheet.style.height = `${Math.ceil(this.total / columns) * HEIGHT}px`;
    const top = this.scroller.scrollTop;
    const from = Math.max(0, Math.floor(top / HEIGHT) - AROUND) * columns;
    const to = Math.min(this.total, (Math.ceil((top + this.scroller.clientHeight) / HEIGHT) + AROUND) * columns);
    const spare = this.spare(from, to);
    for (let index = from; index < to; index += 1) this.place(index, columns, width, spare);
    for (const tile of spare) tile.remove();
    this.seen(from, to);
  }

  /** The tiles that went out of sight, for those that come. */
  spare(from, to) {
    const gone = [...this.tiles].filter(([index]) => index < from || index >= to);
    for (const [index] of gone) this.tiles.delete(index);
    return gone.map(([, tile]) => tile);
  }

  place(index, columns, width, spare) {
    let tile = this.tiles.get(index) ?? spare.pop();
    if (!tile) {
      tile = this.make();
      this.sheet.append(tile);
    }
    this.tiles.set(index, tile);
    tile.style.width = `${width}px`;
    tile.style.height = `${HEIGHT}px`;
    tile.style.transform = `translate(${(index % columns) * width}px, ${Math.floor(index / columns) * HEIGHT}px)`;
    this.draw(tile, index);
  }

  /** Scrolls so that a tile is in sight, and draws it. */
  reveal(index) {
    const row = Math.floor(index / this.columns);
    const [top, bottom] = [row * HEIGHT, (row + 1) * HEIGHT];
    if (top < this.scroller.scrollTop) this.scroller.scrollTop = top;
    else if (bottom > this.scroller.scrollTop + this.scroller.clientHeight) this.scroller.scrollTop = bottom - this.scroller.clientHeight;
    this.now();
  }

  /** The place of the tile that an element belongs to, or null. */
  indexOf(element) {
    const tile = element.closest(".tile");
    for (const [index, each] of this.tiles) if (each === tile) return index;
    return null;
  }
}
