"""What the page contains, and which files and failures leave no page; the browser is in test_browser.py."""

import base64
import gzip
import hashlib
import json
import re
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf
from PIL import Image

from deeplab.config import PageConfig
from deeplab.datasets.shapes import CLASSES as DEMO_CLASSES
from deeplab.errors import UserError
from deeplab.tflite.metadata import write_metadata
from deeplab.web import page
from deeplab.web.litert_js import LiteRtJs
from tests.tflite.small_files import convolution_and

NASTY = '</script><b>&"'


@pytest.fixture(scope="module")
def content() -> bytes:
    """A file with uint8 scores of five classes."""
    return write_metadata(convolution_and(tf.identity, tf.uint8), (NASTY, "b", "c", "d", "e"), activation=None)


@pytest.fixture
def litert(monkeypatch):
    """LiteRT.js is replaced: nothing is fetched."""
    monkeypatch.setattr(page, "load_litert_js", lambda _: LiteRtJs("core", "loader", b"wasm"))


def written(folder: Path, content: bytes, name: str = "model.tflite", **settings: str) -> str:
    (folder / name).write_bytes(content)
    return page.write_page(PageConfig(str(folder / name), **settings)).read_text(encoding="utf-8")


def block(html: str, name: str) -> bytes:
    (text,) = re.findall(f'<script type="text/plain" id="{name}">(.*?)</script>', html)
    return gzip.decompress(base64.b64decode(text))


def facts(html: str) -> dict:
    (text,) = re.findall('<script type="application/json" id="facts">(.*?)</script>', html)
    return json.loads(text)


def test_the_page_contains_the_very_file_and_its_facts(litert, content, tmp_path):
    html = written(tmp_path, content)
    assert block(html, "tflite") == content
    assert [block(html, name) for name in ("core", "loader", "wasm")] == [b"core", b"loader", b"wasm"]
    assert hashlib.sha256(content).hexdigest() in html
    assert f"{len(content):,} bytes" in html
    values = facts(html)
    given = {"dtype": "uint8", "height": 33, "width": 33, "mean": [127.5], "std": [127.5]}
    assert values["input"].items() >= given.items()
    assert (values["output"]["height"], values["output"]["width"], values["output"]["classes"]) == (5, 5, 5)
    assert values["classes"] == [NASTY, "b", "c", "d", "e"]
    # Colors of class 1 and 2 of PASCAL VOC.
    assert values["colors"][6:18] == "800000008000"


def test_class_and_file_names_are_escaped(litert, content, tmp_path):
    html = written(tmp_path, content, "<script><b>.tflite")
    assert NASTY not in html
    assert "<b>" not in html
    assert "<title>&lt;script&gt;&lt;b&gt;.tflite" in html
    assert "&lt;/script&gt;&lt;b&gt;" in html


def test_the_policy_allows_the_scripts_and_styles_of_the_page_alone(litert, content, tmp_path):
    html = written(tmp_path, content)
    (policy,) = re.findall('<meta http-equiv="Content-Security-Policy" content="(.*?)">', html)
    rules = dict(rule.split(" ", 1) for rule in policy.split("; "))
    assert rules["default-src"] == "'none'"
    for tag, rule in (("script", "script-src"), ("style", "style-src")):
        (text,) = re.findall(f"<{tag}>(.*?)</{tag}>", html, re.DOTALL)
        hashed = base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()
        assert rules[rule].removesuffix(" 'wasm-unsafe-eval'") == f"'sha256-{hashed}'"
    assert not re.search("unsafe-inline|https?:", policy)
    assert not re.search(r"<[^>]+ (src|href|style|onclick)=", html)


def test_equal_files_give_equal_pages(litert, content, tmp_path):
    assert written(tmp_path, content) == written(tmp_path, content)


def test_the_checks_of_the_report_next_to_the_file_are_shown(litert, content, tmp_path):
    checks = [
        {"id": "x", "title": "agreement", "state": "passed", "result": "0.9877 (at least 0.98)"},
        {"id": "y", "title": "MediaPipe", "state": "not checked", "result": "is missing"},
        {"id": "z", "title": "of an earlier version", "state": "passed"},
    ]
    report = {"sha256": hashlib.sha256(content).hexdigest(), "checks": checks}
    (tmp_path / "model.report.json").write_text(json.dumps(report))
    html = written(tmp_path, content)
    assert "2 passed, 1 not checked" in html
    assert "0.9877 (at least 0.98)" in html
    assert "is missing" in html
    (tmp_path / "model.report.json").write_text(json.dumps({**report, "sha256": "0"}))
    html = written(tmp_path, content)
    assert "model.report.json belongs to another file (SHA-256 differs)" in html
    assert "is missing" not in html
    (tmp_path / "model.report.json").unlink()
    assert "no model.report.json next to the file" in written(tmp_path, content)


def test_an_example_image_is_part_of_the_page(litert, content, tmp_path):
    Image.fromarray(np.zeros((700, 1400, 3), np.uint8)).save(tmp_path / "example.png")
    html = written(tmp_path, content, example=str(tmp_path / "example.png"))
    (tmp_path / "example.jpg").write_bytes(block(html, "example"))
    with Image.open(tmp_path / "example.jpg") as image:
        assert image.size == (640, 320)
    assert 'id="example"' not in written(tmp_path, content)


def test_the_example_of_the_demo_is_a_scene_at_the_size_of_the_model(litert, tmp_path):
    seven = convolution_and(lambda x: tf.concat([x, x[..., :2]], -1), tf.uint8)
    demo = write_metadata(seven, DEMO_CLASSES, activation=None)
    (tmp_path / "example.jpg").write_bytes(block(written(tmp_path, demo), "example"))
    with Image.open(tmp_path / "example.jpg") as image:
        assert image.size == (33, 33)


@pytest.mark.parametrize("name", ["model.tflite", "page.htm", "page"])
def test_a_page_is_written_to_a_html_file_only(litert, content, tmp_path, name):
    with pytest.raises(UserError, match=r"^out: expected a name that ends in .html, got '.*'; change the name$"):
        written(tmp_path, content, out=str(tmp_path / name))
    assert [path.name for path in tmp_path.iterdir()] == ["model.tflite"]
    assert (tmp_path / "model.tflite").read_bytes() == content


@pytest.mark.parametrize(
    ("ending", "dtype", "problem"),
    [
        (lambda x: tf.argmax(x, -1), tf.uint8, "has int64 input or output, .*; export it with output=logits"),
        (tf.identity, tf.int8, "has int8 input or output, .*; export it with input_type and output_type"),
    ],
)
def test_dtypes_that_litert_js_lacks_are_refused(litert, tmp_path, ending, dtype, problem):
    with pytest.raises(UserError, match=problem):
        written(tmp_path, convolution_and(ending, dtype))
    assert [path.name for path in tmp_path.iterdir()] == ["model.tflite"]


def test_a_damaged_file_leaves_no_page(litert, content, tmp_path):
    with pytest.raises(UserError):
        written(tmp_path, content[: len(content) // 2])
    assert [path.name for path in tmp_path.iterdir()] == ["model.tflite"]


def test_an_existing_page_is_kept_if_litert_js_cannot_be_fetched(monkeypatch, content, tmp_path):
    def fail(_):
        raise UserError("npm", "is not installed", "")

    monkeypatch.setattr(page, "load_litert_js", fail)
    (tmp_path / "model.html").write_text("earlier")
    with pytest.raises(UserError, match="npm"):
        written(tmp_path, content)
    assert (tmp_path / "model.html").read_text() == "earlier"
    assert (tmp_path / "model.tflite").read_bytes() == content
