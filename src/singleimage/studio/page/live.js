// Draws while one changes things: one picture at a time, of the newest wish alone, beside the photo.

import { pictureURL } from "./api.js";

const REST = 150; // milliseconds without a change, before it draws

export class Live {
  constructor(figure, acts) {
    this.figure = figure;
    this.acts = acts; // what the page does: send, now, remove, open
    this.order = null; // that is drawn now
    this.shown = null; // [order, name] in the figure
    this.on = false;
    this.fresh = false; // whether what is drawn now is still wished
    figure.querySelector("button").onclick = () => this.shown && acts.open(...this.shown);
  }

  turn(on) {
    this.on = on;
    if (on) this.wish(); else this.clear();
  }

  clear() { clearTimeout(this.timer); this.wanted = this.fresh = false; this.shown = null; this.figure.hidden = true; }

  wish() { // something was changed
    if (!this.on) return;
    this.wanted = true;
    clearTimeout(this.timer);
    this.timer = setTimeout(() => this.step(), REST);
  }

  async step() {
    if (this.order || !this.wanted) return;
    this.wanted = false;
    this.fresh = true;
    this.order = {}; // so that there is no second
    let sent = null;
    try { sent = await this.acts.send(); } finally { this.order = sent; }
    this.figure.classList.toggle("busy", this.order !== null);
    if (this.order) this.heard(this.acts.now(this.order)); // it may be done by now
    else this.step(); // nothing to draw then, but perhaps since
  }

  heard(order) {
    if (order.id !== this.order?.id || order.state === "waiting" || order.state === "running") return;
    this.order = null;
    this.figure.classList.remove("busy");
    const old = this.shown?.[0];
    if (order.made.length && !order.hidden && this.fresh) {
      this.shown = [order, order.made[0]];
      const image = this.figure.querySelector("img");
      image.src = pictureURL(...this.shown);
      this.figure.hidden = false;
      if (old && old.id !== order.id) this.acts.remove(old);
    }
    this.step();
  }
}

// How long a picture takes: as those of its kind took here, else as on two slow cores.
export function secondsOf(orders, like, pixels, pace) {
  const alike = [...orders].filter((order) => order.kind === like.kind && Boolean(order.run) === Boolean(like.run) && order.made.length);
  const rates = alike.slice(-5).map((order) => order.seconds / order.made.length / pixels(order)).sort((a, b) => a - b);
  const rate = rates.length ? rates[rates.length >> 1] : like.run ? null : pace / 47000;
  return rate === null ? null : rate * pixels(like);
}
