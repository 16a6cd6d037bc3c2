// The page: what there is, what is chosen, and how it is shown.

import { download, get, left, listen, pictureURL, photoURL, post, upload } from "./api.js";
import { Live, secondsOf } from "./live.js";
import { Stage } from "./stage.js";
import { TOOLS, tool } from "./tools.js";
import { Viewer } from "./viewer.js";

const $ = (id) => document.getElementById(id);
const make = (tag, facts = {}, ...children) => { const element = Object.assign(document.createElement(tag), facts); element.append(...children); return element; };
const page = { photos: new Map(), orders: new Map(), runs: new Map(), photo: null, kind: "vary", values: {}, favorites: false, mine: false, source: "", mover: "" };
const stage = new Stage($("canvas"));
const viewer = new Viewer($("viewer"), {
  photoOf: (order) => page.photos.get(order.photo), neighbors: pictures, say: toast,
  favorite: (order, name) => attempt(() => post(`/api/orders/${order.id}/favorite`, { name })),
  use: work,
  more: async (order, name) => { const photo = await work(order, name); if (!photo) return; chooseTool("vary"); await send("vary", { variety: 0.15 }, { photo, count: 4, seed: nextSeed() }); },
  remove: (order, name) => { $("viewer").close(); remove("orders", order, name); },
});

const live = new Live($("live"), {
  send: () => order({ count: 1, quiet: true }), now: (sent) => page.orders.get(sent.id) ?? sent, open: (made, name) => viewer.open(page.orders.get(made.id), name),
  remove: (made) => { const now = page.orders.get(made.id); if (now && !now.favorites.length) post(`/api/orders/${made.id}/delete`).catch(() => {}); },
});

// What is said

const said = $("toast");
let toastTimer = 0;
function toast(text, label, act) {
  said.replaceChildren(make("span", { textContent: text }));
  if (label) said.append(make("button", { textContent: label, onclick: () => { said.replaceChildren(); act(); } }));
  if (said.togglePopover) for (const shown of [false, true]) said.togglePopover(shown); // over a dialog that was opened since
  else (document.querySelector("dialog[open]") ?? document.body).append(said);
  clearTimeout(toastTimer);
  toastTimer = setTimeout(() => said.replaceChildren(), label ? 9000 : Math.max(4000, 60 * text.length));
}
function trouble(text) { $("trouble").textContent = text; if (text && $("viewer").open) toast(text); }
async function attempt(act) { try { trouble(""); return await act(); } catch (error) { trouble(error.message); return null; } }

// Photos

async function work(order, name) { // on a result, as a photo of its own
  $("viewer").close();
  const blob = await attempt(() => download(pictureURL(order, name, "download")));
  return blob && addPhotos([new File([blob], `${order.kind}-${name}`)]);
}

async function addPhotos(files) { // the last one is shown, and its id is the answer
  const cards = [], bad = [];
  trouble("");
  for (const file of files) {
    try {
      const card = await upload("/api/photos", file, file.name);
      page.photos.set(card.id, card);
      cards.push(card);
    } catch (error) { bad.push(error.message.includes(file.name) ? error.message : `${file.name}: ${error.message}`); }
  }
  if (cards.length) await choosePhoto(cards.at(-1).id);
  if (bad.length) trouble(bad.join(" "));
  const words = [...(cards.length ? bad : []), ...cards.flatMap((card) => card.notes)];
  if (words.length) toast(words.join(" "));
  return cards.at(-1)?.id ?? null;
}
const UNSEEN = "This browser cannot show the photo; reload the page, or reduce the photo.";
async function choosePhoto(id) {
  if (id === page.photo && stage.photo?.card.id === id) return;
  page.photo = id;
  if (page.values.restyle?.other === id) page.values.restyle.other = "";
  live.clear();
  const card = page.photos.get(id);
  const seen = await stage.show(card, card.plain ? [photoURL(card, "file"), photoURL(card, "full")] : [photoURL(card, "full")]);
  renderPhotos();
  renderPanel();
  if (!seen) trouble(UNSEEN);
  if (page.mine) renderResults();
}
function renderPhotos() {
  $("photos").replaceChildren(...[...page.photos.values()].reverse().map((card) => {
    const button = make("button", { title: `${card.name}, ${card.width}×${card.height}`, onclick: () => choosePhoto(card.id) }, make("img", { loading: "lazy", src: photoURL(card), alt: card.name }));
    button.setAttribute("aria-current", String(card.id === page.photo));
    return button;
  }));
  $("welcome").hidden = page.photos.size > 0;
  $("zoom").hidden = !page.photo;
}

// Tools

function renderRail() {
  $("rail").replaceChildren(...TOOLS.map((one, i) => {
    const button = make("button", { onclick: () => chooseTool(one.kind) });
    button.innerHTML = `${one.icon}<span>${one.label}</span>`;
    button.setAttribute("role", "tab");
    button.setAttribute("aria-selected", String(one.kind === page.kind));
    button.tabIndex = one.kind === page.kind ? 0 : -1;
    button.dataset.kind = one.kind;
    button.onkeydown = (event) => {
      const by = { ArrowDown: 1, ArrowRight: 1, ArrowUp: -1, ArrowLeft: -1 }[event.key];
      if (by) { event.preventDefault(); chooseTool(TOOLS[(i + by + TOOLS.length) % TOOLS.length].kind, true); }
    };
    return button;
  }));
}
function chooseTool(kind, focus = false) {
  const drawn = tool(kind).draw ?? null;
  stage.letGo();
  if (stage.places && stage.mode !== drawn) stage.drop();
  page.kind = kind;
  live.clear();
  stage.mode = drawn;
  renderRail();
  renderDrawing();
  $("drawing").scrollLeft = 0;
  renderPanel();
  showFrame();
  if (focus) $("rail").querySelector(`[data-kind="${kind}"]`).focus();
}

// The drawing toolbar

const ICONS = {
  brush: "M4 20c3 0 4-1 4-3a2 2 0 0 1 4 0c0 2-2 4-5 4zM11 15L20 4", rectangle: "M5 6h14v12H5z", lasso: "M12 5c5 0 8 2 8 5s-3 5-8 5-8-2-8-5 3-5 8-5zM7 14c-2 2-1 5 2 5",
  erase: "M8 19l-4-4 9-9 6 6-7 7zM9 10l6 6M12 19h8", undo: "M9 7L5 11l4 4M5 11h9a5 5 0 0 1 0 10h-3", redo: "M15 7l4 4-4 4M19 11h-9a5 5 0 0 0 0 10h3",
};
function toolButton(name, label, act, pressed) {
  const button = make("button", { title: label, onclick: act });
  button.innerHTML = ICONS[name] ? `<svg viewBox="0 0 24 24" aria-hidden="true"><path d="${ICONS[name]}"/></svg>` : name;
  button.setAttribute("aria-label", label);
  if (pressed !== undefined) button.setAttribute("aria-pressed", String(pressed));
  return button;
}
function renderDrawing() {
  const bar = $("drawing"), mode = stage.mode, brush = stage.brush, set = (change) => { Object.assign(brush, change); renderDrawing(); stage.draw(); };
  bar.hidden = !mode || !page.photo;
  $("hint").textContent = stage.reading ? "Reading the photo…" : page.photo ? tool(page.kind).hint ?? "" : "";
  if (bar.hidden) return;
  const parts = [];
  if (mode === "mask" || mode === "lift") for (const shape of ["brush", "rectangle", "lasso"]) parts.push(toolButton(shape, shape[0].toUpperCase() + shape.slice(1), () => set({ shape }), brush.shape === shape));
  if (mode === "paint") { const color = make("input", { type: "color", value: brush.color, title: "Color", oninput: (event) => { brush.color = event.target.value; } }); color.setAttribute("aria-label", "Color"); parts.push(color); }
  if (mode !== "paste") {
    parts.push(toolButton("erase", "Erase (X)", () => set({ erase: !brush.erase }), brush.erase));
    const size = make("input", { type: "range", min: 2, max: 300, value: brush.size, oninput: (event) => { brush.size = Number(event.target.value); stage.draw(); } });
    size.setAttribute("aria-label", "Size");
    parts.push(make("label", {}, "Size", size));
  }
  if (mode === "paint") { const soft = make("input", { type: "range", min: 0, max: 1, step: 0.05, value: brush.soft, oninput: (event) => { brush.soft = Number(event.target.value); } }); soft.setAttribute("aria-label", "Softness"); parts.push(make("label", {}, "Soft", soft)); }
  parts.push(make("span", { className: "rule" }));
  if (mode === "mask" || mode === "lift") parts.push(toolButton("All", "Mark all", () => stage.setMask("all")), toolButton("Invert", "Invert", () => stage.setMask("invert")));
  if (mode === "lift") parts.push(toolButton("Lift", "Lift what is marked", () => { if (!stage.lift()) toast("Paint over a part first."); renderDrawing(); }));
  if (mode === "paste") parts.push(toolButton("Choose…", "Choose a picture to paste", pickPaste));
  parts.push(toolButton("Clear", "Clear", clearDrawing), toolButton("undo", "Undo (Z)", () => stage.undo()), toolButton("redo", "Redo (Shift Z)", () => stage.redo()));
  const focused = bar.querySelector(":focus-visible")?.getAttribute("aria-label");
  bar.replaceChildren(...parts);
  if (focused) parts.flatMap((part) => [part, ...part.children]).find((part) => part.getAttribute("aria-label") === focused)?.focus();
  const [undo, redo] = [...bar.querySelectorAll("button")].slice(-2);
  undo.disabled = !stage.done.length;
  redo.disabled = !stage.undone.length;
}
function clearDrawing() {
  if (stage.places && stage.pasted) stage.drop();
  else if (stage.mode === "paint") stage.clearPaint();
  else stage.setMask("none");
}
function pickPaste() { $("paste-file").click(); }
async function pastePicture(blob) {
  try { stage.paste(await createImageBitmap(blob)); } catch { toast("That is no picture this browser reads."); }
}

// The panel

const controlOf = {
  range(field, value, set) {
    const show = make("output", { textContent: value });
    const input = make("input", { type: "range", min: field.min, max: field.max, step: field.step, value, id: `field-${field.name}`, oninput: () => { show.textContent = input.value; set(Number(input.value)); } });
    const parts = [make("div", { className: "row" }, make("label", { htmlFor: input.id, textContent: field.label }), show), input];
    if (field.ends) parts.push(make("div", { className: "ends" }, ...field.ends.map((text) => make("span", { textContent: text }))));
    return parts;
  },
  number(field, value, set) {
    const input = make("input", { type: "number", min: field.min, max: field.max, value, id: `field-${field.name}`, oninput: () => set(Math.max(Number(input.value) || 0, 0)) });
    return [make("label", { htmlFor: input.id, textContent: field.label }), input];
  },
  size(field, value, set) {
    const card = page.photos.get(page.photo);
    const input = make("input", { type: "text", value, placeholder: card ? `${card.height}x${card.width}` : "", inputMode: "text", id: `field-${field.name}`, oninput: () => set(input.value.trim().toLowerCase().replace("×", "x")) });
    return [make("label", { htmlFor: input.id, textContent: `${field.label}, height × width` }), input];
  },
  choice(field, value, set) {
    const input = make("select", { id: `field-${field.name}`, onchange: () => set(input.value) }, ...field.choices.map(([key, text]) => make("option", { value: key, textContent: text, selected: key === value })));
    return [make("label", { htmlFor: input.id, textContent: field.label }), input];
  },
  switch(field, value, set) {
    const input = make("input", { type: "checkbox", checked: value, id: `field-${field.name}`, onchange: () => set(input.checked) });
    return [make("label", { className: "switch" }, input, field.label), ...(field.help ? [make("small", { textContent: field.help })] : [])];
  },
  photo(field, value, set) {
    const others = [...page.photos.values()].filter((card) => card.id !== page.photo).reverse();
    const input = make("select", { id: `field-${field.name}`, onchange: () => set(input.value) }, make("option", { value: "", textContent: others.length ? "choose…" : "add another photo first" }), ...others.map((card) => make("option", { value: card.id, textContent: card.name, selected: card.id === value })));
    return [make("label", { htmlFor: input.id, textContent: field.label }), input];
  },
};
function valueOf(field) { return (page.values[page.kind] ??= {})[field.name] ?? field.value ?? ""; }
function setValue(field, value) {
  (page.values[page.kind] ??= {})[field.name] = value;
  if (page.kind === "extend") showFrame();
  if (field.kind === "choice") renderPanel(`field-${field.name}`); // others may come or go
  else {
    if (page.kind === "train") showEstimate();
    showTime();
  }
  live.wish();
}
function showFrame() {
  stage.frame = page.kind === "extend" ? Object.fromEntries(tool("extend").controls.filter((field) => field.pair).map((field) => [field.name, Number(valueOf(field)) || 0])) : null;
  if (stage.isFitted !== false) stage.fit(); else stage.draw();
}

// The model to draw from. Tools that need a trained one have a choice of their own.
function choiceOf(one) { return one.trained ? "mover" : "source"; }
function source() { return page[choiceOf(tool(page.kind))]; }
function usable(run) { return Boolean(run?.progress?.model && !run.hidden); }
function modelsOf(one) { return [...page.runs.values()].filter((run) => run.photo === page.photo && usable(run) && (!one.trained || moves(run))); }

function renderPanel(focus) {
  const one = tool(page.kind), fields = [], models = modelsOf(one);
  if (!models.some((run) => run.id === source())) page[choiceOf(one)] = one.trained ? models[0]?.id ?? "" : ""; // it may be deleted
  $("panel-title").textContent = one.label;
  $("panel-words").textContent = one.words;
  trouble("");
  let pair = null;
  for (const field of asked()) {
    const box = make("div", { className: "field" }, ...controlOf[field.kind](field, valueOf(field), (value) => setValue(field, value)));
    if (field.pair) { pair ??= make("div", { className: "pair" }); pair.append(box); if (!fields.includes(pair)) fields.push(pair); } else fields.push(box);
  }
  if (page.kind !== "train") {
    if (models.length || one.trained) {
      const input = make("select", { id: "field-source", onchange: () => { page[choiceOf(one)] = input.value; renderPanel("field-source"); live.wish(); } }, ...(one.trained ? [] : [make("option", { value: "", textContent: "the photo itself" })]), ...models.map((run) => make("option", { value: run.id, textContent: runName(run), selected: run.id === source() })));
      if (one.trained && !models.length) input.append(make("option", { value: "", textContent: "none yet; train one" }));
      fields.push(make("div", { className: "field" }, make("label", { htmlFor: "field-source", textContent: "Draw from" }), input));
    }
    fields.push(seedField());
  } else fields.push(make("div", { className: "field", id: "estimate" }), runList());
  $("controls").replaceChildren(...fields);
  $("run").textContent = one.run;
  $("run").disabled = !page.photo;
  if (page.kind === "train") showEstimate();
  if (focus) $(focus).focus();
  showTime();
}
function seedField() {
  const input = make("input", { type: "number", min: 0, max: 2147483000, value: page.seed ?? 0, id: "field-seed", oninput: () => { page.seed = Math.max(Math.floor(Number(input.value)) || 0, 0); live.wish(); } });
  page.seed ??= 0;
  return make("div", { className: "field" }, make("label", { htmlFor: "field-seed", textContent: "Seed of the first" }),
    make("div", { className: "seed" }, input, make("button", { type: "button", textContent: "New", title: "Another seed", onclick: () => { page.seed = nextSeed(); input.value = page.seed; live.wish(); } })));
}
function nextSeed() { return Math.floor(Math.random() * 1e6); }

// Orders

function asked() { // the controls that matter where the others are as they are
  const one = tool(page.kind), all = Object.fromEntries(one.controls.map((field) => [field.name, valueOf(field)]));
  return one.controls.filter((field) => field.asked?.(all, source()) ?? true);
}
function wished() { // by the controls: their values, and those of them that are settings of the command
  const one = tool(page.kind), values = Object.fromEntries(asked().map((field) => [field.name, valueOf(field)]));
  const own = new Set(one.controls.filter((field) => field.own).map((field) => field.name)), settings = {};
  for (const [name, value] of Object.entries(values)) if (!own.has(name) && value !== "" && value !== false && value !== null) settings[name] = value;
  return { one, values, settings };
}
async function run() {
  if (!page.photo) return;
  if (page.kind === "train") await train(wished().values); else await order();
}
async function order({ count, quiet = false } = {}) { // the order that was sent; null: something is missing
  const { one, values, settings } = wished(), run = source() || null, photo = stage.reading ? null : page.photo, seed = page.seed ?? 0, no = quiet ? () => null : refuse;
  if (!photo) return no("The photo is being read; try again in a moment.");
  if (one.kind === "train" || (one.trained && !run)) return no("Train a model first.");
  const layers = await attempt(() => layersOf(one, values, no));
  if (!layers) return null;
  const step = stage.done.at(-1), sent = await send(one.kind, settings, { photo, count: count ?? values.count ?? 1, seed, layers, run });
  if (sent && !quiet && stage.photo?.card.id === photo) stage.sent = step;
  return sent;
}
function pixelsOf({ photo, kind, settings }) {
  const card = page.photos.get(photo), [h, w] = (settings.size ?? "").split("x").map(Number), n = (name) => Number(settings[name]) || 0;
  if (w) return h * w;
  if (kind === "extend") return (card.height + n("top") + n("bottom")) * (card.width + n("left") + n("right"));
  return card.height * card.width * (settings.factor ?? 1) ** 2 / (kind === "upscale" ? 4 : 1) * (settings.frames ?? 1);
}
function showTime() {
  const { one, values, settings } = page.photo ? wished() : {};
  const seconds = one && page.kind !== "train" ? secondsOf(page.orders.values(), { kind: page.kind, photo: page.photo, settings, run: source() }, pixelsOf, one.pace) : null;
  const many = values?.count > 1 ? " a picture" : "";
  $("time").textContent = seconds === null ? "" : seconds < 1.5 ? `About a second${many}.` : `About ${duration(seconds)}${many}.`;
  $("live-switch").parentElement.hidden = page.kind === "train";
}
async function layersOf(one, values, refuse) {
  if (one.kind === "vary" && stage.marked && source() && !page.runs.get(source()).progress?.keeps) return refuse("This model cannot keep a part: clear the mask, or draw from the photo itself.");
  if (one.kind === "vary") return stage.marked ? { keep: await stage.maskBlob() } : {};
  if (one.kind === "fill") { if (!stage.marked) return refuse("Paint over what should go."); return { mask: await stage.maskBlob() }; }
  if (one.kind === "edit" || one.kind === "harmonize") {
    if (!stage.pasted) return refuse(one.kind === "edit" ? "Paint over a part, lift it, and move it." : "Drop, paste or choose a picture first.");
    const [picture, mask] = await Promise.all([stage.compositeBlob(), stage.pastedMaskBlob()]); // both of now
    return { picture, mask };
  }
  if (one.kind === "paint") { if (!stage.painted) return refuse("Paint something first."); return { picture: await stage.compositeBlob() }; }
  if (one.kind === "restyle") { const other = page.photos.get(values.other); if (!other) return refuse("Choose the other photo."); return { picture: await download(photoURL(other, "file")) }; }
  return {};
}
function refuse(text) { trouble(text); return null; }
async function send(kind, settings, { photo, count, seed, layers = {}, run = null }) {
  const order = await attempt(() => post("/api/orders", { kind, photo, settings, count, seed, run, layers: Object.keys(layers) }));
  if (!order) return null;
  let now = order; // of which pages hear when its last layer is there
  for (const [name, blob] of Object.entries(layers)) {
    now = await attempt(() => upload(`/api/orders/${order.id}/layers/${name}`, blob));
    if (!now) { post(`/api/orders/${order.id}/delete`).catch(() => {}); return null; }
  }
  if (!page.orders.has(order.id)) heard({ type: "order", order: now });
  return now;
}
async function remove(what, card, name) { // a training, an order, or one of its pictures
  const one = name ? { name } : {};
  if (await attempt(() => post(`/api/${what}/${card.id}/delete`, one))) toast("Deleted.", "Undo", () => attempt(() => post(`/api/${what}/${card.id}/restore`, one)));
}
function pictures() {
  const all = [];
  for (const order of shownOrders()) for (const name of left(order).reverse()) if (!page.favorites || order.favorites.includes(name)) all.push([order, name]);
  return all;
}

function shownOrders() { return [...page.orders.values()].reverse().filter((order) => !order.hidden && (!page.mine || order.photo === page.photo)); }

const REST = "rest"; // of an order: what was not drawn
const known = new Map();
function renderResults() {
  const tiles = [];
  let waiting = 0;
  for (const order of shownOrders()) {
    const busy = order.state === "waiting" || order.state === "running";
    if (busy) { waiting += order.count - order.made.length; if (!page.favorites) tiles.push(busyTile(order)); }
    const ended = !page.favorites && !order.dropped.includes(REST);
    if (order.state === "failed" && ended) tiles.push(badTile(order, order.error));
    if (order.state === "stopped" && order.made.length < order.count && ended) tiles.push(badTile(order, "Stopped."));
    for (const name of left(order).reverse()) if (!page.favorites || order.favorites.includes(name)) tiles.push(pictureTile(order, name));
  }
  $("results").replaceChildren(...tiles);
  if (!page.favorites && !page.mine) for (const [key, tile] of known) if (!tile.isConnected) known.delete(key);
  $("queue").textContent = page.lost ? "The studio does not answer: start it again, or reload this page." : waiting ? `${waiting} to draw` : "";
}
function pictureTile(order, name) {
  const key = `${order.id}/${name}/${order.favorites.includes(name)}`;
  if (known.has(key)) { const tile = known.get(key); tile.classList.remove("enter"); tile.onclick = () => viewer.open(page.orders.get(order.id), name); return tile; }
  const label = tool(order.kind).label, tile = make("button", { className: "tile enter", onclick: () => viewer.open(page.orders.get(order.id), name) },
    make("img", { loading: "lazy", src: pictureURL(order, name), alt: "", draggable: false }),
    make("span", { className: "name" }, make("span", { textContent: `${label} ${Number.parseInt(name, 10)}` }), make("span", { className: "star", textContent: order.favorites.includes(name) ? "★" : "" })));
  tile.setAttribute("role", "listitem");
  tile.setAttribute("aria-label", `${label}, seed ${Number.parseInt(name, 10)}`);
  known.set(key, tile);
  return tile;
}
function busyTile(order) {
  return make("div", { className: "tile busy" }, make("div", { className: "spin" }), make("span", { textContent: `${tool(order.kind).label} ${order.made.length}/${order.count}` }),
    make("button", { textContent: "Stop", onclick: () => attempt(() => post(`/api/orders/${order.id}/cancel`)) }));
}
function badTile(order, text) {
  return make("div", { className: "tile bad" }, make("span", { textContent: text }), make("button", { textContent: "Again", onclick: () => attempt(() => post(`/api/orders/${order.id}/again`)) }),
    make("button", { textContent: "Delete", onclick: () => remove("orders", order, left(order).length ? REST : "") }));
}

// Trainings

let estimateTimer = 0, estimates = 0;
function trainSettings(values) { return Object.fromEntries(Object.entries(values).filter(([, value]) => value !== "")); }
function showEstimate() {
  clearTimeout(estimateTimer);
  const box = $("estimate"), mine = ++estimates; // the answer to the last question counts
  if (!box || !page.photo) return;
  box.replaceChildren(make("small", { textContent: "Measuring how long it takes here…" }));
  estimateTimer = setTimeout(async () => {
    const values = Object.fromEntries(tool("train").controls.map((field) => [field.name, valueOf(field)]));
    const found = await attempt(() => post("/api/estimate", { photo: page.photo, settings: trainSettings(values) }));
    if (!found || mine !== estimates || !$("estimate")) return;
    $("estimate").replaceChildren(make("small", { textContent: found.error ?? `About ${duration(found.seconds)} on this machine, ${found.levels} levels${found.bytes ? `, ${(found.bytes / 1e9).toFixed(1)} GB` : ""}.` }));
  }, 400);
}
function duration(seconds) { if (seconds < 90) return `${Math.round(seconds)} s`; if (seconds < 5400) return `${Math.round(seconds / 60)} min`; return `${(seconds / 3600).toFixed(1)} h`; }
async function train(values) {
  const made = await attempt(() => post("/api/runs", { photo: page.photo, settings: trainSettings(values) }));
  if (made) { page.runs.set(made.id, { ...made, progress: {} }); renderPanel(); }
}
function runName(run) { return `${run.settings.preset ?? "quick"}${run.settings.for ? ` for ${run.settings.for}` : ""}`; }
function moves(run) { return !["quick", "standard"].includes(run.settings.preset ?? "quick") || run.settings.for === "animate"; } // copied patches jump
function runList() {
  return make("div", { className: "runs", id: "runs" }, ...runBoxes());
}
function runBoxes() { return [...page.runs.values()].reverse().filter((run) => run.photo === page.photo && !run.hidden).map(runBox); }
function renderRuns() { // boxes that are there stay, so that a click or the focus on them is not lost
  const list = $("runs"), now = runBoxes();
  if (list && (now.length !== list.children.length || now.some((box, i) => box !== list.children[i]))) list.replaceChildren(...now);
}
const boxes = new Map();
function runBox(run) {
  const p = run.progress ?? {}, words = { waiting: "waiting", running: "training", done: "done", failed: run.error, paused: "paused", stopped: "paused" }[run.state], names = p.drafts ?? [];
  if (!boxes.has(run.id)) boxes.set(run.id, make("div", { className: "run" }, make("strong", { textContent: runName(run) }), make("span"), make("progress", { max: 1 }), make("div", { className: "drafts" }), make("div", { className: "row" })));
  const box = boxes.get(run.id), [, state, bar, drafts, row] = box.children;
  state.textContent = `${words}${p.levels ? `, level ${p.level + 1} of ${p.levels}` : ""}`;
  bar.value = p.share ?? 0;
  bar.hidden = run.state === "done";
  drafts.hidden = !names.length;
  if (names.length < drafts.children.length) drafts.replaceChildren();
  for (const name of names.slice(drafts.children.length)) drafts.prepend(make("img", { loading: "lazy", src: `/api/runs/${run.id}/drafts/${name}`, alt: name.replace(".png", "") }));
  const acts = `${run.state} ${Boolean(p.model)}`;
  if (row.dataset.acts !== acts) { row.dataset.acts = acts; row.replaceChildren(...runActs(run)); }
  return box;
}
function runActs(run) {
  const act = (text, onclick) => make("button", { type: "button", textContent: text, onclick }), ask = (verb) => () => attempt(() => post(`/api/runs/${run.id}/${verb}`)), acts = [];
  if (run.state === "running" || run.state === "waiting") acts.push(act("Pause", ask("pause")));
  if (run.state === "paused" || run.state === "failed") acts.push(act("Continue", ask("continue")));
  if (run.progress?.model) acts.push(act("Draw with it", () => { page.source = run.id; chooseTool("vary"); }));
  if (run.state !== "running") acts.push(act("Delete", () => remove("runs", run)));
  return acts;
}

// What the server tells

const askings = new Set(); // of all there is, each with what was heard since: the answer may be older
function heard(event) { askings.forEach((since) => since.push(event)); take(event); }
function take(event) {
  if (event.type === "photo") { page.photos.set(event.photo.id, event.photo); renderPhotos(); }
  if (event.type === "order" && page.photos.has(event.order.photo)) { page.orders.set(event.order.id, event.order); renderResults(); viewer.refresh(event.order); live.heard(event.order); showTime(); }
  if (event.type === "run") {
    const before = page.runs.get(event.run.id);
    page.runs.set(event.run.id, event.run);
    if (page.kind === "train") renderRuns();
    else if (usable(before) !== usable(event.run)) renderPanel();
  }
}
async function begin() {
  const since = [];
  askings.add(since);
  const state = await attempt(() => get("/api/state"));
  askings.delete(since);
  if (!state) return;
  page.photos = new Map(state.photos.map((card) => [card.id, card]));
  page.orders = new Map(state.orders.map((order) => [order.id, order]));
  page.runs = new Map(state.runs.map((run) => [run.id, run]));
  if (!page.photos.has(page.photo)) page.photo = null; // the studio is of another folder now
  since.forEach(take);
  if (live.order?.id) live.heard(page.orders.get(live.order.id) ?? { ...live.order, state: "stopped" });
  renderPhotos();
  renderResults();
  if (!page.photo) { const first = state.opened ?? state.photos.at(-1)?.id; if (first) await choosePhoto(first); else { stage.show(null, []); renderPanel(); } }
  else renderPanel();
}

// Files that are dropped, pasted and chosen

function pick(files) { // those that may be pictures, by their types or names
  const found = [...files].filter((file) => file.type.startsWith("image/") || /\.(jfif|tiff?|hei[cf]|avif|p[pgbn]m)$/i.test(file.name));
  if (!found.length) toast("That is no picture.");
  return found;
}
function receive(files) {
  const found = pick(files);
  if (stage.mode !== "paste" || !stage.photo || !found.length) { if (found.length) addPhotos(found); return; }
  pastePicture(found[0]);
  if (found.length > 1) toast("The first is pasted.");
}
document.addEventListener("dragstart", (event) => { if (event.target.matches?.("img")) event.preventDefault(); }); // some browsers drop it here as a file
document.addEventListener("dragover", (event) => { event.preventDefault(); $("stage").classList.add("over"); });
document.addEventListener("dragleave", (event) => { if (!event.relatedTarget) $("stage").classList.remove("over"); });
document.addEventListener("drop", (event) => { event.preventDefault(); $("stage").classList.remove("over"); receive(event.dataTransfer.files); });
document.addEventListener("paste", (event) => {
  const text = event.target.matches?.(TYPED) && event.clipboardData.types.includes("text/plain"); // sheets put a picture beside it
  if (event.clipboardData.files.length && !text) receive(event.clipboardData.files);
});
$("file").addEventListener("change", (event) => { const found = pick(event.target.files); event.target.value = ""; if (found.length) addPhotos(found); });
$("paste-file").addEventListener("change", (event) => { const [file] = event.target.files; event.target.value = ""; if (file) pastePicture(file); });
window.addEventListener("beforeunload", (event) => { if (stage.unsent) event.preventDefault(); });
$("add").addEventListener("keydown", (event) => { if (event.key === "Enter" || event.key === " ") { event.preventDefault(); $("file").click(); } });

// Keys

const TYPED = "input:not([type=range], [type=checkbox], [type=color]), select, textarea"; // keys are theirs
const KEYS = [["[  ]", "brush smaller, larger"], ["X", "erase"], ["Z", "undo; with Shift redo"], ["Space", "hold to move the view"], ["Tab", "hold on the photo to see it as it was"], ["Enter", "draw"], ["← →", "through results"], ["Arrows", "move what is pasted"], ["Esc", "leave the photo"], ["?", "this list"]];
$("keys").append(make("h2", { textContent: "Keys" }), make("table", {}, make("tbody", {}, ...KEYS.map(([key, words]) => make("tr", {}, make("td", {}, make("kbd", { textContent: key })), make("td", { textContent: words })))),), make("button", { textContent: "Close", onclick: () => $("keys").close() }));
$("help").onclick = () => $("keys").showModal();
document.addEventListener("keydown", (event) => {
  if (event.key === "Enter" && event.target.matches("#controls input")) { event.preventDefault(); if (!event.repeat) run(); return; }
  if (event.target.matches(`${TYPED}, dialog *`) && event.key !== "?") return;
  if ($("viewer").open || $("keys").open) return;
  const onStage = document.activeElement === $("canvas") || document.activeElement === document.body;
  const clicked = $("canvas").matches(":hover") && !event.target.matches(":focus-visible"); // a button, before the mouse came here
  const key = event.key.length > 1 ? event.key : event.key > "~" ? { KeyX: "x", KeyY: "y", KeyZ: "z" }[event.code] ?? event.key : event.key.toLowerCase();
  if (key === "?") $("keys").showModal();
  else if (key === "z") { event.preventDefault(); if (event.shiftKey) stage.redo(); else stage.undo(); }
  else if ((key === "y") && (event.ctrlKey || event.metaKey)) { event.preventDefault(); stage.redo(); }
  else if ((key === "[" || key === "]") && !event.metaKey && (!event.ctrlKey || event.altKey)) { stage.brush.size = Math.min(Math.max(stage.brush.size * (key === "[" ? 1 / 1.2 : 1.2), 2), 300); renderDrawing(); stage.draw(); }
  else if (event.ctrlKey || event.metaKey || event.altKey) return;
  else if (key === "x") { stage.brush.erase = !stage.brush.erase; renderDrawing(); }
  else if (key === " " && (onStage || clicked)) { event.preventDefault(); stage.space = true; stage.draw(); }
  else if (key === "Tab" && document.activeElement === $("canvas") && stage.photo && !event.shiftKey) { event.preventDefault(); stage.original = true; stage.draw(); }
  else if (key === "Enter" && onStage) { if (!event.repeat) run(); }
  else if (key.startsWith("Arrow") && onStage && stage.places && stage.pasted) { event.preventDefault(); const far = event.shiftKey ? 10 : 1; stage.nudge({ ArrowLeft: -far, ArrowRight: far }[key] ?? 0, { ArrowUp: -far, ArrowDown: far }[key] ?? 0); }
  else if ((key === "ArrowLeft" || key === "ArrowRight") && onStage) { const all = pictures(); if (all.length) viewer.open(...all[key === "ArrowRight" ? 0 : all.length - 1]); }
  else if (key === "Escape") $("canvas").blur();
});
document.addEventListener("keyup", (event) => { if (event.key === " ") { if (stage.space) event.preventDefault(); stage.space = false; stage.draw(); } if (event.key === "Tab") { stage.original = false; stage.draw(); } });
window.addEventListener("blur", () => { stage.space = stage.original = false; stage.draw(); });

$("run").onclick = run;
$("controls").onsubmit = (event) => { event.preventDefault(); run(); };
$("only").onclick = () => { page.favorites = !page.favorites; $("only").setAttribute("aria-pressed", String(page.favorites)); renderResults(); };
$("mine").onclick = () => { page.mine = !page.mine; $("mine").setAttribute("aria-pressed", String(page.mine)); renderResults(); };
$("zoom").onclick = (event) => { const how = event.target.closest("[data-zoom]")?.dataset.zoom; if (how === "fit") stage.fit(); else if (how) stage.zoom(how === "in" ? 1.4 : 1 / 1.4); };
stage.addEventListener("change", renderDrawing);
stage.addEventListener("drawn", () => live.wish());
$("live-switch").onchange = (event) => live.turn(event.target.checked);
matchMedia("(prefers-color-scheme: light)").addEventListener("change", () => stage.draw());

renderRail();
chooseTool("vary");
listen(heard, begin, (lost) => { if (Boolean(page.lost) !== lost) { page.lost = lost; renderResults(); } });
window.studio = { stage, page, heard }; // for tests, and for those who look
