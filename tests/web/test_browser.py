"""The page in Chromium: class ids of predict.py, no request, readable errors, images from all sources."""

import base64
import gzip
import http.server
import io
import re
import threading
from dataclasses import dataclass, field
from pathlib import Path

import keras
import numpy as np
import pytest
from PIL import Image

from benchmarks.chromium import Chromium, Page, chromium, find_chromium
from deeplab.config import Fit, ModelConfig, PageConfig
from deeplab.conversion.convert import convert
from deeplab.conversion.export_graph import export_graph
from deeplab.datasets.image_files import read_image
from deeplab.errors import UserError
from deeplab.model.build import build_model
from deeplab.prediction.predictor import tflite_predictor
from deeplab.tflite.interpreter import TfliteModel
from deeplab.tflite.metadata import write_metadata
from deeplab.web.litert_js import load_litert_js
from deeplab.web.page import write_page
from tests.networks import random_image, randomize

SIZE = 65
NASTY = "</script><b>"
LABELS = ("background", NASTY, "c", "d", "e")
KINDS = {
    "float32": ("float32", "logits", 1, None),
    "int8": ("int8", "logits", 1, None),
    "int8 with float output": ("int8", "logits", 1, "float32"),
    "mask_stride 4": ("int8", "logits", 4, None),
    "labels": ("int8", "labels", 1, None),
    "labels at mask_stride 4": ("int8", "labels", 4, None),
}
"""Files by name: quantization, output, mask stride and output dtype."""


@dataclass
class Workshop:
    """A network of clear winners, and a cache of the files made from it."""

    model: keras.Model
    files: dict[str, bytes] = field(default_factory=dict)

    def file(self, kind: str) -> bytes:
        if kind not in self.files:
            quantization, output, mask_stride, output_type = KINDS[kind]
            graph = export_graph(self.model, output, mask_stride)
            images = [random_image(SIZE, SIZE, seed)[0] for seed in (1, 2)]
            content = convert(graph, (SIZE, SIZE), quantization, images, None, output_type, correct_biases=False)
            activation = "softmax" if output == "logits" else None
            self.files[kind] = write_metadata(content, LABELS, activation=activation)
        return self.files[kind]


@pytest.fixture(scope="module")
def workshop() -> Workshop:
    config = ModelConfig(depth_multiplier=0.1, head="v3", aspp_rates=(), aspp_channels=8, classes=len(LABELS))
    model = randomize(build_model(config, 16, SIZE), seed=3)
    logits = np.asarray(model(random_image(SIZE, SIZE), training=False))
    # Without a bias one class would win everywhere.
    bias = model.get_layer("logits").bias
    bias.assign(np.asarray(bias) - logits.mean(axis=(0, 1, 2)))
    return Workshop(model)


@pytest.fixture(scope="module")
def browser():
    """Chromium; the tests are skipped without it, or if LiteRT.js is neither cached nor can be fetched."""
    if find_chromium() is None:
        pytest.skip("Chromium is not installed")
    try:
        load_litert_js()
    except UserError as error:
        pytest.skip(f"no LiteRT.js: {error}")
    with chromium() as running:
        yield running


def status(page: Page) -> str:
    return page.evaluate("document.getElementById('status').textContent")


def opened(browser: Chromium, folder: Path, content: bytes, name: str = "model.tflite", fit: Fit = "auto") -> Page:
    (folder / name).write_bytes(content)
    page = browser.open(write_page(PageConfig(str(folder / name), fit=fit)))
    assert page.state() == "ready", status(page)
    return page


def pixels(height: int, width: int) -> np.ndarray:
    return random_image(height, width, height + width)[0].astype(np.uint8)


def encoded(image: np.ndarray, form: str = "PNG", **settings) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(image).save(buffer, form, **settings)
    return buffer.getvalue()


@pytest.mark.parametrize("kind", [pytest.param(k, marks=() if k == "int8" else pytest.mark.slow) for k in KINDS])
def test_class_ids_equal_those_of_predict(browser, workshop, tmp_path, kind):
    content = workshop.file(kind)
    page = opened(browser, tmp_path, content)
    predict = tflite_predictor(TfliteModel(content, threads=1))
    # Of the input size, padded, and stretched.
    for size in ((65, 65), (40, 65), (31, 50), (60, 170), (211, 300), (200, 50)):
        image = pixels(*size)
        ids, milliseconds, _ = page.segment(encoded(image))
        expected = predict(image)
        assert len(np.unique(expected)) > 2
        np.testing.assert_array_equal(ids, expected, err_msg=str(size))
        assert 0 < milliseconds < 10_000
    assert page.requests
    assert {re.match(r"\w+:", address)[0] for address in page.requests} <= {"file:", "blob:"}
    assert not page.exceptions
    page.close()


def test_fit_is_that_of_predict(browser, workshop, tmp_path):
    content = workshop.file("int8")
    page = opened(browser, tmp_path, content, fit="stretch")
    predict = tflite_predictor(TfliteModel(content, threads=1), "stretch")
    for size in ((31, 50), (20, 100)):
        ids = page.segment(encoded(pixels(*size))).ids
        np.testing.assert_array_equal(ids, predict(pixels(*size)))
    page.close()
    page = opened(browser, tmp_path, content, fit="pad")
    with pytest.raises(RuntimeError, match="The image has 100 × 20 pixels, the file accepts 65 × 65 with fit=pad"):
        page.segment(encoded(pixels(20, 100)))
    page.close()


@pytest.mark.parametrize("kind", ["int8", "mask_stride 4", "labels at mask_stride 4"])
def test_a_letterboxed_image_has_the_class_ids_of_predict(browser, workshop, tmp_path, kind):
    content = workshop.file(kind)
    page = opened(browser, tmp_path, content, fit="letterbox")
    predict = tflite_predictor(TfliteModel(content, threads=1), "letterbox")
    # Landscape and portrait, larger and smaller than the input, and of its size.
    for size in ((90, 211), (170, 60), (20, 50), (65, 65)):
        image = pixels(*size)
        expected = predict(image)
        assert len(np.unique(expected)) > 2
        np.testing.assert_array_equal(page.segment(encoded(image)).ids, expected, err_msg=str(size))
    (tmp_path / "image.png").write_bytes(encoded(pixels(90, 211)))
    page.choose_files("#file", [tmp_path / "image.png"])
    page.wait_until("/^211 × 90 pixels, letterboxed to 65 × 65/.test(document.getElementById('status').textContent)")
    (tmp_path / "image.png").write_bytes(encoded(pixels(65, 65)))
    page.choose_files("#file", [tmp_path / "image.png"])
    page.wait_until("/^65 × 65 pixels. Time/.test(document.getElementById('status').textContent)")
    page.close()


def test_the_page_fits_images_as_the_file_states(browser, workshop, tmp_path):
    stated = write_metadata(workshop.file("int8"), LABELS, files={"origin.json": b'{"fit": "letterbox"}'})
    page = opened(browser, tmp_path, stated)
    expected = tflite_predictor(TfliteModel(workshop.file("int8"), threads=1), "letterbox")(pixels(90, 211))
    np.testing.assert_array_equal(page.segment(encoded(pixels(90, 211))).ids, expected)
    page.close()


def test_images_are_upright_and_other_files_are_refused(browser, workshop, tmp_path):
    content = workshop.file("int8")
    page = opened(browser, tmp_path, content)
    exif = Image.Exif()
    exif[0x0112] = 6  # rotated by 90 degrees
    path = tmp_path / "photo.jpg"
    path.write_bytes(encoded(pixels(90, 60), "JPEG", quality=95, exif=exif))
    image = read_image(path)
    assert image.shape == (60, 90, 3)
    np.testing.assert_array_equal(
        page.segment(path.read_bytes()).ids, tflite_predictor(TfliteModel(content, threads=1))(image)
    )
    with pytest.raises(RuntimeError, match="not an image that the browser can decode"):
        page.segment(b"text")
    assert page.state() == "ready"
    page.close()


def test_a_file_that_is_no_image_removes_the_last_image(browser, workshop, tmp_path):
    page = opened(browser, tmp_path, workshop.file("int8"))
    (tmp_path / "image.png").write_bytes(encoded(pixels(40, 65)))
    (tmp_path / "notes.txt").write_text("text")
    shown = "!document.getElementById('frame').hidden && document.querySelectorAll('#legend li').length > 0"
    hint = "!document.getElementById('hint').hidden && !document.getElementById('no-classes').hidden"
    for refuse, message in (
        (lambda: page.choose_files("#file", [tmp_path / "notes.txt"]), "notes.txt: not an image that the browser"),
        (lambda: page.evaluate("document.dispatchEvent(new DragEvent('drop'))"), "There is no image file in it."),
    ):
        page.choose_files("#file", [tmp_path / "image.png"])
        page.wait_until(shown)
        refuse()
        page.wait_until(f"{hint} && document.getElementById('frame').hidden")
        assert page.evaluate("document.querySelectorAll('#legend li').length") == 0
        assert status(page).startswith(message)
        assert page.evaluate("document.getElementById('status').classList.contains('failed')")
    assert page.state() == "ready"
    page.close()


def test_the_console_has_no_errors(browser, workshop, tmp_path):
    page = opened(browser, tmp_path, workshop.file("int8"))
    page.segment(encoded(pixels(40, 65)))
    assert any(text.startswith("INFO: ") for kind, text in page.console if kind == "debug")
    assert [text for kind, text in page.console if kind in ("error", "warning")] == []
    page.close()


def test_transparent_parts_are_read_as_black_and_named(browser, workshop, tmp_path):
    content = workshop.file("int8")
    page = opened(browser, tmp_path, content)
    image = pixels(40, 65)
    opacity = np.full((40, 65, 1), 255, np.uint8)
    opacity[10:30] = 0
    for name, shown in (("transparent.png", np.concatenate([image, opacity], axis=2)), ("opaque.png", image)):
        (tmp_path / name).write_bytes(encoded(shown))
        page.choose_files("#file", [tmp_path / name])
        page.wait_until("document.getElementById('status').textContent.startsWith('65 × 40')")
        assert ("transparent parts read as black" in status(page)) == (name == "transparent.png")
        page.evaluate("document.getElementById('status').textContent = ''")
    black = np.where(opacity > 0, image, 0).astype(np.uint8)
    expected = tflite_predictor(TfliteModel(content, threads=1))(black)
    np.testing.assert_array_equal(page.segment((tmp_path / "transparent.png").read_bytes()).ids, expected)
    page.close()


def test_nothing_can_leave_the_page(browser, workshop, tmp_path):
    addresses = []

    class Server(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            addresses.append(self.path)
            self.send_response(200)
            self.end_headers()

        def log_message(self, *_) -> None:
            pass

    server = http.server.HTTPServer(("127.0.0.1", 0), Server)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    page = opened(browser, tmp_path, workshop.file("int8"))
    address = f"http://127.0.0.1:{server.server_port}"
    with pytest.raises(RuntimeError, match="Failed to fetch"):
        page.evaluate(f"fetch('{address}/fetch')")
    source = f"fetch('{address}/worker').then(() => postMessage('sent'), (error) => postMessage(error.name))"
    worker = f"const worker = new Worker(URL.createObjectURL(new Blob([`{source}`])))"
    expression = f"new Promise((resolve) => {{ {worker}; worker.onmessage = (event) => resolve(event.data); }})"
    assert page.evaluate(expression) == "TypeError"
    page.evaluate(f"new Promise((done) => Object.assign(new Image(), {{src: '{address}/image', onerror: done}}))")
    server.shutdown()
    assert addresses == []
    page.close()


@pytest.mark.parametrize("damage", ["file", "block"])
def test_a_damaged_page_shows_an_error(browser, workshop, tmp_path, damage):
    content = workshop.file("int8")
    (tmp_path / "model.tflite").write_bytes(content)
    path = write_page(PageConfig(str(tmp_path / "model.tflite")))
    html = path.read_text()
    (text,) = re.findall('id="tflite">(.*?)</script>', html)
    broken = (
        base64.b64encode(gzip.compress(content[:4000])).decode() if damage == "file" else text[: len(text) // 8 * 4]
    )
    path.write_text(html.replace(text, broken))
    page = browser.open(path)
    assert page.state() == "error"
    assert re.fullmatch(r"The model cannot run in this browser: .{10,}", status(page)), status(page)
    with pytest.raises(RuntimeError):
        page.segment(encoded(pixels(40, 65)))
    page.close()


def test_names_are_shown_as_text(browser, workshop, tmp_path):
    content, name = workshop.file("int8"), "<script><b>&amp;.tflite"
    page = opened(browser, tmp_path, content, name)
    assert page.evaluate("document.querySelector('h1').textContent") == name
    assert page.evaluate("document.title").startswith(name)
    image = pixels(40, 65)
    (tmp_path / "image.png").write_bytes(encoded(image))
    page.choose_files("#file", [tmp_path / "image.png"])
    page.wait_until("document.querySelectorAll('#legend li').length > 0")
    legend = page.evaluate("[...document.querySelectorAll('#legend li')].map((row) => row.innerText)")
    ids = tflite_predictor(TfliteModel(content, threads=1))(image)
    counts = np.bincount(ids.ravel(), minlength=5)
    expected = {LABELS[i]: f"{100 * counts[i] / ids.size:.1f} %" for i in range(5) if counts[i]}
    assert NASTY in expected
    assert dict(row.split("\n")[:2] for row in legend) == expected
    assert page.evaluate("document.querySelectorAll('b').length") == 0
    assert page.evaluate("[0.00049, 0.0005, 1].map(percent)") == ["<0.1 %", "0.1 %", "100.0 %"]
    assert not page.exceptions
    page.close()


def test_images_come_from_drop_clipboard_and_camera(browser, workshop, tmp_path):
    page = opened(browser, tmp_path, workshop.file("int8"))
    for kind, size, event in (
        ("drop", (40, 65), "new DragEvent('drop', {dataTransfer: files, bubbles: true, cancelable: true})"),
        ("paste", (31, 50), "new ClipboardEvent('paste', {clipboardData: files, bubbles: true})"),
    ):
        image = base64.b64encode(encoded(pixels(*size))).decode()
        page.evaluate(
            f"{{ const bytes = Uint8Array.from(atob('{image}'), (c) => c.charCodeAt(0)); "
            "const files = new DataTransfer(); files.items.add(new File([bytes], 'a.png', {type: 'image/png'})); "
            f"document.getElementById('drop').dispatchEvent({event}) }}"
        )
        page.wait_until(f"document.getElementById('status').textContent.startsWith('{size[1]} × {size[0]}')")
        assert page.evaluate("document.getElementById('image').width") == size[1], kind
    several = "files.items.add(new File(['x'], 'a.txt', {type: 'text/plain'})); files.items.add(image)"
    page.evaluate(
        f"{{ const bytes = Uint8Array.from(atob('{image}'), (c) => c.charCodeAt(0)); "
        f"const image = new File([bytes], 'a.png', {{type: 'image/png'}}), files = new DataTransfer(); {several}; "
        "document.dispatchEvent(new DragEvent('drop', {dataTransfer: files, bubbles: true, cancelable: true})) }"
    )
    page.wait_until("document.getElementById('status').textContent.startsWith('One of 2 files: 50 × 31 pixels')")
    # Chromium's test image is the camera.
    page.evaluate("document.getElementById('camera').click()")
    page.wait_until("document.getElementById('video').videoWidth > 0")
    page.evaluate("document.getElementById('shoot').click()")
    page.wait_until("/^\\d{3,} × \\d{3,} pixels, stretched/.test(document.getElementById('status').textContent)")
    assert page.evaluate("document.getElementById('video').srcObject") is None
    assert not page.exceptions
    page.close()
