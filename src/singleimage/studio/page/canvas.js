// Canvases and boxes.

export function union(a, b) {
  if (!a) return b;
  const x = Math.min(a.x, b.x), y = Math.min(a.y, b.y);
  return { x, y, w: Math.max(a.x + a.w, b.x + b.w) - x, h: Math.max(a.y + a.h, b.y + b.h) - y };
}

export function canvasOf(width, height) { const canvas = document.createElement("canvas"); canvas.width = width; canvas.height = height; return canvas; }
export function blobOf(canvas) {
  const large = new Error(`This browser cannot hold a picture of ${(canvas.width * canvas.height / 1e6).toFixed(0)} megapixels; reduce the photo first.`);
  return new Promise((done, fail) => canvas.toBlob((blob) => (blob ? done(blob) : fail(large)), "image/png"));
}

export function checks(context, scale) {
  const style = getComputedStyle(document.documentElement), side = 8;
  const tile = canvasOf(2 * side, 2 * side), brush = tile.getContext("2d");
  brush.fillStyle = style.getPropertyValue("--check-a");
  brush.fillRect(0, 0, 2 * side, 2 * side);
  brush.fillStyle = style.getPropertyValue("--check-b");
  brush.fillRect(0, 0, side, side);
  brush.fillRect(side, side, side, side);
  const pattern = context.createPattern(tile, "repeat");
  pattern.setTransform(new DOMMatrix().scale(1 / scale));
  return pattern;
}
