"""What evaluate.py does."""

from pathlib import Path

from rich.console import Console

from deeplab.config import EvaluateConfig, ImageSize
from deeplab.datasets.open import open_source
from deeplab.datasets.source import Source
from deeplab.evaluation.contenders import contenders
from deeplab.evaluation.fitting import Size
from deeplab.evaluation.page import Sample, best_row, extremes, page, picture_mious
from deeplab.evaluation.rows import Row, differences, measure
from deeplab.evaluation.table import notes, terminal_table, to_mapping
from deeplab.files import write_json, written_aside
from deeplab.run import data_of, describe, is_tflite, names_match

PAGE, SCORES = "evaluation.html", "evaluation.json"
FILE_WIDTH = 160
"""Letters a line of the table where it is not shown on a terminal."""


def run_evaluation(config: EvaluateConfig) -> list[Row]:
    """Measures every model at every output stride and scale setting asked for; prints and writes the table.

    Writes evaluation.json and evaluation.html into `config.out`.

    Returns:
        The rows of the table.

    Raises:
        UserError: a run, a file or the data are missing or do not fit together.
    """
    first = config.run if isinstance(config.run, str) else config.run[0]
    if not is_tflite(first):
        describe(first)  # A path that is no run is told as such, not as a run without settings.
    data = data_of(first, config.data)
    image_size = data.eval_size if config.image_size is None else config.image_size
    source = open_source(data, data.val_split, config.seed)
    found = contenders(config, image_size)
    for contender in found:
        if contender.classes is not None:
            names_match(source.classes, ("",) * contender.classes, contender.run)
    size = _size(image_size, source)
    console = Console()
    if not console.is_terminal:
        console.width = FILE_WIDTH
    rows = []
    for contender in found:
        rows.append(measure(contender, source, config, size))
        console.print(f"{contender.name}: mIoU {rows[-1].scores.miou:.2%}", style="dim", highlight=False)
    compared = differences(rows, config.resamples, config.seed)
    title = f"{source.name}, {source.size} pictures"
    console.print(terminal_table(title, rows, compared, console.width))
    for note in notes(rows, size):
        console.print(note, style="dim", highlight=False)
    out = _folder(config.out, first)
    write_json(out / SCORES, to_mapping(source.name, rows, compared, size))
    worst, best = _samples(rows[best_row(rows)], source, config.pictures)
    with written_aside(out / PAGE) as aside:
        aside.write_text(page(title, rows, compared, notes(rows, size), worst, best), encoding="utf-8")
    for path in (out / SCORES, out / PAGE):
        console.print(f"written: {path}", style="dim", highlight=False, soft_wrap=True)
    return rows


def _samples(row: Row, source: Source, count: int) -> tuple[list[Sample], list[Sample]]:
    """The worst and the best pictures of a row, predicted once more."""
    worst, best = extremes(row, count)
    if not worst:
        return [], []
    predictor, mious = row.contender.open(), picture_mious(row)

    def sample(index: int) -> Sample:
        example = source.load(index)
        return Sample(example.name, example.image, example.label, predictor(example.image), float(mious[index]))

    return [sample(i) for i in worst], [sample(i) for i in best]


def _size(image_size: ImageSize, source: Source) -> Size:
    """The (height, width) at which multiply-adds are counted: the padded size, else that of the first picture."""
    if isinstance(image_size, int):
        return image_size, image_size
    if image_size is not None:
        return image_size
    height, width = source.load(0).image.shape[:2]
    return height, width


def _folder(out: str | None, run: str) -> Path:
    """Where the results go."""
    if out is not None:
        return Path(out)
    return Path(run).parent if is_tflite(run) else Path(run)
