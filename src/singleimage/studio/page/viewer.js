// One result, large: beside the photo, with its settings, and what can be done with it.

import { pictureURL, photoURL } from "./api.js";

const escaped = (text) => text.replace(/[&<>"']/g, (c) => `&#${c.charCodeAt(0)};`);

export class Viewer {
  constructor(dialog, acts) {
    this.dialog = dialog;
    this.acts = acts; // what the page does: favorite, use, more, remove, photoOf, neighbors
    dialog.addEventListener("keydown", (event) => {
      if (event.target.matches("input")) return;
      if (event.key === "ArrowRight") this.step(1);
      if (event.key === "ArrowLeft") this.step(-1);
    });
    let pressed = null;
    dialog.addEventListener("pointerdown", (event) => { pressed = event.target; });
    dialog.addEventListener("click", (event) => { if (event.target === dialog && pressed === dialog) dialog.close(); }); // no drag that ends outside
    new ResizeObserver(() => { const after = dialog.querySelector(".after"); if (after?.naturalWidth) this.fit(after); }).observe(dialog);
  }

  open(order, name) {
    this.order = order;
    this.name = name;
    this.render();
    const fresh = !this.dialog.open;
    if (fresh) this.dialog.showModal();
    if (fresh || !this.dialog.contains(document.activeElement)) this.dialog.focus(); // not the slider, for arrows; what had it is drawn anew
  }

  step(by) {
    const all = this.acts.neighbors(), at = all.findIndex(([order, name]) => order.id === this.order.id && name === this.name);
    const next = all[at + by];
    if (next) this.open(...next);
  }

  refresh(order) { if (this.dialog.open && this.order.id === order.id) { this.order = order; if (order.hidden || order.dropped.includes(this.name)) this.dialog.close(); else this.renderStar(); } }

  get seed() { return Number.parseInt(this.name, 10); }
  get line() { const at = this.order.shell.findIndex((line) => line.includes(`--seed ${this.seed} `) || line.endsWith(`--seed ${this.seed}`)); return this.order.shell[Math.max(at, 0)] ?? ""; }

  render() {
    const { order, name } = this, photo = this.acts.photoOf(order), url = pictureURL(order, name);
    const settings = Object.entries(order.settings).map(([key, value]) => `<dt>${escaped(key)}</dt><dd>${escaped(String(value))}</dd>`).join("");
    const same = !["extend", "tile"].includes(order.kind);
    this.dialog.innerHTML = `
      <div class="compare ${order.kind === "tile" ? "tiled" : ""}">
        <div class="pics"><img class="after" src="${url}" alt="${escaped(order.kind)}, seed ${this.seed}">
          ${same ? `<img class="before" src="${photoURL(photo)}" alt=""><div class="bar"></div>` : ""}</div>
        ${same ? '<input type="range" min="0" max="100" value="0" aria-label="Show the photo before">' : ""}
      </div>
      <div class="side">
        <div class="nav"><button data-act="back" aria-label="The result before">←</button><button data-act="next" aria-label="The next result">→</button><button data-act="close" aria-label="Close">Close</button></div>
        <dl><dt>photo</dt><dd>${escaped(photo.name)}</dd><dt>tool</dt><dd>${escaped(order.kind)}</dd><dt>seed</dt><dd>${this.seed}</dd>${settings}<dt>time</dt><dd>${new Date(order.created * 1000).toLocaleString()}</dd></dl>
        <div class="acts">
          <button data-act="favorite"></button>
          <a class="button" href="${pictureURL(order, name, "download")}" download>Download</a>
          <button data-act="use">Work on this one</button>
          ${order.kind === "animate" ? "" : '<button data-act="more" title="Its layout, other details">More like this</button>'}
          <button data-act="copy">Copy</button>
          <button data-act="remove">Delete</button>
        </div>
        <details><summary>Show the command</summary><pre tabindex="0"></pre><button data-act="shell">Copy command</button></details>
        <details><summary>Show Python</summary><pre tabindex="0"></pre></details>
      </div>`;
    const [shell, python] = this.dialog.querySelectorAll("pre");
    shell.textContent = this.line;
    python.textContent = order.python.replace(/(seeds=|sample\()\[\d+\]/, (found) => found.replace(/\d+/, this.seed));
    const after = this.dialog.querySelector(".after");
    after.onload = () => this.fit(after);
    if (order.kind === "tile") { const box = this.dialog.querySelector(".compare"); box.style.backgroundImage = `url("${url}")`; box.style.backgroundPosition = "center"; after.style.visibility = "hidden"; }
    const slider = this.dialog.querySelector('input[type="range"]');
    slider?.addEventListener("input", () => this.dialog.querySelector(".pics").style.setProperty("--at", `${slider.value}%`));
    for (const button of this.dialog.querySelectorAll("[data-act]")) button.onclick = () => this.act(button.dataset.act);
    this.renderStar();
  }

  fit(picture) { // as large as there is room, up to 6 times
    const box = this.dialog.querySelector(".compare").getBoundingClientRect();
    const scale = Math.min(box.width / picture.naturalWidth, box.height / picture.naturalHeight, 6);
    const pics = this.dialog.querySelector(".pics");
    pics.style.width = `${picture.naturalWidth * scale}px`;
    pics.style.height = `${picture.naturalHeight * scale}px`;
    picture.classList.toggle("pixel", picture.naturalWidth < 120);
  }

  renderStar() {
    const button = this.dialog.querySelector('[data-act="favorite"]'), marked = this.order.favorites.includes(this.name);
    button.textContent = marked ? "★ Favorite" : "☆ Make it a favorite";
    button.setAttribute("aria-pressed", String(marked));
  }

  async act(name) {
    if (name === "close") this.dialog.close();
    else if (name === "back") this.step(-1);
    else if (name === "next") this.step(1);
    else if (name === "copy") this.acts.say(await copyPicture(pictureURL(this.order, this.name)));
    else if (name === "shell") this.acts.say(await copyText(this.dialog.querySelector("pre")));
    else this.acts[name](this.order, this.name);
  }
}

// Pages have a clipboard on this machine and over https alone.

async function copyText(element) {
  try {
    await navigator.clipboard.writeText(element.textContent);
    return "The command is copied.";
  } catch {
    getSelection().selectAllChildren(element);
    return "This page may not copy; the command is selected, copy it with the keyboard.";
  }
}

async function copyPicture(url) {
  try { // at once, since Safari allows it while a click is handled
    await navigator.clipboard.write([new ClipboardItem({ "image/png": fetch(url).then((response) => response.blob()) })]);
    return "The picture is copied.";
  } catch { return "This browser cannot copy pictures; download it."; }
}
