// Images, and heatmaps over them.

const LARGEST = 1600; // pixels of a side that is drawn
const LARGEST_HEAT = 800;
const SOFT = 0.1; // the range of values in which heat fades in

/** The size of an image that is made to fit. */
function fitted({ width, height }, most) {
  const scale = Math.min(1, most / Math.max(width, height));
  return [Math.max(1, Math.round(width * scale)), Math.max(1, Math.round(height * scale))];
}

/** From dark blue over green to dark red: red, green and blue of a value from 0 to 1. */
function jet(value) {
  const ramp = centre => Math.max(0, Math.min(1, 1.5 - Math.abs(4 * value - centre)));
  return [ramp(3), ramp(2), ramp(1)].map(v => Math.round(255 * v));
}

const COLOURS = Array.from({ length: 256 }, (_, i) => jet(i / 255));

/** The values, from 0 to 255, of a grey heatmap. */
export function heatOf(image) {
  const [width, height] = fitted(image, LARGEST_HEAT);
  const context = new OffscreenCanvas(width, height).getContext("2d", { willReadFrequently: true });
  context.drawImage(image, 0, 0, width, height);
  const { data } = context.getImageData(0, 0, width, height);
  const values = new Uint8Array(width * height);
  values.forEach((_, i) => { values[i] = data[4 * i]; });
  return { width, height, values };
}

/** Draws an image, and its heat where that is `from` or more. */
export function draw(canvas, image, heat, opacity, from) {
  const [width, height] = fitted(image ?? heat, LARGEST);
  canvas.width = width;
  canvas.height = height;
  const context = canvas.getContext("2d");
  if (image) context.drawImage(image, 0, 0, width, height);
  if (!heat) return;
  const pixels = new ImageData(heat.width, heat.height);
  heat.values.forEach((value, i) => {
    const seen = from > 0 ? Math.max(0, Math.min(1, (value / 255 - from) / SOFT + 1)) : 1;
    pixels.data.set(COLOURS[value], 4 * i);
    pixels.data[4 * i + 3] = 255 * opacity * seen;
  });
  const over = new OffscreenCanvas(heat.width, heat.height);
  over.getContext("2d").putImageData(pixels, 0, 0);
  context.drawImage(over, 0, 0, width, height);
}

/** Draws an image small, in the middle of a canvas. */
export function thumbnail(canvas, image) {
  const [width, height] = fitted(image, canvas.width);
  canvas.getContext("2d").drawImage(image, (canvas.width - width) / 2, (canvas.height - height) / 2, width, height);
}
