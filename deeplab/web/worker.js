// The worker of the page: decodes an image, runs the .tflite file on it, and returns its class ids.
//
// The page joins LiteRT.js, image_fit.js and this file to one script: a worker of a page that was opened from a file may
// not load further scripts. Messages in: one {wasm, file, facts}, then {id, blob} for each image. Messages out: {ready},
// then {id, width, height, ids, milliseconds, fitted, transparent, bitmap} or {id, error} for each image; {failed} if the
// file cannot run. `fitted` is "stretched", "letterboxed", or empty if the image was neither.

/** Runs before the first image: the first inferences take several times as long as later ones. */
const WARM_UP_RUNS = 2;

/** The compiled .tflite file. */
let model = null;

/** Dtypes, sizes, scale and zero point of the file, and how images of other sizes are fitted. */
let facts = null;

/** For each channel, the float32 input value of each byte; empty for a uint8 input, which receives the bytes. */
let inputTables = [];

/** The real number of each stored byte of a uint8 output with scale and zero point. */
let outputTable = null;

async function load(message) {
  facts = message.facts;
  inputTables = normalizationTables();
  outputTable = dequantizationTable();
  setGlobalLiteRt(new LiteRt(await ModuleFactory({ wasmBinary: message.wasm, printErr: log })));
  // Without a GPU: its kernels round differently, and the class ids would depend on the device.
  getGlobalLiteRt().setDefaultEnvironment(await Environment.create({ webGpuDevice: null }));
  model = await loadAndCompile(new Uint8Array(message.file), { accelerator: "wasm" });
  for (let i = 0; i < WARM_UP_RUNS; i++) await run(emptyInput());
}

/** Print a line of LiteRT.js: it writes what it does, and that there is no NPU, to the same stream as its errors. */
function log(line) {
  (/^(VERBOSE|INFO|WARNING): /.test(line) ? console.debug : console.error)(line);
}

async function segment(blob) {
  // The pixels as they are stored, upright, as predict.py reads them: without conversion to the screen's colors.
  const options = { colorSpaceConversion: "none", imageOrientation: "from-image" };
  const bitmap = await createImageBitmap(blob, options).catch(() => {
    throw new Error("not an image that the browser can decode.");
  });
  const size = { width: bitmap.width, height: bitmap.height };
  const content = contentSize(size, facts.input, facts.fit);
  if (content.width > facts.input.width || content.height > facts.input.height) {
    const limit = `${facts.input.width} × ${facts.input.height}`;
    throw new Error(`The image has ${size.width} × ${size.height} pixels, the file accepts ${limit} with fit=pad.`);
  }
  const pixels = pixelsOf(bitmap);
  const input = prepared(pixels, size, content);
  const started = performance.now();
  const stored = await run(input);
  const milliseconds = performance.now() - started;
  const ids = classIds(stored, size, content);
  const stretched = needsStretching(size, facts.input, facts.fit) ? "stretched" : "";
  const unchanged = size.width === facts.input.width && size.height === facts.input.height;
  const fitted = facts.fit === "letterbox" && !unchanged ? "letterboxed" : stretched;
  return { ...size, ids, milliseconds, fitted, transparent: isTransparent(pixels), bitmap };
}

/** Return the pixels of a bitmap, RGBA [h, w, 4]. */
function pixelsOf(bitmap) {
  const context = new OffscreenCanvas(bitmap.width, bitmap.height).getContext("2d", { willReadFrequently: true });
  if (!context) throw new Error(`An image of ${bitmap.width} × ${bitmap.height} pixels is too large for this browser.`);
  context.drawImage(bitmap, 0, 0);
  return context.getImageData(0, 0, bitmap.width, bitmap.height).data;
}

/** Return whether a pixel is not opaque: a canvas keeps less of its color, or none, where predict.py reads all of it. */
function isTransparent(pixels) {
  for (let i = 3; i < pixels.length; i += 4) if (pixels[i] !== 255) return true;
  return false;
}

/** Return an input filled with the padding: the pixel that the network maps to zero. */
function emptyInput() {
  const { dtype, width, height, padding } = facts.input;
  const input = new (dtype === "uint8" ? Uint8Array : Float32Array)(width * height * 3);
  return input.map((_, i) => padding[i % 3]);
}

/** Return the input for RGBA pixels, [H, W, 3]: resized to the content, and padded at the bottom and on the right. */
function prepared(pixels, size, content) {
  const input = emptyInput();
  const unscaled = content.width === size.width && content.height === size.height;
  const [source, channels] = unscaled ? [pixels, 4] : [resizePixels(pixels, size, content), 3];
  const { width, height } = content;
  for (let y = 0, from = 0; y < height; y++) {
    for (let x = 0, to = y * facts.input.width * 3; x < width; x++, from += channels, to += 3) {
      for (let c = 0; c < 3; c++) {
        const byte = source[from + c];
        input[to + c] = inputTables.length ? inputTables[c % inputTables.length][byte] : byte;
      }
    }
  }
  return input;
}

/** Return the stored values of the output for those of the input. */
async function run(input) {
  const tensor = new Tensor(input, [1, facts.input.height, facts.input.width, 3]);
  const outputs = await model.run([tensor]);
  const stored = outputs[0].toTypedArray().slice();
  for (const each of [tensor, ...outputs]) each.delete();
  return stored;
}

/** Return the class ids of the image, [h, w]. */
function classIds(stored, size, content) {
  const { input, output } = facts;
  if (output.labels) return idsAtImageSize(stored, output, input, content, size);
  const scores = outputTable ? Float32Array.from(stored, (value) => outputTable[value]) : stored;
  return bestClasses(scores, output, output.classes, input, content, size);
}

function normalizationTables() {
  const { dtype, mean, std } = facts.input;
  if (dtype === "uint8") return [];
  const value = (byte, c) => Math.fround(byte - Math.fround(mean[c])) / Math.fround(std[c]);
  return mean.map((_, c) => Float32Array.from({ length: 256 }, (_, byte) => value(byte, c)));
}

function dequantizationTable() {
  const { dtype, labels, scale, zeroPoint } = facts.output;
  if (dtype !== "uint8" || labels) return null;
  return Float32Array.from({ length: 256 }, (_, stored) => (stored - zeroPoint) * Math.fround(scale));
}

/** Return the text of anything that was thrown: the WebAssembly module also throws numbers. */
function textOf(error) {
  return error instanceof Error ? error.message : `LiteRT.js failed (${error})`;
}

// Images are segmented one after the other.
let queue = Promise.resolve();
self.onmessage = ({ data }) => {
  queue = queue.then(async () => {
    if (data.facts) {
      await load(data).then(
        () => postMessage({ ready: true }),
        (error) => postMessage({ failed: textOf(error) }),
      );
      return;
    }
    try {
      const result = await segment(data.blob);
      postMessage({ id: data.id, ...result }, [result.ids.buffer, result.bitmap]);
    } catch (error) {
      postMessage({ id: data.id, error: textOf(error) });
    }
  });
};
