// A picture to the model's input, as edgecls makes it in Python: the same steps, the same rounding.

/** Rows that are read of a picture at once; it may be larger than the largest canvas. */
const STRIP = 128;

/** Weights are integers, this power of two to one, as in Pillow's resampling of bytes. */
const BITS = 22, HALF = 1 << (BITS - 1);

const FILTERS = {
  bilinear: { support: 1, weight: (x) => Math.max(1 - Math.abs(x), 0) },
  bicubic: {
    support: 2,
    weight(x) {
      const d = Math.abs(x), a = -0.5;
      if (d < 1) return ((a + 2) * d - (a + 3)) * d * d + 1;
      return d < 2 ? (((d - 5) * d + 8) * d - 4) * a : 0;
    },
  },
};

/** Decode a file: upright, its colours as they are stored. Rejects what is no picture. */
export function decode(file) {
  return createImageBitmap(file, { colorSpaceConversion: "none" });
}

/**
 * The pixels that the model sees, 0..255: crop * crop pixels of three channels (RGB), or one for gray.
 * image: whatever a canvas can draw, of width x height pixels; preprocess: as the manifest has it.
 */
export function pixels(image, width, height, preprocess) {
  const { left, top, scaled } = placed(width, height, preprocess);
  const { crop, interpolation } = preprocess;
  const across = kernels(width, scaled.width, left, crop, interpolation);
  const down = kernels(height, scaled.height, top, crop, interpolation);
  // As Pillow has it, whose first pass rounds: a tall picture's columns come first. It is turned over for that.
  const turned = height - scaled.height > Math.max(2 * (width - scaled.width), 0);
  const [first, second] = turned ? [down, across] : [across, down];
  const channels = preprocess.color === "gray" ? 1 : 3;
  const rows = squeeze(image, turned, first, second.from, second.to, channels);
  const line = crop * channels, out = new Uint8ClampedArray(crop * line);
  for (let i = 0; i < crop; i++) {
    const start = (second.starts[i] - second.from) * line;
    for (let j = 0; j < line; j++) {
      let sum = HALF;
      for (let k = 0; k < second.counts[i]; k++) {
        sum += second.weights[i * second.width + k] * rows[start + k * line + j];
      }
      const c = j % channels, x = (j - c) / channels;
      out[(turned ? x * crop + i : i * crop + x) * channels + c] = sum >> BITS;
    }
  }
  return out;
}

/** The square of the picture that the model sees, in pixels of the picture. */
export function seen(width, height, preprocess) {
  const { left, top, scaled } = placed(width, height, preprocess);
  const x = width / scaled.width, y = height / scaled.height;
  return { x: left * x, y: top * y, width: preprocess.crop * x, height: preprocess.crop * y };
}

/** `(pixel - mean) / std` in the order of axes and the type of the model's input. */
export function input(seenPixels, preprocess, { shape, dtype, scale, zero_point: zero }) {
  const channels = preprocess.mean.length, area = seenPixels.length / channels;
  const first = shape[3] !== channels; // (1, channels, height, width)
  const out = dtype === "uint8" ? new Uint8Array(seenPixels.length) : new Float32Array(seenPixels.length);
  for (let c = 0; c < channels; c++) {
    const from = preprocess.color === "bgr" ? channels - 1 - c : c;
    const mean = Math.fround(preprocess.mean[c]), std = Math.fround(preprocess.std[c]);
    const values = Array.from({ length: 256 }, (_, pixel) => {
      const value = Math.fround(Math.fround(pixel - mean) / std);
      if (dtype !== "uint8") return value;
      return Math.min(Math.max(even(Math.fround(value / Math.fround(scale))) + zero, 0), 255);
    });
    for (let i = 0; i < area; i++) {
      out[first ? c * area + i : i * channels + c] = values[seenPixels[i * channels + from]];
    }
  }
  return out;
}

/** The size of the resized picture, and where in it the crop lies. */
function placed(width, height, { resize, crop }) {
  const short = Math.min(width, height);
  const stretched = Math.trunc((resize * Math.max(width, height)) / short);
  const scaled =
    width === short ? { width: resize, height: stretched } : { width: stretched, height: resize };
  return { scaled, left: even((scaled.width - crop) / 2), top: even((scaled.height - crop) / 2) };
}

/** To the nearest integer, halves to the even one. */
function even(value) {
  const rounded = Math.round(value);
  return rounded - value === 0.5 && rounded % 2 ? rounded - 1 : rounded;
}

/** Of `count` resized pixels from `first` on: which pixels each is made of, and with what weights. */
function kernels(length, resized, first, count, interpolation) {
  const filter = FILTERS[interpolation], scale = length / resized, stretch = Math.max(scale, 1);
  const support = filter.support * stretch, width = Math.ceil(support) * 2 + 1;
  const starts = new Int32Array(count), counts = new Int32Array(count);
  const weights = new Int32Array(count * width);
  for (let i = 0; i < count; i++) {
    const center = (first + i + 0.5) * scale;
    const start = Math.max(Math.trunc(center - support + 0.5), 0);
    const end = Math.min(Math.trunc(center + support + 0.5), length);
    const real = [];
    for (let x = start; x < end; x++) real.push(filter.weight((x - center + 0.5) / stretch));
    const total = real.reduce((sum, weight) => sum + weight, 0);
    real.forEach((weight, k) => {
      const share = (weight / total) * (1 << BITS);
      weights[i * width + k] = Math.trunc(share + (share < 0 ? -0.5 : 0.5));
    });
    [starts[i], counts[i]] = [start, end - start];
  }
  return { starts, counts, weights, width, from: starts[0], to: starts[count - 1] + counts[count - 1] };
}

/** Rows `from` to `to` of the picture, each squeezed by the kernels `across`; columns, where it is turned over. */
function squeeze(image, turned, across, from, to, channels) {
  const count = across.starts.length, rows = new Uint8ClampedArray((to - from) * count * channels);
  const canvas = document.createElement("canvas");
  [canvas.width, canvas.height] = [across.to - across.from, STRIP];
  const context = canvas.getContext("2d", { willReadFrequently: true });
  context.imageSmoothingEnabled = false;
  context.fillStyle = "white"; // what is transparent lies on white
  for (let top = from; top < to; top += STRIP) {
    const height = Math.min(STRIP, to - top);
    context.resetTransform();
    context.fillRect(0, 0, canvas.width, height);
    context.translate(-across.from, -top);
    if (turned) context.transform(0, 1, 1, 0, 0, 0);
    context.drawImage(image, 0, 0);
    const { data } = context.getImageData(0, 0, canvas.width, height);
    if (channels === 1) toGray(data);
    for (let y = 0; y < height; y++) {
      for (let i = 0; i < count; i++) {
        let red = HALF, green = HALF, blue = HALF;
        let at = (y * canvas.width + across.starts[i] - across.from) * 4;
        for (let k = 0; k < across.counts[i]; k++, at += 4) {
          const weight = across.weights[i * across.width + k];
          red += weight * data[at];
          green += weight * data[at + 1];
          blue += weight * data[at + 2];
        }
        const out = ((top - from + y) * count + i) * channels;
        rows[out] = red >> BITS;
        if (channels === 3) [rows[out + 1], rows[out + 2]] = [green >> BITS, blue >> BITS];
      }
    }
  }
  return rows;
}

/** Luma in place of red, in Pillow's integers (ITU-R 601-2). */
function toGray(data) {
  for (let i = 0; i < data.length; i += 4) {
    data[i] = (data[i] * 19595 + data[i + 1] * 38470 + data[i + 2] * 7471 + 0x8000) >> 16;
  }
}
