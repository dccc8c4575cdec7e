"""The page is complete and well-formed, needs no network, and fits a phone in a real browser."""

import html
import json
import re
import shutil
import subprocess
from html.parser import HTMLParser

import numpy as np
import pytest

from deeplab.config import EvaluateConfig
from deeplab.datasets.source import Example, Source
from deeplab.evaluation.candidates import Candidate
from deeplab.evaluation.evaluation_page import best_row, evaluation_page, extremes, image_mious
from deeplab.evaluation.table import Row, differences, measure, notes
from deeplab.prediction.predictor import Predictor
from deeplab.rendering.html import image_triple

NAMES = tuple(f"class {i} & more" for i in range(21))
VOID = {"meta", "img"}


def load(index: int) -> Example:
    rng = np.random.default_rng(index)
    label = np.kron(rng.integers(0, 21, (4, 5)), np.ones((12, 12), int)).astype(np.uint8)
    image = np.repeat((label * 12)[..., None], 3, axis=2)
    return Example(image, label, f"image <{index}>")


SOURCE = Source("test/val", NAMES, 7, load)


def candidate(name: str, wrong: float, stride: int | None) -> Candidate:
    def run(image: np.ndarray) -> np.ndarray:
        ids = image[..., 0].astype(np.int64) // 12
        rng = np.random.default_rng(int(ids.sum()))
        return np.where(rng.random(ids.shape) < wrong * rng.random(), (ids + 1) % 21, ids)

    return Candidate(
        name, name[:8], stride, (1.0,), False, 2_000_000, 21, lambda: Predictor(run), lambda s: 1000 + int(wrong * 1e4)
    )


@pytest.fixture(scope="module")
def rows() -> list[Row]:
    config = EvaluateConfig("x", trimap_widths=(1, 3, 8), bootstrap_samples=50)
    long = "a_very_long_name_of_a_model_file_that_no_phone_can_show_on_one_line.tflite"
    made = [("first_model OS16", 0.5, 16), ("first_model OS8 <b>", 0.3, 8), (long, 0.7, None)]
    return [measure(candidate(*each), SOURCE, config, (48, 60)) for each in made]


@pytest.fixture(scope="module")
def content(rows: list[Row]) -> str:
    samples = [image_triple(e.name, e.image, e.label, e.label) for e in map(load, range(2))]
    return evaluation_page(
        "test/val & more",
        rows,
        differences(rows, 50, 0),
        notes(rows, differences(rows, 50, 0)),
        samples,
        samples,
    )


class Checker(HTMLParser):
    """Checks that every element is closed, and collects the text."""

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.text = ""

    def handle_starttag(self, tag: str, attrs: list) -> None:
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        if tag not in VOID:
            assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.text += data


def test_the_page_is_well_formed_and_shows_every_row(content, rows):
    checker = Checker()
    checker.feed(content)
    assert checker.open == []
    for row in rows:
        assert row.name in checker.text
        assert f"{100 * row.scores.miou:.2f}" in checker.text
    for heading in (
        "Accuracy against cost",
        "Differences",
        "IoU of each class",
        "Near borders",
        "Confusion matrix",
        "Worst",
    ):
        assert heading in checker.text
    assert "image <0>" in checker.text
    assert content.count("<img") == 12


def test_the_page_needs_no_network(content):
    assert "//" not in re.sub(r"data:image/jpeg;base64,[\w+/=]+", "", content)
    assert "<script" not in content


def test_the_best_row_is_among_those_with_the_maximum_number_of_images(rows):
    assert best_row(rows) == 1
    fewer = measure(
        candidate("few", 0.0, 8), Source("t", NAMES, 3, load), EvaluateConfig("x", trimap_widths=()), (48, 60)
    )
    assert best_row([*rows, fewer]) == 1


def test_extremes_are_the_worst_and_the_best_images(rows):
    mious = image_mious(rows[0])
    worst, best = extremes(rows[0], 2)
    assert worst == list(np.argsort(mious)[:2])
    assert best == list(np.argsort(mious)[::-1][:2])
    assert extremes(rows[0], 100) == (list(np.argsort(mious)[:3]), list(np.argsort(mious)[::-1][:3]))
    # Expected: a plain loop over the classes of one image.
    example = load(worst[0])
    guess = rows[0].candidate.make_predictor()(example.image)
    ious = [
        ((example.label == c) & (guess == c)).sum() / ((example.label == c) | (guess == c)).sum()
        for c in range(21)
        if ((example.label == c) | (guess == c)).any()
    ]
    assert mious[worst[0]] == pytest.approx(np.mean(ious))


MEASURE = """
<body style="margin:0"><iframe id="f" style="width:390px;height:800px;border:0" srcdoc="PAGE"></iframe>
<pre id="out"></pre>
<script>
document.getElementById('f').onload = () => {
  const d = document.getElementById('f').contentDocument, root = d.documentElement;
  const inside = [...d.querySelectorAll('body *')].filter(e => !e.closest('.scroll') && !e.closest('svg'));
  const images = [...d.images];
  document.getElementById('out').textContent = JSON.stringify({
    width: root.scrollWidth, widest: Math.max(...inside.map(e => e.getBoundingClientRect().right)),
    broken: images.filter(i => !i.naturalWidth).length, images: images.length,
    font_size: Math.min(...[...d.querySelectorAll('svg text')].map(t =>
      parseFloat(d.defaultView.getComputedStyle(t).fontSize) * t.ownerSVGElement.getBoundingClientRect().width / 360)),
    background: d.defaultView.getComputedStyle(d.body).backgroundColor});
};
</script></body>
"""


@pytest.mark.slow
@pytest.mark.parametrize(("scheme", "background"), [(1, "rgb(253, 253, 252)"), (0, "rgb(20, 23, 26)")])
def test_the_page_fits_a_phone_in_light_and_dark(content, tmp_path, scheme, background):
    browser = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    if browser is None:
        pytest.skip("Chromium is not installed")
    (tmp_path / "phone.html").write_text(MEASURE.replace("PAGE", html.escape(content)), encoding="utf-8")
    flags = (
        "--headless --no-sandbox --disable-gpu --disable-quic --no-first-run --disable-background-networking "
        "--disable-component-update --disable-sync --virtual-time-budget=10000"
    )
    command = [
        browser,
        *flags.split(),
        f"--blink-settings=preferredColorScheme={scheme}",
        f"--user-data-dir={tmp_path / 'p'}",
    ]
    result = subprocess.run(
        [*command, "--dump-dom", (tmp_path / "phone.html").as_uri()],
        capture_output=True,
        text=True,
        timeout=120,
        check=True,
    )
    measured = json.loads(html.unescape(re.search(r'<pre id="out">(.*?)</pre>', result.stdout)[1]))
    assert measured["width"] <= 390
    assert measured["widest"] <= 390
    assert measured["broken"] == 0
    assert measured["images"] == 12
    assert measured["font_size"] >= 8
    assert measured["background"] == background
