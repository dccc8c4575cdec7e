// How an image of any size meets the input of the .tflite file, and the way back: deeplab/prediction/image_fit.py in
// JavaScript. Every sum is rounded as Pillow and NumPy round it, so that the class ids equal those of predict.py.

/** Whether the image is stretched to the input size; otherwise it is letterboxed, padded or left unchanged. */
function needsStretching(size, input, fit) {
  if (size.width === input.width && size.height === input.height) return false;
  if (fit === "pad" || fit === "letterbox") return false;
  return fit === "stretch" || size.width > input.width || size.height > input.height;
}

/** Return the size of the part of the input, at its top left, that shows the image; padding fills the rest. */
function contentSize(size, input, fit) {
  if (needsStretching(size, input, fit)) return { width: input.width, height: input.height };
  if (fit !== "letterbox") return { width: size.width, height: size.height };
  // The largest size of this aspect that fits, rounded to whole pixels.
  const scaled = (side, by, of) => Math.max(Math.floor((2 * side * by + of) / (2 * of)), 1);
  if (size.height * input.width >= size.width * input.height) {
    return { width: scaled(size.width, input.height, size.height), height: input.height };
  }
  return { width: input.width, height: scaled(size.height, input.width, size.width) };
}

/**
 * Resize pixels with the bilinear filter of Pillow, which averages when it shrinks.
 *
 * The columns are resized first, and each of the two passes rounds to bytes.
 *
 * @param {Uint8ClampedArray} pixels RGBA, [h, w, 4].
 * @returns {Uint8Array} RGB at the new size, [h', w', 3].
 */
function resizePixels(pixels, size, content) {
  const columns = filterWeights(size.width, content.width);
  const narrow = new Uint8Array(size.height * content.width * 3);
  for (let y = 0, to = 0; y < size.height; y++) {
    for (let x = 0; x < content.width; x++) {
      const from = (y * size.width + columns.first[x]) * 4;
      for (let c = 0; c < 3; c++) narrow[to++] = filtered(pixels, from + c, 4, columns, x);
    }
  }
  const rows = filterWeights(size.height, content.height);
  const result = new Uint8Array(content.height * content.width * 3);
  const stride = content.width * 3;
  for (let y = 0, to = 0; y < content.height; y++) {
    for (let x = 0; x < stride; x++) result[to++] = filtered(narrow, rows.first[y] * stride + x, stride, rows, y);
  }
  return result;
}

/** Return one byte: the weighted sum of the pixels under the filter at output position `i`. */
function filtered(pixels, from, stride, filter, i) {
  let sum = 1 << 21; // Half of the fixed point's unit rounds to nearest.
  for (let k = filter.start[i]; k < filter.start[i + 1]; k++, from += stride) sum += pixels[from] * filter.weights[k];
  const byte = sum >> 22;
  return byte < 0 ? 0 : byte > 255 ? 255 : byte;
}

/**
 * Return the weights of Pillow's bilinear filter from `oldSize` to `newSize` pixels, in fixed point with 22 bits.
 *
 * Output pixel i has the weights start[i] <= k < start[i + 1], which belong to the input pixels from first[i] on.
 */
function filterWeights(oldSize, newSize) {
  const scale = oldSize / newSize;
  const support = Math.max(scale, 1);
  const first = new Int32Array(newSize);
  const start = new Int32Array(newSize + 1);
  const weights = [];
  for (let i = 0; i < newSize; i++) {
    const center = (i + 0.5) * scale;
    first[i] = Math.max(0, Math.trunc(center - support + 0.5));
    const last = Math.min(oldSize, Math.trunc(center + support + 0.5));
    const values = [];
    let total = 0;
    for (let x = first[i]; x < last; x++) {
      const value = Math.max(0, 1 - Math.abs((x - center + 0.5) * (1 / support)));
      values.push(value);
      total += value;
    }
    for (const value of values) weights.push(Math.trunc((value / total) * (1 << 22) + 0.5));
    start[i + 1] = weights.length;
  }
  return { first, start, weights: Int32Array.from(weights) };
}

/**
 * Return the rows or columns of the original pixels in an output of the file, as fractions.
 *
 * The image and its content have pixel centers at i + 1/2; the output has aligned corners with the input.
 */
function positionsIn(samples, full, content, size) {
  const step = (samples - 1) / Math.max(full - 1, 1);
  const scale = content / size;
  return Float64Array.from({ length: size }, (_, i) => {
    return Math.min(Math.max((i + 0.5) * scale - 0.5, 0), content - 1) * step;
  });
}

/** Return class ids of the size of the image from those of the file, by nearest neighbor. */
function idsAtImageSize(ids, mask, input, content, size) {
  const nearest = (position) => Math.floor(position + 0.5);
  const columns = positionsIn(mask.width, input.width, content.width, size.width).map(nearest);
  const rows = positionsIn(mask.height, input.height, content.height, size.height).map(nearest);
  const result = new Uint8Array(size.width * size.height);
  for (let y = 0, to = 0; y < size.height; y++) {
    const row = rows[y] * mask.width;
    for (const column of columns) result[to++] = ids[row + column];
  }
  return result;
}

/**
 * Return the class ids of the size of the image from the scores of the file.
 *
 * The scores are interpolated at the centers of the pixels of the image; each pixel gets the class of its highest score,
 * of equal ones the first.
 *
 * @param {Float32Array} scores [h', w', classes].
 * @param {{width: number, height: number}} content the part of the input that shows the image.
 */
function bestClasses(scores, mask, classes, input, content, size) {
  const ids = new Uint8Array(size.width * size.height);
  const unscaled = content.width === size.width && content.height === size.height;
  if (mask.width === input.width && mask.height === input.height && unscaled) {
    for (let y = 0, to = 0; y < size.height; y++) {
      for (let x = 0, from = y * mask.width * classes; x < size.width; x++, from += classes) {
        let best = 0;
        for (let c = 1; c < classes; c++) if (scores[from + c] > scores[from + best]) best = c;
        ids[to++] = best;
      }
    }
    return ids;
  }
  const columns = cellsOf(positionsIn(mask.width, input.width, content.width, size.width), mask.width);
  const rows = cellsOf(positionsIn(mask.height, input.height, content.height, size.height), mask.height);
  const candidates = new Uint8Array(mask.width * classes);
  const counts = new Int32Array(mask.width);
  for (let y = 0, to = 0, known = -1; y < size.height; y++) {
    const upper = rows.low[y] * mask.width * classes;
    const lower = Math.min(rows.low[y] + 1, mask.height - 1) * mask.width * classes;
    if (rows.low[y] !== known) listCandidates(scores, upper, lower, mask.width, classes, candidates, counts);
    known = rows.low[y];
    for (let x = 0; x < size.width; x++) {
      const cell = columns.low[x];
      const first = cell * classes;
      let best = candidates[first];
      if (counts[cell] > 1) {
        const next = Math.min(cell + 1, mask.width - 1) * classes;
        let highest = -Infinity;
        for (let i = 0; i < counts[cell]; i++) {
          const c = candidates[first + i];
          // NumPy's order and rounding: columns first, in float32.
          const above = between(scores[upper + first + c], scores[upper + next + c], columns.weight[x]);
          const below = between(scores[lower + first + c], scores[lower + next + c], columns.weight[x]);
          const score = between(above, below, rows.weight[y]);
          if (score > highest) {
            highest = score;
            best = c;
          }
        }
      }
      ids[to++] = best;
    }
  }
  return ids;
}

/** Return the value between `low` and `high` at `weight` (0..1), each step rounded to float32. */
function between(low, high, weight) {
  return Math.fround(Math.fround(Math.fround(high - low) * weight) + low);
}

/** Return the index below each position among `samples` samples, and the weight of the following one. */
function cellsOf(positions, samples) {
  const low = Int32Array.from(positions, (position) => Math.min(Math.trunc(position), samples - 1));
  return { low, weight: Float32Array.from(positions, (position, i) => position - low[i]) };
}

/**
 * List the classes that can win between two rows of scores, for each pair of neighboring columns.
 *
 * A class whose four scores all lie below the lowest score of another class cannot win anywhere between them. Usually
 * one class remains, and nothing is interpolated: of 21 classes that would take longer than the network itself.
 */
function listCandidates(scores, upper, lower, width, classes, candidates, counts) {
  for (let cell = 0; cell < width; cell++) {
    const left = cell * classes;
    const right = Math.min(cell + 1, width - 1) * classes;
    let limit = -Infinity;
    let largest = 0;
    for (let c = 0; c < classes; c++) {
      const [a, b] = [scores[upper + left + c], scores[upper + right + c]];
      const [d, e] = [scores[lower + left + c], scores[lower + right + c]];
      limit = Math.max(limit, Math.min(a, b, d, e));
      largest = Math.max(largest, Math.abs(a), Math.abs(b), Math.abs(d), Math.abs(e));
    }
    limit -= 1e-5 * largest; // More than the rounding errors of the interpolation.
    let count = 0;
    for (let c = 0; c < classes; c++) {
      const highest = Math.max(
        scores[upper + left + c],
        scores[upper + right + c],
        scores[lower + left + c],
        scores[lower + right + c],
      );
      if (!(highest < limit)) candidates[left + count++] = c;
    }
    counts[cell] = count;
  }
}
