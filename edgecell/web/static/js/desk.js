/** Sends reviews to the device one after the other, however fast they are made, and remembers them to be undone. */

import { ask } from "/js/api.js";

/** Cells of one request. */
const MOST = 500;

export class Desk {
  /** path: of the run's API. answered(answer) hears each answer, failed(error) that one was refused: the rest is dropped. */
  constructor({ path, answered, failed }) {
    Object.assign(this, { path, answered, failed });
    this.waiting = [];
    this.sending = false;
    this.done = [];
  }

  /** Reviews that the device has not answered yet. */
  get pending() {
    return this.waiting.length + (this.sending ? 1 : 0);
  }

  /** operator's word on cells: relabel with a label, reject, confirm or undo. */
  send(operator, cells, action, label = "") {
    const places = cells.map(({ frame, cell }) => [frame, cell]);
    for (let from = 0; from < places.length; from += MOST) {
      this.waiting.push({ operator, cells: places.slice(from, from + MOST), action, label });
    }
    if (action !== "undo") this.done.push(places);
    this.next();
  }

  /** The places of the latest review that was not undone, as cells; null where there is none. */
  takeBack() {
    const places = this.done.pop();
    return places ? places.map(([frame, cell]) => ({ frame, cell })) : null;
  }

  async next() {
    if (this.sending || !this.waiting.length) return;
    this.sending = true;
    const body = this.waiting.shift();
    try {
      const answer = await ask(`${this.path}/reviews`, { method: "POST", body });
      this.sending = false;
      this.answered(answer);
    } catch (error) {
      this.sending = false;
      this.waiting = [];
      this.done = [];
      this.failed(error);
    }
    this.next();
  }
}
