"""Writes the images of the guides in docs/ from a run folder, and the chart from evaluations and times.

    python -m benchmarks.guide_images pages RUN OUT
    python -m benchmarks.guide_images chart OUT.svg evaluation.json... --times TABLE.md

`pages` needs Chromium and, in RUN, data_check.png, training.html and evaluation.html: it writes the sheet of labeled
samples and screenshots of the pages as small PNG files. `chart` draws mIoU with its interval against milliseconds for
the rows of evaluations; TABLE.md is what `python -m benchmarks.export_speed` printed for the same files. Rows whose
names differ only in the size at their end (depth1.0_os16_257.tflite) have one number and color.
"""

import argparse
import re
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path

from PIL import Image

from benchmarks.chromium import chromium
from deeplab.files import atomic_write, read_json
from deeplab.rendering.charts import Point, scatter

WIDTH = 1120
"""Width of the screenshots in pixels."""

PAGES = {"training.html": ("training.png", 1330), "evaluation.html": ("evaluation.png", 950)}
"""The pages of a run: the file to write, and the height that is shown."""

_STYLE = Path(__file__).parents[1] / "deeplab" / "rendering" / "templates" / "style.css"


def write_pages(run: Path, out: Path) -> None:
    """Write the data-check sheet and a screenshot of each page of a run."""
    with Image.open(run / "data_check.png") as sheet:
        save_small(sheet.convert("RGB"), out / "data_check.png", 800)
    with chromium() as browser:
        for name, (file, height) in PAGES.items():
            page = browser.open(run / name, WIDTH, height)
            page.wait_until("document.readyState === 'complete'")
            page.evaluate("document.documentElement.style.overflow = 'hidden'")  # No scroll bar.
            with tempfile.TemporaryDirectory() as folder:
                page.screenshot(Path(folder) / file, full=False)
                with Image.open(Path(folder) / file) as screenshot:
                    save_small(screenshot.convert("RGB"), out / file)
            page.close()


def save_small(image: Image.Image, path: Path, width: int = WIDTH) -> None:
    """Write an image as PNG with at most `width` columns and 256 colors."""
    if image.width > width:
        image = image.resize((width, round(image.height * width / image.width)), Image.Resampling.LANCZOS)
    with atomic_write(path) as temporary:
        image.quantize(256, Image.Quantize.MEDIANCUT, dither=Image.Dither.NONE).save(temporary, "PNG", optimize=True)


def chart(evaluations: Sequence[Path], times: Mapping[str, float]) -> tuple[str, list[str]]:
    """Return mIoU against milliseconds as an SVG file, and the groups of rows by number from 1."""
    rows = [row for path in evaluations for row in read_json(path)["rows"]]
    groups = sorted({group(row["name"]) for row in rows})
    points = [
        Point(
            groups.index(group(row["name"])) + 1,
            times[row["name"]],
            100 * row["miou"],
            100 * row["miou_interval"][0],
            100 * row["miou_interval"][1],
            row["name"],
        )
        for row in rows
    ]
    return standalone(str(scatter(points, "ms per image", "mIoU"))), groups


def read_times(table: str) -> dict[str, float]:
    """Return the milliseconds of each file in the table that `benchmarks.export_speed` prints."""
    rows = [[cell.strip() for cell in line.split("|")[1:-1]] for line in table.splitlines() if line.startswith("| ")]
    heading, *values = rows
    name, milliseconds = heading.index("model"), heading.index("ms")
    return {row[name]: float(row[milliseconds]) for row in values}


def group(name: str) -> str:
    """Return a row's name without the size at its end."""
    return re.sub(r"_\d+(\.tflite)?$", "", name)


def standalone(svg: str) -> str:
    """Return an SVG element of a page as a file with the colors and the font of the pages, in light and dark."""
    css = _STYLE.read_text(encoding="utf-8")
    colors = css[: css.index("* { box-sizing")]
    style = f"<style>{colors} svg {{ background: var(--background); font-family: system-ui, sans-serif; }}</style>"
    return svg.replace("<svg ", '<svg xmlns="http://www.w3.org/2000/svg" width="720" ', 1).replace(">", f">{style}", 1)


def main(arguments: Sequence[str] | None = None) -> None:
    """Write the images that the arguments name."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parts = parser.add_subparsers(dest="part", required=True)
    pages = parts.add_parser("pages")
    pages.add_argument("run", type=Path)
    pages.add_argument("out", type=Path)
    drawing = parts.add_parser("chart")
    drawing.add_argument("out", type=Path)
    drawing.add_argument("evaluations", type=Path, nargs="+")
    drawing.add_argument("--times", type=Path, required=True)
    given = parser.parse_args(arguments)
    if given.part == "pages":
        write_pages(given.run, given.out)
        return
    svg, groups = chart(given.evaluations, read_times(given.times.read_text(encoding="utf-8")))
    with atomic_write(given.out) as temporary:
        temporary.write_text(svg, encoding="utf-8")
    for number, name in enumerate(groups, 1):
        print(f"{number}: {name}")


if __name__ == "__main__":
    main()
