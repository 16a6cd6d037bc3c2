// What one can do: its words, what it needs to be drawn, and its controls.

const icon = (path) => `<svg viewBox="0 0 24 24" aria-hidden="true"><path d="${path}"/></svg>`;

const variety = { name: "variety", label: "Variety", kind: "range", min: 0, max: 1, step: 0.05, value: 0.33, ends: ["like the photo", "its textures alone"],
  asked: (values, source) => !source && values.tile !== "xy" }; // a model has its own; tiles both ways forget all places
const count = { name: "count", label: "How many", kind: "range", min: 1, max: 12, step: 1, value: 4, own: true };
const one = { ...count, value: 2 };
const exact = { name: "exact", label: "Copy pixels exactly", kind: "switch", value: false, help: "Without the light around the part." };
const side = (name, value) => ({ name, label: name[0].toUpperCase() + name.slice(1), kind: "number", min: 0, max: 8192, value, pair: true });

export const TOOLS = [
  { kind: "vary", label: "Vary", pace: 0.8, icon: icon("M4 4h7v7H4zM13 4h7v7h-7zM4 13h7v7H4zM13 13h7v7h-7z"),
    words: "New pictures like this one. Mark what must stay, if anything.", draw: "mask", mask: "keep", hint: "Optional: paint what must stay.",
    controls: [variety, count, { name: "size", label: "Size", kind: "size", value: "" }], run: "Draw" },
  { kind: "fill", label: "Fill", pace: 1, icon: icon("M5 13l7-8 7 7-7 7-7-6zM19 15c1.5 2 1.5 3 0 4-1.5-1-1.5-2 0-4z"),
    words: "Paint over what should go; the photo fills it from the rest of itself.", draw: "mask", mask: "mask", hint: "Paint over what should go.",
    controls: [one, exact], run: "Fill" },
  { kind: "extend", label: "Extend", pace: 0.8, icon: icon("M8 8h8v8H8zM3 12h3M18 12h3M12 3v3M12 18v3"),
    words: "Continue the photo beyond its borders.", controls: [side("left", 40), side("right", 40), side("top", 0), side("bottom", 0), one, exact], run: "Extend" },
  { kind: "edit", label: "Edit", pace: 0.7, icon: icon("M5 9V5h4M19 15v4h-4M5 5l5 5M19 19l-5-5M14 5h5v5M10 19H5v-5"),
    words: "Select a part, lift it, and put it elsewhere; the seams are drawn anew.", draw: "lift", hint: "Paint over a part, press Lift, then drag it.", controls: [one], run: "Mend" },
  { kind: "harmonize", label: "Harmonize", pace: 0.4, icon: icon("M4 5h11v11H4zM9 9h11v11H9z"),
    words: "Paste or drop an object into the photo; it takes the photo's light and texture.", draw: "paste", hint: "Drop or paste a picture, then drag and scale it.", controls: [one], run: "Harmonize" },
  { kind: "paint", label: "Paint", pace: 0.6, icon: icon("M14 4l6 6-9 9H5v-6zM12 6l6 6"),
    words: "Paint with colors; your strokes become the photo's textures.", draw: "paint", hint: "Paint with the photo's colors: Alt picks one.", controls: [one], run: "Render" },
  { kind: "restyle", label: "Restyle", pace: 0.6, icon: icon("M4 12a8 8 0 0 1 14-5l2 2M20 12a8 8 0 0 1-14 5l-2-2M20 4v5h-5M4 20v-5h5"),
    words: "Draw another photo's structure in this one's style.", controls: [{ name: "other", label: "The other photo", kind: "photo", own: true }, one], run: "Restyle" },
  { kind: "upscale", label: "Upscale", pace: 0.9, icon: icon("M4 14v6h6M20 10V4h-6M4 20l7-7M20 4l-7 7"),
    words: "Enlarge the photo with its own textures.", controls: [{ name: "factor", label: "Factor", kind: "range", min: 1.5, max: 8, step: 0.5, value: 2 }, { name: "strength", label: "Strength", kind: "range", min: 0, max: 1, step: 0.1, value: 1, ends: ["smooth", "all its textures"] }], run: "Enlarge" },
  { kind: "tile", label: "Tile", pace: 0.8, icon: icon("M4 4h16v16H4zM4 12h16M12 4v16"),
    words: "Pictures that repeat without a seam.", controls: [{ name: "tile", label: "Repeats", kind: "choice", value: "xy", choices: [["xy", "both ways"], ["x", "side by side"], ["y", "over each other"]] }, variety, count, { name: "size", label: "Size", kind: "size", value: "" }], run: "Draw" },
  { kind: "animate", label: "Animate", icon: icon("M4 5h16v14H4zM10 9l5 3-5 3z"), trained: true,
    words: "Make the photo move. It needs a model that was trained on it.",
    controls: [{ name: "frames", label: "Frames", kind: "range", min: 10, max: 200, step: 10, value: 60 }, { name: "beta", label: "Smoothness", kind: "range", min: 0, max: 0.98, step: 0.02, value: 0.9 }, { name: "loop", label: "Loop", kind: "switch", value: true }], run: "Animate" },
  { kind: "train", label: "Train", icon: icon("M4 19V9M10 19V5M16 19v-7M21 19H3"),
    words: "Train a network on this photo. It draws faster, and can animate.",
    controls: [
      { name: "preset", label: "Method", kind: "choice", value: "quick", choices: [["quick", "quick: a minute or two"], ["standard", "standard: six to ten minutes"], ["preview", "preview: small, all by a network"], ["consingan", "ConSinGAN"], ["singan", "SinGAN"], ["fast-stabilized", "Fast-Stabilized"], ["hp-vae-gan", "HP-VAE-GAN"]] },
      { name: "for", label: "Made for", kind: "choice", value: "", choices: [["", "new pictures"], ["animate", "animation"], ["harmonize", "harmonizing"], ["edit", "editing"], ["paint", "painting"]] }],
    run: "Train" },
];

export const tool = (kind) => TOOLS.find((one) => one.kind === kind) ?? { label: kind }; // results of other versions have a name, too
