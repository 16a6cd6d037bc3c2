// One question after another. A picture that is shown for a second is loaded before, and then hidden.

import { get, post } from "./api.js";

const $ = (id) => document.getElementById(id);
const make = (tag, facts = {}, ...children) => { const element = Object.assign(document.createElement(tag), facts); element.append(...children); return element; };
let state = null, asked = 0, answerNow = null;

async function attempt(act) { try { $("trouble").textContent = ""; return await act(); } catch (error) { $("trouble").textContent = error.message; return null; } }

async function load(url) { const image = make("img", { src: url, alt: "", draggable: false }); await image.decode().catch(() => { throw new Error("A picture did not arrive."); }); return image; }

const WORDS = {
  confusion: "You will see pictures for a moment each. Some are photos, some were made by a program. Say which: left arrow for real, right arrow for fake.",
  versus: "You will see two pictures for a moment: a photo, and one that a program made of it. Say which is the fake: left or right arrow.",
};

function welcome() {
  const words = WORDS[state.kind] ?? "You will see two pictures at a time. Say which one looks more like a real photo: left or right arrow.";
  $("scene").replaceChildren(make("h1", { textContent: "Thank you for taking part" }), make("p", { textContent: words }),
    make("p", { textContent: `${state.trials} questions; you can stop at any time, and go on later in this browser.` }), make("button", { className: "primary", textContent: state.answered ? "Go on" : "Begin", onclick: next }));
  $("scene").querySelector("button").focus();
}

async function next() {
  $("progress").value = state.answered / state.trials;
  answerNow = null;
  if (state.answered >= state.trials) { $("scene").replaceChildren(make("h1", { textContent: "That was all. Thank you!" })); return; }
  const url = (side) => `/api/study/${state.id}/pictures/${state.answered}/${side}`;
  const single = state.kind === "confusion", brief = single || state.kind === "versus";
  const images = await attempt(() => Promise.all((single ? [0] : [0, 1]).map((side) => load(url(side)))));
  if (!images) { $("scene").replaceChildren(make("button", { className: "primary", textContent: "Try again", onclick: next })); return; }
  const labels = single ? ["Real", "Fake"] : ["Left", "Right"];
  const buttons = labels.map((label, choice) => make("button", { textContent: `${choice ? "" : "← "}${label}${choice ? " →" : ""}`, disabled: brief, onclick: () => answer(choice) }));
  if (brief) {
    const figures = images.map((image) => make("figure", { className: "brief" }, image));
    $("scene").replaceChildren(make("div", { className: "pair" }, ...figures), make("div", { className: "row" }, ...buttons));
    await new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(done)));
    asked = performance.now();
    setTimeout(() => { figures.forEach((figure) => figure.classList.add("gone")); buttons.forEach((button) => { button.disabled = false; }); answerNow = answer; }, state.seconds * 1000);
  } else {
    $("scene").replaceChildren(make("div", { className: "pair" }, ...images.map((image, i) => make("figure", {}, image, buttons[i]))));
    asked = performance.now();
    answerNow = answer;
  }
}

async function answer(choice) {
  const buttons = [...$("scene").querySelectorAll("button")], able = (on) => { buttons.forEach((button) => { button.disabled = !on; }); answerNow = on ? answer : null; };
  able(false); // a second click is no second answer
  const found = await attempt(() => post(`/api/study/${state.id}/answers`, { trial: state.answered, choice, seconds: (performance.now() - asked) / 1000 }));
  if (found) { state = found; next(); } else able(true);
}

document.addEventListener("keydown", (event) => {
  if (event.repeat || event.altKey || event.ctrlKey || event.metaKey) return; // held on from the question before, or the browser's own
  const choice = { ArrowLeft: 0, ArrowRight: 1 }[event.key];
  if (choice !== undefined && answerNow) { event.preventDefault(); answerNow(choice); }
});

const remember = (key) => { try { if (key) localStorage.setItem("study", key); return localStorage.getItem("study"); } catch { return null; } }; // some browsers keep nothing
const kept = remember();
state = kept && await get(`/api/study/${kept}`).catch(() => null);
if (!state || state.answered >= state.trials) state = await attempt(() => post("/api/study"));
if (state) { remember(state.id); welcome(); }
