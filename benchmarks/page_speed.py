"""Measures the pages of .tflite files in Chromium.

    python -m benchmarks.page_speed FILE... [--rounds 30]

Writes the page of each file to a temporary folder and opens it. Prints a row for each file: bytes of the page; seconds
from the request of the page until its model has run; milliseconds of the model in the page, of the whole call of
`segment` (decoding, fitting, model, class ids), and of the same file in Python's LiteRT with one thread: the median
and, in parentheses, the minimum. Every round runs page and Python once, so that other load on the machine affects both;
the load is printed. The image is a drawn scene of 480x640 pixels. `--rounds 0` measures no times, which a busy machine
would change: only the bytes and the class ids.
"""

import argparse
import io
import os
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from PIL import Image

from benchmarks.chromium import Chromium, chromium
from deeplab.config import PageConfig
from deeplab.datasets.shapes import shapes_source
from deeplab.errors import UserError
from deeplab.prediction.predictor import tflite_predictor
from deeplab.tflite.interpreter import TfliteModel
from deeplab.web.page import write_page

COLUMNS = ("model", "input", "bytes of the page", "s to ready", "ms model", "ms call", "ms Python", "equal ids")

OPENINGS = 5
"""Number of times that each page is opened."""


def print_row(browser: Chromium, path: Path, image: np.ndarray, rounds: int) -> None:
    buffer = io.BytesIO()
    Image.fromarray(image).save(buffer, "JPEG", quality=95, subsampling=0)
    content = buffer.getvalue()
    model = TfliteModel(path, threads=1)
    predictor = tflite_predictor(model)
    received = np.asarray(Image.open(buffer))
    scene = np.asarray(Image.fromarray(received).resize(model.image_size[::-1], Image.Resampling.BILINEAR))
    tensor = model.prepare(scene)
    with tempfile.TemporaryDirectory() as folder:
        page_path = write_page(PageConfig(str(path), str(Path(folder) / "page.html")))
        size, openings = page_path.stat().st_size, []
        for _ in range(OPENINGS if rounds else 1):
            page = browser.open(page_path)
            if page.state() != "ready":
                raise SystemExit(f"error: {path}: the page does not start")
            start = "performance.getEntriesByName('ready')[0].startTime"
            openings.append(page.evaluate(start) / 1000)
            if rounds and len(openings) < OPENINGS:
                page.close()
        equal = float((page.segment(content).ids == predictor(received)).mean())
        times = []
        for _ in range(rounds):
            started = time.perf_counter()
            model.run(tensor)
            python = time.perf_counter() - started
            segmented = page.segment(content)
            times.append((segmented.model_milliseconds, segmented.call_milliseconds, 1000 * python))
        page.close()
    cells = [_cell(column, ".1f") for column in zip(*times, strict=True)] or ["-"] * 3
    given = f"{model.input.dtype} {'x'.join(map(str, model.image_size))}"
    row = (path.name, given, f"{size:,}", _cell(openings, ".2f") if rounds else "-", *cells, f"{equal:.2%}")
    print(f"| {' | '.join(row)} |", flush=True)


def _cell(values: Sequence[float], form: str) -> str:
    return f"{np.median(values):{form}} ({min(values):{form}})"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("files", nargs="+", type=Path)
    parser.add_argument("--rounds", type=int, default=30)
    args = parser.parse_args()
    image = shapes_source("page_speed", 640).load(0).image[:480]
    print(f"load of the machine: {os.getloadavg()[0]:.1f} on {os.cpu_count()} cores\n")
    print(f"| {' | '.join(COLUMNS)} |\n{'|---' * len(COLUMNS)}|")
    try:
        with chromium() as browser:
            for path in args.files:
                print_row(browser, path, image, args.rounds)
    except (UserError, FileNotFoundError) as error:
        raise SystemExit(f"error: {error}") from None


if __name__ == "__main__":
    main()
