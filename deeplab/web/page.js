// The page: starts the worker, takes an image, and draws the class ids that the worker returns.
//
// `segment(blob)` is the interface for programs; <html data-state> is "loading", "ready" or "error".
"use strict";

const element = (id) => document.getElementById(id);
const facts = JSON.parse(element("facts").textContent);
const [frame, imageCanvas, maskCanvas, statusLine] = ["frame", "image", "mask", "status"].map(element);

/** Sides of the drawn image are limited to what phones can draw; the class ids keep the size of the image. */
const MAX_DRAWN_SIDE = 2048;

let worker = null;
/** For the number of each image that is being segmented: what to do with its result. */
const pending = new Map();
let lastNumber = 0;

const ready = start();
ready.then(
  () => {
    performance.mark("ready");
    setState("ready", "Ready. Drop an image, paste one, or choose one.");
  },
  (error) => setState("error", `The model cannot run in this browser: ${error.message}`),
);

/**
 * Segment an image.
 *
 * @param {Blob} blob an image file of any format that the browser decodes.
 * @returns {Promise<{width: number, height: number, ids: Uint8Array, milliseconds: number}>} the size of the upright
 *   image, its class ids [height, width], and the time of the model alone.
 */
window.segment = async (blob) => {
  const { width, height, ids, milliseconds, bitmap } = await request(blob);
  bitmap.close();
  return { width, height, ids, milliseconds };
};

/** Start the worker with LiteRT.js and the .tflite file; resolves when it has run for the first time. */
async function start() {
  if (!("DecompressionStream" in window && "OffscreenCanvas" in window && "WebAssembly" in window)) {
    throw new Error("it is too old. Use a current Chrome, Edge, Firefox or Safari.");
  }
  const [loader, core, wasm, file] = await Promise.all(["loader", "core", "wasm", "tflite"].map(unpack));
  // In a function, so that the names of LiteRT.js are not global, where LiteRT.js would look for older versions.
  const parts = ["(() => {\n", loader, "\n", core, "\n", element("worker").textContent, "\n})();"];
  worker = new Worker(URL.createObjectURL(new Blob(parts, { type: "text/javascript" })));
  await new Promise((resolve, reject) => {
    worker.onerror = (event) => reject(new Error(event.message || "its worker does not start"));
    worker.onmessage = ({ data }) => {
      if (data.ready) resolve();
      else if (data.failed) reject(new Error(data.failed));
      else receive(data);
    };
    worker.postMessage({ wasm, file, facts }, [wasm, file]);
  });
}

/** Return the bytes of a block of the page, which is compressed by gzip and written in base64. */
async function unpack(id) {
  const text = element(id).textContent;
  const bytes = Uint8Array.fromBase64?.(text) ?? Uint8Array.from(atob(text), (character) => character.charCodeAt(0));
  const stream = new Blob([bytes]).stream().pipeThrough(new DecompressionStream("gzip"));
  return new Response(stream).arrayBuffer().catch(() => {
    throw new Error("this page is damaged. Write it again.");
  });
}

async function request(blob) {
  await ready;
  return new Promise((resolve, reject) => {
    pending.set(++lastNumber, { resolve, reject });
    worker.postMessage({ id: lastNumber, blob });
  });
}

function receive(data) {
  const { resolve, reject } = pending.get(data.id);
  pending.delete(data.id);
  if (data.error) reject(new Error(data.error));
  else resolve(data);
}

function setState(state, text) {
  document.documentElement.dataset.state = state;
  showStatus(text);
}

function showStatus(text, failed = false) {
  statusLine.textContent = text;
  statusLine.classList.toggle("failed", failed);
}

/** State why there is no mask, and remove the last image: it is not what the user chose. */
function showFailure(text) {
  if (document.documentElement.dataset.state === "error") return; // Without a model, the status already says why.
  frame.hidden = true;
  element("hint").hidden = false;
  drawLegend([]);
  showStatus(text, true);
}

// From a file to the screen.

let lastShown = 0;

/**
 * Segment an image and draw it; a later image takes precedence over an earlier one that is still being segmented.
 *
 * @param {string} remark precedes the size and the times in the status.
 */
async function show(blob, remark = "") {
  const number = ++lastShown;
  document.body.classList.add("busy");
  if (document.documentElement.dataset.state === "ready") showStatus("Segmenting ...");
  const started = performance.now();
  try {
    const result = await request(blob);
    if (number === lastShown) draw(result, performance.now() - started, remark);
    result.bitmap.close();
  } catch (error) {
    if (number === lastShown) showFailure(`${blob.name || "This file"}: ${error.message}`);
  } finally {
    if (number === lastShown) document.body.classList.remove("busy");
  }
}

function draw({ width, height, ids, bitmap, milliseconds, fitted, transparent }, total, remark) {
  const scale = Math.min(1, MAX_DRAWN_SIDE / Math.max(width, height));
  const [drawnWidth, drawnHeight] = [width, height].map((side) => Math.max(1, Math.round(side * scale)));
  for (const canvas of [imageCanvas, maskCanvas]) [canvas.width, canvas.height] = [drawnWidth, drawnHeight];
  imageCanvas.getContext("2d").drawImage(bitmap, 0, 0, drawnWidth, drawnHeight);
  drawMask(ids, width, height);
  frame.style.setProperty("--ratio", width / height);
  frame.hidden = false;
  element("hint").hidden = true;
  const shares = classShares(ids);
  drawLegend(shares);
  const found = shares.map(({ name, share }) => `${name} ${percent(share)}`).join(", ");
  imageCanvas.setAttribute("aria-label", `Image with its mask: ${found}`);
  const { input } = facts;
  const resized = fitted ? `, ${fitted} to ${input.width} × ${input.height}` : "";
  const times = `model ${milliseconds.toFixed(1)} ms, in all ${total.toFixed(0)} ms`;
  const read = transparent ? ", transparent parts read as black" : "";
  showStatus(`${remark}${width} × ${height} pixels${resized}${read}. Time: ${times}.`);
}

/** Draw the class colors; class 0, the background, stays transparent. */
function drawMask(ids, width, height) {
  const [drawnWidth, drawnHeight] = [maskCanvas.width, maskCanvas.height];
  const context = maskCanvas.getContext("2d");
  const mask = context.createImageData(drawnWidth, drawnHeight);
  const pixels = new Uint32Array(mask.data.buffer);
  const colors = Uint32Array.from({ length: 256 }, (_, id) => {
    const [red, green, blue] = colorOf(id);
    return id === 0 ? 0 : new Uint32Array(Uint8Array.of(red, green, blue, 255).buffer)[0];
  });
  for (let y = 0, to = 0; y < drawnHeight; y++) {
    const row = Math.floor(((y + 0.5) * height) / drawnHeight) * width;
    for (let x = 0; x < drawnWidth; x++) pixels[to++] = colors[ids[row + Math.floor(((x + 0.5) * width) / drawnWidth)]];
  }
  context.putImageData(mask, 0, 0);
  maskCanvas.style.opacity = element("opacity").value / 100;
}

/** Return red, green and blue of a class. */
function colorOf(id) {
  return [0, 2, 4].map((at) => parseInt(facts.colors.slice(6 * id + at, 6 * id + at + 2), 16));
}

/** Return {id, name, share} of the classes in an image without the ignored pixels (255), the largest first. */
function classShares(ids) {
  const counts = new Uint32Array(256);
  for (const id of ids) counts[id]++;
  const total = ids.length - counts[255];
  const shares = [];
  for (let id = 0; id < 255; id++) {
    if (counts[id]) shares.push({ id, name: facts.classes[id] ?? `class ${id}`, share: counts[id] / total });
  }
  return shares.sort((a, b) => b.share - a.share);
}

function drawLegend(shares) {
  element("no-classes").hidden = shares.length > 0;
  element("legend").replaceChildren(
    ...shares.map(({ id, name, share }) => {
      const row = document.createElement("li");
      const [color, label, value, bar] = ["color", "name", "share", "bar"].map((part) => {
        const span = row.appendChild(document.createElement("span"));
        span.className = part;
        return span;
      });
      // Text only: a class name is never read as HTML.
      [label.textContent, value.textContent] = [name, percent(share)];
      const length = bar.appendChild(document.createElement("i"));
      length.style.width = `${100 * share}%`;
      // Class 0 is not colored in the image either.
      if (id === 0) color.classList.add("uncolored");
      else length.style.background = color.style.background = `rgb(${colorOf(id).join()})`;
      return row;
    }),
  );
}

/** Return a share above 0 in percent, or "<0.1 %" where rounding would hide that the class occurs. */
function percent(share) {
  return share >= 0.0005 ? `${(100 * share).toFixed(1)} %` : "<0.1 %";
}

// Images come from the file dialog, from drag and drop, from the clipboard, and from the camera.

/** Show the first image among files; state it if there is none, or if others are not shown. */
function showFirst(files) {
  const all = [...(files ?? [])];
  const image = all.find((file) => file.type.startsWith("image/")) ?? all[0];
  if (image) show(image, all.length > 1 ? `One of ${all.length} files: ` : "");
  else showFailure("There is no image file in it.");
}

element("file").addEventListener("change", (event) => {
  if (event.target.files.length) showFirst(event.target.files);
  event.target.value = ""; // The same file can be chosen again.
});
element("opacity").addEventListener("input", (event) => {
  maskCanvas.style.opacity = event.target.value / 100;
});
document.addEventListener("paste", (event) => showFirst(event.clipboardData?.files));
const drop = element("drop");
// The whole page accepts images: a browser would leave the page for one that misses the area.
document.addEventListener("dragover", (event) => {
  event.preventDefault();
  drop.classList.add("over");
});
document.addEventListener("dragleave", (event) => {
  if (!event.relatedTarget) drop.classList.remove("over");
});
document.addEventListener("drop", (event) => {
  event.preventDefault();
  drop.classList.remove("over");
  showFirst(event.dataTransfer?.files);
});

const [dialog, video] = ["camera-dialog", "video"].map(element);
element("camera").hidden = !navigator.mediaDevices?.getUserMedia;
element("camera").addEventListener("click", async (event) => {
  // While the browser asks for permission, a second click would open a second stream, which nothing stops.
  event.target.disabled = true;
  try {
    video.srcObject = await navigator.mediaDevices.getUserMedia({ video: { facingMode: "environment" } });
    dialog.showModal();
  } catch (error) {
    showStatus(`The camera is not available (${error.name}).`, true);
  } finally {
    event.target.disabled = false;
  }
});
element("shoot").addEventListener("click", async () => {
  if (!video.videoWidth) return; // The camera has not delivered a frame yet.
  const still = document.createElement("canvas");
  [still.width, still.height] = [video.videoWidth, video.videoHeight];
  still.getContext("2d").drawImage(video, 0, 0);
  dialog.close();
  show(await new Promise((resolve) => still.toBlob(resolve, "image/png")));
});
element("close-camera").addEventListener("click", () => dialog.close());
// The escape key closes the dialog too.
dialog.addEventListener("close", () => {
  for (const track of video.srcObject?.getTracks() ?? []) track.stop();
  video.srcObject = null;
});

if (element("example")) {
  const showExample = async () => show(new Blob([await unpack("example")]));
  element("show-example").addEventListener("click", showExample);
  ready.then(showExample, () => {});
}
