"""The code in docs/apps.md runs: Python with LiteRT, JavaScript with LiteRT.js in Chromium."""

import functools
import http.server
import io
import re
import threading
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from deeplab.prediction.predictor import tflite_predictor
from deeplab.rendering.masks import color_map
from deeplab.tflite.interpreter import TfliteModel
from deeplab.web.litert_js import load_litert_js
from tests.networks import random_image
from tests.web.test_browser import LABELS, SIZE, browser, workshop  # noqa: F401

GUIDE = Path(__file__).parents[1] / "docs" / "apps.md"

PAGE = """<!doctype html><script src="loader.js"></script>
<script type="importmap">{"imports": {"@litertjs/core": "./core.js"}}</script>
<script type="module">import * as guide from "./guide.js"; window.guide = guide;</script>"""

START = """
async function start(wasm) {
  const wasmBinary = await (await fetch(wasm)).arrayBuffer();
  setGlobalLiteRt(new LiteRt(await ModuleFactory({ wasmBinary })));
  getGlobalLiteRt().setDefaultEnvironment(await Environment.create({ webGpuDevice: null }));
}
export { start as loadLiteRt, loadAndCompile, Tensor };
"""
"""Ends the module: LiteRT.js's own `loadLiteRt` needs another package of npm to find its WebAssembly module."""


def code(language: str) -> str:
    """Return the first code block of a language in the guide."""
    return re.findall(rf"```{language}\n(.*?)```", GUIDE.read_text(), re.DOTALL)[0]


def photo(height: int, width: int) -> np.ndarray:
    return random_image(height, width, height + width)[0].astype(np.uint8)


def run_python(folder: Path, content: bytes, image: np.ndarray, fit: str = "stretch") -> np.ndarray:
    """Run the Python code of the guide in a folder with model.tflite and photo.jpg; return the mask that it writes."""
    (folder / "model.tflite").write_bytes(content)
    # PNG under the name of the guide: JPEG would change the pixels.
    Image.fromarray(image).save(folder / "photo.jpg", "PNG")
    source = code("python").replace('FIT = "stretch"', f'FIT = "{fit}"')
    for name in ("model.tflite", "photo.jpg", "mask.png"):
        source = source.replace(f'"{name}"', repr(str(folder / name)))
    exec(compile(source, str(GUIDE), "exec"), {"__name__": "guide"})
    with Image.open(folder / "mask.png") as mask:
        np.testing.assert_array_equal(
            np.reshape(mask.getpalette(), (-1, 3))[: len(LABELS)], color_map(256)[: len(LABELS)]
        )
        return np.asarray(mask)


@pytest.mark.parametrize("kind", ["float32", "int8", "int8 with float output", "labels"])
def test_the_python_code_gives_the_mask_of_predict_for_an_image_of_the_input_size(workshop, tmp_path, kind):  # noqa: F811
    content, image = workshop.file(kind), photo(SIZE, SIZE)
    expected = tflite_predictor(TfliteModel(content, threads=1))(image)
    assert len(np.unique(expected)) > 2
    np.testing.assert_array_equal(run_python(tmp_path, content, image), expected)


@pytest.mark.parametrize("kind", ["labels", "labels at mask_stride 4"])
@pytest.mark.parametrize("fit", ["stretch", "letterbox"])
def test_the_python_code_finds_the_way_back_from_any_size(workshop, tmp_path, kind, fit):  # noqa: F811
    content, image = workshop.file(kind), photo(90, 170)
    expected = tflite_predictor(TfliteModel(content, threads=1), fit)(image)
    actual = run_python(tmp_path, content, image, fit)
    assert actual.shape == (90, 170)
    # The gray of the padding is 127 here and the mean pixel, 127.5, there.
    assert (actual == expected).mean() > (0.99 if fit == "letterbox" else 0.9999)


def test_the_python_code_prints_the_share_of_each_class(workshop, tmp_path, capsys):  # noqa: F811
    image = photo(SIZE, SIZE)
    ids = run_python(tmp_path, workshop.file("int8"), image)
    expected = [f"{LABELS[i]}: {(ids == i).mean():.1%}" for i in np.unique(ids)]
    assert capsys.readouterr().out.splitlines() == expected


@pytest.fixture
def site(tmp_path):
    """A local server of a folder with LiteRT.js and the JavaScript of the guide; yields the folder and its address."""
    runtime = load_litert_js()
    files = {"loader.js": runtime.loader, "core.js": runtime.core + START, "guide.js": code("javascript")}
    for name, text in {**files, "index.html": PAGE}.items():
        (tmp_path / name).write_text(text, encoding="utf-8")
    (tmp_path / "litert.wasm").write_bytes(runtime.wasm)

    class Quiet(http.server.SimpleHTTPRequestHandler):
        def log_message(self, *_) -> None:
            pass

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(Quiet, directory=tmp_path))
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield tmp_path, f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    server.server_close()


@pytest.mark.parametrize(
    "kind", ["int8", *(pytest.param(k, marks=pytest.mark.slow) for k in ("float32", "labels", "mask_stride 4"))]
)
def test_the_javascript_code_gives_the_class_ids_of_the_file(browser, workshop, site, kind):  # noqa: F811
    folder, address = site
    content, image = workshop.file(kind), photo(SIZE, SIZE)
    (folder / "model.tflite").write_bytes(content)
    buffer = io.BytesIO()
    Image.fromarray(image).save(buffer, "PNG")
    (folder / "photo.png").write_bytes(buffer.getvalue())
    page = browser.open(folder / "index.html")
    page.call("Page.navigate", {"url": f"{address}/index.html"})
    page.wait_until("window.guide !== undefined")
    result = page.evaluate(
        """(async () => {
          const model = await guide.openModel("model.tflite", "litert.wasm");
          const image = await createImageBitmap(await (await fetch("photo.png")).blob());
          const result = await guide.segment(model, image);
          const canvas = Object.assign(document.createElement("canvas"), { width: image.width, height: image.height });
          guide.drawMask(canvas, result, 1);
          const rgba = canvas.getContext("2d").getImageData(0, 0, image.width, image.height).data;
          return { ...result, ids: [...result.ids], rgba: [...rgba] };
        })()"""
    )
    page.close()
    output = TfliteModel(content, threads=1)(image)
    expected = output if output.ndim == 2 else output.argmax(-1)
    assert (result["height"], result["width"]) == expected.shape
    ids = np.reshape(result["ids"], expected.shape)
    assert (ids == expected).mean() > (0.999 if kind == "float32" else 0.99999)
    # Where the mask covers the image completely, its colors are those of PASCAL VOC, and class 0 is transparent.
    drawn = np.reshape(result["rgba"], (SIZE, SIZE, 4))
    if ids.shape == (SIZE, SIZE):
        np.testing.assert_array_equal(drawn[..., :3], color_map(256)[ids])
        np.testing.assert_array_equal(drawn[..., 3], np.where(ids == 0, 0, 255))
