// Pictures to network inputs, as lightclip_ms.data.transforms does it: bicubic resize of the shorter side with Pillow's
// own fixed-point arithmetic, central crop, normalisation.

const MAX_PIXELS = 1 << 26;
const MIN_SIDE = 8;
const PRECISION = 22; // bits behind the point of Pillow's weights for 8-bit pictures
const SUPPORT = 2; // of the bicubic kernel, in output pixels when shrinking

/** Decode a picture file, upright and on white: ImageData. Raises an Error that a person understands. */
export async function decodePicture(blob) {
  let bitmap;
  try {
    bitmap = await createImageBitmap(blob, { colorSpaceConversion: "none", imageOrientation: "from-image" });
  } catch {
    throw new Error(`${blob.name ?? "This file"} is not a picture that this browser can read; try a PNG, JPEG or WebP.`);
  }
  const { width, height } = bitmap;
  if (Math.min(width, height) < MIN_SIDE) throw new Error(`This picture is too small: ${width} × ${height} pixels.`);
  if (width * height > MAX_PIXELS) throw new Error(`This picture is too large: ${width} × ${height} pixels.`);
  const context = new OffscreenCanvas(width, height).getContext("2d", { willReadFrequently: true });
  context.fillStyle = "white";
  context.fillRect(0, 0, width, height);
  context.drawImage(bitmap, 0, 0);
  bitmap.close();
  return context.getImageData(0, 0, width, height);
}

/** The square of `size` pixels that the network sees: ImageData of any size to ImageData. */
export function resizeAndCrop(image, { size, max_aspect: maxAspect }) {
  const short = Math.min(image.width, image.height);
  const axes = [image.width, image.height].map((side) => {
    const kept = Math.min(side, maxAspect * short);
    const resized = Math.floor((size * kept) / short);
    return resampling(kept, resized, centre(resized, size), size, centre(side, kept));
  });
  const [columns, rows] = axes;
  const firstRow = rows[0].start;
  const last = rows[size - 1];
  const lines = last.start + last.weights.length - firstRow;
  const narrow = new Uint8ClampedArray(lines * size * 4); // Pillow rounds to 8 bits between the two passes, too
  for (let y = 0; y < lines; y++) {
    const line = (firstRow + y) * image.width;
    columns.forEach(({ start, weights }, x) => {
      blend(image.data, (line + start) * 4, 4, weights, narrow, (y * size + x) * 4);
    });
  }
  const result = new ImageData(size, size);
  rows.forEach(({ start, weights }, y) => {
    for (let x = 0; x < size; x++) {
      blend(narrow, ((start - firstRow) * size + x) * 4, size * 4, weights, result.data, (y * size + x) * 4);
    }
  });
  return result;
}

/** ImageData [S, S] to the float32 input [1, 3, S, S] of the image tower. */
export function toInput({ data, width, height }, { mean, std }) {
  const plane = width * height;
  const input = new Float32Array(3 * plane);
  for (let pixel = 0; pixel < plane; pixel++) {
    for (let channel = 0; channel < 3; channel++) {
      input[channel * plane + pixel] = (data[4 * pixel + channel] / 255 - mean[channel]) / std[channel];
    }
  }
  return input;
}

// For each of `count` outputs from `first` on, of a side resized from `from` to `to` pixels: the input it starts at, counted
// from `offset`, and its weights in fixed point.
function resampling(from, to, first, count, offset) {
  const scale = from / to;
  const stretch = Math.max(scale, 1);
  return Array.from({ length: count }, (_, index) => {
    const middle = (first + index + 0.5) * scale;
    const start = Math.max(0, Math.trunc(middle - SUPPORT * stretch + 0.5));
    const end = Math.min(from, Math.trunc(middle + SUPPORT * stretch + 0.5));
    const exact = Array.from({ length: end - start }, (_, i) => bicubic((start + i - middle + 0.5) / stretch));
    const total = exact.reduce((sum, weight) => sum + weight, 0);
    const weights = Float64Array.from(exact, (weight) => {
      const fixed = (weight / total) * 2 ** PRECISION;
      return Math.trunc(fixed + (fixed < 0 ? -0.5 : 0.5));
    });
    return { start: start + offset, weights };
  });
}

function bicubic(distance) {
  const x = Math.abs(distance);
  if (x < 1) return (1.5 * x - 2.5) * x * x + 1;
  return x < 2 ? ((-0.5 * x + 2.5) * x - 4) * x + 2 : 0;
}

// One output pixel: the weighted sum of input pixels `step` bytes apart, rounded and cut to 8 bits.
function blend(source, from, step, weights, target, to) {
  let [red, green, blue] = [1, 1, 1].map(() => 2 ** (PRECISION - 1));
  for (let i = 0; i < weights.length; i++, from += step) {
    red += source[from] * weights[i];
    green += source[from + 1] * weights[i];
    blue += source[from + 2] * weights[i];
  }
  target[to] = Math.floor(red / 2 ** PRECISION);
  target[to + 1] = Math.floor(green / 2 ** PRECISION);
  target[to + 2] = Math.floor(blue / 2 ** PRECISION);
  target[to + 3] = 255;
}

// Where a central part begins; halves are rounded to even as Python does.
function centre(whole, part) {
  const exact = (whole - part) / 2;
  const below = Math.floor(exact);
  return exact === below ? below : below + (below % 2);
}
