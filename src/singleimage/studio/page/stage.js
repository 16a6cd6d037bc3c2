// The photo on a canvas: looked at, drawn on, pasted into.
//
// The mask is an array of bytes, one a pixel of the photo, 0 or 255. What is shown is that array, and what
// is sent is that array: there is no soft edge that would mean one thing here and another there.

import { blobOf, canvasOf, checks, union } from "./canvas.js";

const TINT = new Uint32Array(new Uint8Array([240, 160, 75, 120]).buffer)[0];
const WHITE = 0xffffffff, BLACK = 0xff000000; // four bytes of a pixel at once, alpha is the last

export class Stage extends EventTarget {
  constructor(canvas) {
    super();
    this.canvas = canvas;
    this.context = canvas.getContext("2d");
    this.photo = null; // {card, bitmap}
    this.reading = false; // whether one is to come
    this.view = { scale: 1, x: 0, y: 0 };
    this.mode = null; // mask, paint, paste, lift
    this.brush = { size: 40, soft: 0.3, color: "#4a7a4a", erase: false, shape: "brush" };
    this.pointers = new Map();
    this.pen = null; // that is down: a hand beside it draws nothing
    this.space = false;
    this.original = false;
    this.frame = null; // of what is added: left, right, top, bottom
    this.asked = 0; // photos that were to be shown
    this.kept = new Map(); // what was drawn on the others, by photo
    this.clearLayers();
    new ResizeObserver(() => this.resize()).observe(canvas.parentElement);
    this.watchScreen();
    for (const [name, act] of Object.entries({ pointerdown: this.down, pointermove: this.move, pointerup: this.up, pointercancel: this.cancel, pointerleave: this.leave }))
      canvas.addEventListener(name, act.bind(this));
    canvas.addEventListener("wheel", (event) => this.wheel(event), { passive: false });
    canvas.addEventListener("contextmenu", (event) => event.preventDefault());
  }

  get width() { return this.photo?.card.width ?? 0; }
  get height() { return this.photo?.card.height ?? 0; }

  // The photo

  async show(card, urls) { // the stage is empty until the photo is there; of several the last one is shown
    const asked = ++this.asked;
    this.putAway();
    this.photo = null;
    this.reading = Boolean(card);
    this.clearLayers();
    this.draw();
    let bitmap = null;
    for (const url of urls) {
      try {
        const response = await fetch(url);
        if (!response.ok) continue;
        bitmap = await createImageBitmap(await response.blob());
        if (bitmap.width === card.width && bitmap.height === card.height) break;
      } catch { /* a format browsers do not read */ }
    }
    if (asked !== this.asked) return true; // another one is being read
    this.photo = bitmap && { card, bitmap };
    this.reading = false;
    this.clearLayers();
    if (bitmap) this.takeBack(card.id);
    this.fit();
    return Boolean(bitmap || !card);
  }

  clearLayers() {
    const [w, h] = [this.width, this.height];
    this.mask = new Uint8Array(w * h);
    this.overlay = canvasOf(Math.max(w, 1), Math.max(h, 1));
    this.stale = null; // box of the mask that the overlay does not show yet
    this.paint = canvasOf(Math.max(w, 1), Math.max(h, 1));
    this.pasted = null; // {bitmap, x, y, scale}
    this.stroke = this.grabbed = null;
    this.done = [];
    this.undone = [];
    this.sent = undefined; // the last step that an order has
    this.changed();
  }

  putAway() { // what was drawn on this photo, until it is shown again
    this.letGo();
    const { mode, mask, paint, pasted, done, undone, sent } = this;
    if (this.photo && (done.length || undone.length)) this.kept.set(this.photo.card.id, { mode, layers: { mask, paint, pasted, done, undone, sent } });
  }

  takeBack(id) {
    const found = this.kept.get(id);
    if (!found) return;
    this.kept.delete(id);
    Object.assign(this, found.layers);
    this.paintOverlay(this.whole);
    if (this.pasted && found.mode !== this.mode) this.drop(); // as where another tool is chosen
    this.changed();
  }

  get whole() { return { x: 0, y: 0, w: this.width, h: this.height }; }
  get unsent() { return [this, ...[...this.kept.values()].map((one) => one.layers)].some(({ done, sent }) => done.length && done.at(-1) !== sent); }

  // The view

  resize() {
    const box = this.canvas.parentElement.getBoundingClientRect();
    const ratio = window.devicePixelRatio || 1;
    const fitted = this.isFitted;
    this.canvas.width = Math.max(Math.round(box.width * ratio), 1);
    this.canvas.height = Math.max(Math.round(box.height * ratio), 1);
    this.ratio = ratio;
    if (fitted !== false) this.fit();
    this.render(); // now: a canvas of another size is empty
  }

  watchScreen() { // another one may have other pixels
    matchMedia(`(resolution: ${window.devicePixelRatio}dppx)`).addEventListener("change", () => { this.resize(); this.watchScreen(); }, { once: true });
  }

  fit() {
    if (!this.photo || !this.ratio) return this.draw();
    const [w, h] = [this.canvas.width / this.ratio, this.canvas.height / this.ratio];
    const top = this.mode && this.mode !== "none" ? 62 : 18;
    const f = this.frame ?? { left: 0, right: 0, top: 0, bottom: 0 };
    const [wide, tall] = [this.width + f.left + f.right, this.height + f.top + f.bottom];
    const scale = Math.max(Math.min((w - 36) / wide, (h - top - 50) / tall, 16), 0.02);
    this.view = { scale, x: (w - wide * scale) / 2 + f.left * scale, y: top + (h - top - 50 - tall * scale) / 2 + f.top * scale };
    this.isFitted = true;
    this.draw();
  }

  zoom(factor, x = this.canvas.width / this.ratio / 2, y = this.canvas.height / this.ratio / 2) {
    const scale = Math.min(Math.max(this.view.scale * factor, 0.02), 64);
    const by = scale / this.view.scale;
    this.view = { scale, x: x - (x - this.view.x) * by, y: y - (y - this.view.y) * by };
    this.isFitted = false;
    this.draw();
  }

  wheel(event) {
    event.preventDefault();
    const box = this.canvas.getBoundingClientRect();
    const speed = event.deltaMode ? 0.05 : event.ctrlKey ? 0.01 : 0.0018; // lines, a pinch on a trackpad, pixels
    const by = Math.min(Math.max(-event.deltaY * speed, -0.25), 0.25); // a notch of a wheel with Ctrl is no pinch
    this.zoom(Math.exp(by), event.clientX - box.left, event.clientY - box.top);
  }

  at(event) { // where on the photo, in its pixels
    const box = this.canvas.getBoundingClientRect();
    return { x: (event.clientX - box.left - this.view.x) / this.view.scale, y: (event.clientY - box.top - this.view.y) / this.view.scale };
  }

  // Pointers

  down(event) {
    if (!this.photo || this.resting(event)) return;
    this.canvas.focus({ preventScroll: true });
    try { this.canvas.setPointerCapture(event.pointerId); } catch { /* it has gone */ }
    if (event.pointerType === "pen") { this.letGo(); this.pointers.clear(); this.pen = event.pointerId; }
    this.pointers.set(event.pointerId, { x: event.clientX, y: event.clientY });
    if (this.pointers.size === 2) { this.dropStroke(); this.pinch = this.spread(); return; }
    if (this.pointers.size > 2) return;
    if (this.space || event.button === 1 || !this.mode) { this.panning = { x: event.clientX, y: event.clientY }; return; }
    if (event.button !== 0 && event.button !== 5) return; // 5: a pen's eraser
    const point = this.at(event);
    if (this.pasted && this.places) { this.grab(point, event); return; }
    if (this.mode === "paste") { this.panning = { x: event.clientX, y: event.clientY }; return; }
    if (this.mode === "paint" && event.altKey) { this.pick(point); return; }
    this.begin(point, event);
  }

  move(event) {
    if (this.resting(event)) return;
    this.cursor = { x: event.clientX, y: event.clientY };
    if (!this.pointers.has(event.pointerId)) { this.draw(); return; }
    this.pointers.set(event.pointerId, { x: event.clientX, y: event.clientY });
    if (this.pointers.size === 2 && this.pinch) {
      const now = this.spread(), box = this.canvas.getBoundingClientRect();
      this.view.x += now.x - this.pinch.x;
      this.view.y += now.y - this.pinch.y;
      this.zoom(now.apart / Math.max(this.pinch.apart, 1), now.x - box.left, now.y - box.top);
      this.pinch = now;
      return;
    }
    if (this.panning) {
      this.view.x += event.clientX - this.panning.x;
      this.view.y += event.clientY - this.panning.y;
      this.panning = { x: event.clientX, y: event.clientY };
      this.isFitted = false;
      this.draw();
      return;
    }
    if (this.grabbed) { this.drag(this.at(event)); return; }
    const between = event.getCoalescedEvents?.() ?? []; // none in some browsers
    if (this.stroke) for (const one of between.length ? between : [event]) this.extend(this.at(one), one);
    this.draw();
  }

  up(event) {
    if (!this.pointers.delete(event.pointerId)) return;
    if (this.pen === event.pointerId) this.pen = null;
    if (this.pointers.size < 2) this.pinch = null;
    this.panning = null;
    if (this.grabbed) this.release();
    if (this.stroke && this.pointers.size === 0) this.finish(this.at(event));
    this.draw();
  }

  cancel(event) { // by the system: what was begun is undone, and where it ended says nothing
    if (!this.pointers.delete(event.pointerId)) return;
    if (this.pen === event.pointerId) this.pen = null;
    this.letGo();
    this.draw();
  }

  letGo() { // of all that a pointer holds
    this.dropStroke();
    if (this.grabbed) Object.assign(this.pasted, this.grabbed.from);
    this.grabbed = this.pinch = this.panning = null;
  }

  resting(event) { return event.pointerType === "touch" && this.pen !== null; } // a hand, beside the pen

  leave() { this.cursor = null; this.draw(); }

  spread() {
    const [a, b] = [...this.pointers.values()];
    return { x: (a.x + b.x) / 2, y: (a.y + b.y) / 2, apart: Math.hypot(a.x - b.x, a.y - b.y) };
  }

  // Strokes

  get radius() { return Math.max(this.brush.size / this.view.scale / 2, 0.5); }

  begin(point, event) {
    const masks = this.mode !== "paint";
    this.stroke = { masks, points: [point], last: point, box: null, erase: this.brush.erase || event.buttons === 32, shape: masks ? this.brush.shape : "brush" };
    this.stroke.before = masks ? this.mask.slice() : this.paintNow();
    this.extend(point, event);
  }

  extend(point, event) {
    const stroke = this.stroke;
    const press = event.pointerType === "pen" && event.pressure ? 0.35 + event.pressure : 1;
    if (stroke.shape === "brush") this.dab(stroke.last, point, this.radius * press);
    else stroke.points.push(point);
    stroke.last = point;
  }

  finish(point) {
    const stroke = this.stroke;
    this.stroke = null;
    if (stroke.shape !== "brush") this.area(stroke, point);
    if (!stroke.box) return;
    this.remember(stroke.masks ? this.maskStep(stroke.before, stroke.box) : this.paintStep(stroke));
  }

  dropStroke() {
    const stroke = this.stroke;
    this.stroke = null;
    if (!stroke?.box) return;
    if (stroke.masks) { this.mask = stroke.before; this.paintOverlay(stroke.box); return; }
    const context = this.paint.getContext("2d");
    context.clearRect(0, 0, this.width, this.height);
    context.drawImage(stroke.before, 0, 0);
  }

  dab(from, to, radius) {
    const box = this.clip(Math.min(from.x, to.x) - radius, Math.min(from.y, to.y) - radius, Math.max(from.x, to.x) + radius, Math.max(from.y, to.y) + radius);
    if (!box) return;
    this.stroke.box = union(this.stroke.box, box);
    if (!this.stroke.masks) { this.dabPaint(from, to, radius); return; }
    const [dx, dy] = [to.x - from.x, to.y - from.y], long = dx * dx + dy * dy || 1, value = this.stroke.erase ? 0 : 255;
    const inside = (x, y) => {
      const [px, py] = [x + 0.5 - from.x, y + 0.5 - from.y];
      const t = Math.min(Math.max((px * dx + py * dy) / long, 0), 1);
      const [ax, ay] = [px - t * dx, py - t * dy];
      return ax * ax + ay * ay <= radius * radius;
    };
    for (let y = box.y; y < box.y + box.h; y++) { // a row has one piece: it is found from both ends
      let [first, last] = [box.x, box.x + box.w - 1];
      while (first <= last && !inside(first, y)) first++;
      while (last > first && !inside(last, y)) last--;
      if (first <= last) this.mask.fill(value, y * this.width + first, y * this.width + last + 1);
    }
    this.paintOverlay(box);
  }

  dabPaint(from, to, radius) {
    const context = this.paint.getContext("2d");
    context.save();
    context.globalCompositeOperation = this.stroke.erase ? "destination-out" : "source-over";
    const apart = Math.hypot(to.x - from.x, to.y - from.y), count = Math.max(Math.ceil(apart / Math.max(radius / 4, 0.5)), 1);
    const hard = 1 - this.brush.soft;
    for (let i = 0; i <= count; i++) {
      const [x, y] = [from.x + (to.x - from.x) * i / count, from.y + (to.y - from.y) * i / count];
      const fade = context.createRadialGradient(x, y, radius * hard, x, y, radius);
      fade.addColorStop(0, this.brush.color);
      fade.addColorStop(1, this.brush.color + "00");
      context.fillStyle = hard > 0.98 ? this.brush.color : fade;
      context.beginPath();
      context.arc(x, y, radius, 0, 7);
      context.fill();
    }
    context.restore();
  }

  area(stroke, point) { // a rectangle or a lasso, filled
    const path = stroke.shape === "rectangle"
      ? [stroke.points[0], { x: point.x, y: stroke.points[0].y }, point, { x: stroke.points[0].x, y: point.y }]
      : stroke.points;
    const xs = path.map((p) => p.x), ys = path.map((p) => p.y);
    const box = this.clip(Math.min(...xs), Math.min(...ys), Math.max(...xs), Math.max(...ys));
    if (!box || path.length < 3) return;
    stroke.box = box;
    const value = stroke.erase ? 0 : 255;
    for (let y = box.y; y < box.y + box.h; y++) {
      const crossings = [];
      for (let i = 0; i < path.length; i++) {
        const a = path[i], b = path[(i + 1) % path.length], at = y + 0.5;
        if ((a.y <= at) !== (b.y <= at)) crossings.push(a.x + (at - a.y) / (b.y - a.y) * (b.x - a.x));
      }
      crossings.sort((a, b) => a - b);
      for (let i = 0; i + 1 < crossings.length; i += 2) {
        const first = Math.max(Math.ceil(crossings[i] - 0.5), box.x), last = Math.min(Math.floor(crossings[i + 1] - 0.5), box.x + box.w - 1);
        this.mask.fill(value, y * this.width + first, y * this.width + Math.max(last + 1, first));
      }
    }
    this.paintOverlay(box);
  }

  setMask(act) { // "all", "none" or "invert"
    if (!this.photo) return;
    const before = this.mask.slice(), box = this.whole;
    if (act === "invert") for (let i = 0; i < this.mask.length; i++) this.mask[i] = 255 - this.mask[i];
    else this.mask.fill(act === "all" ? 255 : 0);
    this.paintOverlay(box);
    this.remember(this.maskStep(before, box));
  }

  clearPaint() {
    if (!this.photo) return;
    const before = this.paintNow();
    this.paint.getContext("2d").clearRect(0, 0, this.width, this.height);
    this.remember(this.paintStep({ before, box: this.whole }));
  }

  get painted() { return new Uint32Array(this.paint.getContext("2d").getImageData(0, 0, this.paint.width, this.paint.height).data.buffer).some(Boolean); }
  get marked() { let n = 0; for (const value of this.mask) n += value; return n / 255 / Math.max(this.mask.length, 1); }

  // Undo, without limit: each step keeps the part that it changed, as it was and as it became.

  maskStep(before, box) {
    const cut = (from) => { const part = new Uint8Array(box.w * box.h); for (let y = 0; y < box.h; y++) part.set(from.subarray((box.y + y) * this.width + box.x, (box.y + y) * this.width + box.x + box.w), y * box.w); return part; };
    const put = (part) => { for (let y = 0; y < box.h; y++) this.mask.set(part.subarray(y * box.w, (y + 1) * box.w), (box.y + y) * this.width + box.x); this.paintOverlay(box); };
    const [old, now] = [cut(before), cut(this.mask)];
    return { undo: () => put(old), redo: () => put(now) };
  }

  paintStep({ before, box }) {
    const context = this.paint.getContext("2d"), now = context.getImageData(box.x, box.y, box.w, box.h);
    const old = before.getContext("2d").getImageData(box.x, box.y, box.w, box.h);
    return { undo: () => context.putImageData(old, box.x, box.y), redo: () => context.putImageData(now, box.x, box.y) };
  }

  paintNow() { const copy = canvasOf(this.width, this.height); copy.getContext("2d").drawImage(this.paint, 0, 0); return copy; }

  pasteStep(before, after) {
    return { undo: () => { this.pasted = before && { ...before }; }, redo: () => { this.pasted = after && { ...after }; } };
  }

  remember(step) { this.done.push(step); this.undone = []; this.drawn(); }
  get held() { return this.stroke || this.grabbed; } // by a pointer, and no step yet
  undo() { const step = !this.held && this.done.pop(); if (step) { step.undo(); this.undone.push(step); this.drawn(); } }
  redo() { const step = !this.held && this.undone.pop(); if (step) { step.redo(); this.done.push(step); this.drawn(); } }

  // Pasted and lifted pictures

  get places() { return this.mode === "paste" || this.mode === "lift"; } // what is pasted is seen in these modes alone

  drop() { // what is pasted
    if (!this.pasted) return;
    const before = { ...this.grabbed?.from ?? this.pasted };
    this.pasted = this.grabbed = null;
    this.remember(this.pasteStep(before, null));
  }

  paste(bitmap) {
    const scale = Math.min(1, this.width / bitmap.width * 0.6, this.height / bitmap.height * 0.6);
    const after = { bitmap, scale, x: (this.width - bitmap.width * scale) / 2, y: (this.height - bitmap.height * scale) / 2 };
    const step = this.pasteStep(this.pasted, after);
    this.pasted = { ...after };
    this.remember(step);
  }

  lift() { // what is marked, as a picture of its own that can be moved
    if (!this.marked) return false;
    let [x0, y0, x1, y1] = [this.width, this.height, 0, 0];
    this.mask.forEach((value, i) => { if (value) { const x = i % this.width, y = (i - x) / this.width; x0 = Math.min(x0, x); x1 = Math.max(x1, x + 1); y0 = Math.min(y0, y); y1 = Math.max(y1, y + 1); } });
    const part = canvasOf(x1 - x0, y1 - y0), context = part.getContext("2d");
    context.drawImage(this.photo.bitmap, -x0, -y0, this.width, this.height);
    const data = context.getImageData(0, 0, part.width, part.height);
    for (let y = 0; y < part.height; y++) for (let x = 0; x < part.width; x++) if (!this.mask[(y0 + y) * this.width + x0 + x]) data.data[(y * part.width + x) * 4 + 3] = 0;
    context.putImageData(data, 0, 0);
    const after = { bitmap: part, scale: 1, x: x0, y: y0 };
    const [first, second] = [this.maskAll(0), this.pasteStep(this.pasted, after)];
    this.pasted = { ...after };
    this.remember({ undo: () => { second.undo(); first.undo(); }, redo: () => { first.redo(); second.redo(); } });
    return true;
  }

  maskAll(value) { const before = this.mask.slice(), box = this.whole; this.mask.fill(value); this.paintOverlay(box); return this.maskStep(before, box); }

  get corner() { const p = this.pasted; return { x: p.x + p.bitmap.width * p.scale, y: p.y + p.bitmap.height * p.scale }; }

  grab(point, event) {
    const { x, y } = this.corner, near = 16 / this.view.scale, p = this.pasted;
    const scaling = Math.hypot(point.x - x, point.y - y) < near;
    const inside = point.x >= p.x && point.y >= p.y && point.x <= x && point.y <= y;
    if (!scaling && !inside) { this.panning = { x: event.clientX, y: event.clientY }; return; }
    this.grabbed = { scaling, dx: point.x - p.x, dy: point.y - p.y, from: { ...p } };
  }

  drag(point) {
    const p = this.pasted;
    if (this.grabbed.scaling) p.scale = Math.max(Math.max((point.x - p.x) / p.bitmap.width, (point.y - p.y) / p.bitmap.height), 4 / p.bitmap.width);
    else { p.x = Math.round(point.x - this.grabbed.dx); p.y = Math.round(point.y - this.grabbed.dy); } // whole pixels stay as they are
    this.draw();
  }

  release() { // what was dragged
    const { from } = this.grabbed, p = this.pasted;
    this.grabbed = null;
    if (p.x !== from.x || p.y !== from.y || p.scale !== from.scale) this.remember(this.pasteStep(from, { ...p }));
  }

  nudge(dx, dy) { if (this.pasted && !this.grabbed) { const before = { ...this.pasted }; this.pasted.x += dx; this.pasted.y += dy; this.remember(this.pasteStep(before, { ...this.pasted })); } }

  pick(point) {
    const [x, y] = [Math.floor(point.x), Math.floor(point.y)], one = canvasOf(1, 1).getContext("2d");
    if (x < 0 || y < 0 || x >= this.width || y >= this.height) return;
    one.imageSmoothingEnabled = false;
    one.drawImage(this.photo.bitmap, -x, -y, this.width, this.height);
    const [r, g, b] = one.getImageData(0, 0, 1, 1).data;
    this.brush.color = `#${[r, g, b].map((v) => v.toString(16).padStart(2, "0")).join("")}`;
    this.changed();
  }

  // What is sent

  maskBlob() {
    const canvas = canvasOf(this.width, this.height), context = canvas.getContext("2d"), data = context.createImageData(this.width, this.height);
    const words = new Uint32Array(data.data.buffer);
    for (let i = 0; i < words.length; i++) words[i] = this.mask[i] ? WHITE : BLACK;
    context.putImageData(data, 0, 0);
    return blobOf(canvas);
  }

  compositeBlob() { // the photo with what is seen on it: paint or pasted pictures
    const canvas = canvasOf(this.width, this.height), context = canvas.getContext("2d");
    context.drawImage(this.photo.bitmap, 0, 0, this.width, this.height);
    if (this.mode === "paint") context.drawImage(this.paint, 0, 0);
    this.drawPasted(context);
    return blobOf(canvas);
  }

  pastedMaskBlob() { // where the pasted picture is
    const canvas = canvasOf(this.width, this.height), context = canvas.getContext("2d");
    this.drawPasted(context);
    const data = context.getImageData(0, 0, this.width, this.height);
    const words = new Uint32Array(data.data.buffer);
    for (let i = 0; i < words.length; i++) words[i] = words[i] >>> 31 ? WHITE : BLACK; // from half on
    context.putImageData(data, 0, 0);
    return blobOf(canvas);
  }

  drawPasted(context) {
    const p = this.places && this.pasted;
    if (p) { context.imageSmoothingQuality = "high"; context.drawImage(p.bitmap, p.x, p.y, p.bitmap.width * p.scale, p.bitmap.height * p.scale); }
  }

  // Drawing the view

  paintOverlay(box) { this.stale = union(this.stale, box); this.draw(); } // once a frame

  renderOverlay() {
    const box = this.stale, context = this.overlay.getContext("2d");
    if (!box) return;
    this.stale = null;
    const data = context.createImageData(box.w, box.h), words = new Uint32Array(data.data.buffer);
    for (let y = 0, i = 0; y < box.h; y++) for (let x = 0, j = (box.y + y) * this.width + box.x; x < box.w; x++, i++, j++) if (this.mask[j]) words[i] = TINT;
    context.putImageData(data, box.x, box.y);
  }

  draw() {
    if (!this.waiting) this.waiting = requestAnimationFrame(() => { this.waiting = null; this.render(); });
  }

  render() {
    const context = this.context, { scale, x, y } = this.view, ratio = this.ratio || 1;
    context.setTransform(1, 0, 0, 1, 0, 0);
    context.clearRect(0, 0, this.canvas.width, this.canvas.height);
    if (!this.photo) return;
    this.renderOverlay();
    context.setTransform(ratio * scale, 0, 0, ratio * scale, ratio * x, ratio * y);
    context.imageSmoothingEnabled = scale < 8;
    context.imageSmoothingQuality = "high";
    context.fillStyle = checks(context, scale * ratio);
    context.fillRect(0, 0, this.width, this.height);
    context.drawImage(this.photo.bitmap, 0, 0, this.width, this.height);
    if (!this.original && this.mode) {
      if (this.mode === "paint") context.drawImage(this.paint, 0, 0);
      if (this.mode === "mask" || (this.mode === "lift" && !this.pasted)) context.drawImage(this.overlay, 0, 0);
      if (this.places) this.renderPasted(context);
    }
    if (this.frame) this.renderFrame(context);
    this.renderCursor(context);
  }

  renderFrame(context) { // what is to be added beyond the borders
    const { left, right, top, bottom } = this.frame, long = 6 / this.view.scale;
    context.lineWidth = 1.5 / this.view.scale;
    context.strokeStyle = "#f0a04b";
    context.setLineDash([long, long]);
    context.strokeRect(-left, -top, this.width + left + right, this.height + top + bottom);
    context.setLineDash([]);
  }

  renderPasted(context) {
    if (!this.pasted) return;
    this.drawPasted(context);
    const p = this.pasted, { x, y } = this.corner, line = 1.5 / this.view.scale;
    context.lineWidth = line;
    context.strokeStyle = "#f0a04b";
    context.strokeRect(p.x, p.y, x - p.x, y - p.y);
    context.fillStyle = "#f0a04b";
    context.beginPath();
    context.arc(x, y, 7 / this.view.scale, 0, 7);
    context.fill();
  }

  renderCursor(context) {
    const stroke = this.stroke;
    context.lineWidth = 1.2 / this.view.scale;
    if (stroke && stroke.shape !== "brush") {
      context.strokeStyle = "#fff";
      context.setLineDash([5 / this.view.scale, 4 / this.view.scale]);
      context.beginPath();
      if (stroke.shape === "rectangle") context.rect(stroke.points[0].x, stroke.points[0].y, stroke.last.x - stroke.points[0].x, stroke.last.y - stroke.points[0].y);
      else stroke.points.forEach((p, i) => (i ? context.lineTo(p.x, p.y) : context.moveTo(p.x, p.y)));
      context.stroke();
      context.setLineDash([]);
      return;
    }
    const brushes = this.mode === "paint" || ((this.mode === "mask" || (this.mode === "lift" && !this.pasted)) && this.brush.shape === "brush");
    this.canvas.style.cursor = this.space || !this.mode ? "grab" : brushes ? "none" : this.pasted ? "move" : "crosshair";
    if (!brushes || !this.cursor || this.space) return;
    const point = this.at({ clientX: this.cursor.x, clientY: this.cursor.y });
    for (const [color, grow] of [["#000", 1.2], ["#fff", 0]]) {
      context.strokeStyle = color;
      context.beginPath();
      context.arc(point.x, point.y, this.radius + grow / this.view.scale, 0, 7);
      context.stroke();
    }
  }

  clip(x0, y0, x1, y1) {
    const [x, y] = [Math.max(Math.floor(x0), 0), Math.max(Math.floor(y0), 0)];
    const [w, h] = [Math.min(Math.ceil(x1), this.width) - x, Math.min(Math.ceil(y1), this.height) - y];
    return w > 0 && h > 0 ? { x, y, w, h } : null;
  }

  changed() { this.dispatchEvent(new Event("change")); }
  drawn() { this.changed(); this.draw(); this.dispatchEvent(new Event("drawn")); }
}
