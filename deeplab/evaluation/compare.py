"""What evaluate.py does."""

from pathlib import Path

from rich.console import Console

from deeplab.config import EvaluateConfig, ImageSize
from deeplab.datasets.open import open_source
from deeplab.datasets.source import Source
from deeplab.evaluation.candidates import candidates
from deeplab.evaluation.evaluation_page import Sample, best_row, extremes, page, picture_mious
from deeplab.evaluation.rows import Row, differences, measure
from deeplab.evaluation.table import notes, terminal_table, to_mapping
from deeplab.files import atomic_write, write_json
from deeplab.prediction.image_fit import Size
from deeplab.run_folder import check_class_count, open_model

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
    first = open_model(config.runs[0])
    data = first.data(config.data)
    image_size = data.eval_size if config.image_size is None else config.image_size
    source = open_source(data, data.val_split, config.seed)
    found = candidates(config, image_size)
    for candidate in found:
        if candidate.classes is not None:
            check_class_count(source.classes, candidate.classes)
    size = _size(image_size, source)
    console = Console()
    if not console.is_terminal:
        console.width = FILE_WIDTH
    rows = []
    for candidate in found:
        rows.append(measure(candidate, source, config, size))
        console.print(f"{candidate.name}: mIoU {rows[-1].scores.miou:.2%}", style="dim", highlight=False)
    compared = differences(rows, config.bootstrap_samples, config.seed)
    title = f"{source.name}, {source.size} pictures"
    console.print(terminal_table(title, rows, compared, console.width))
    for note in notes(rows, size):
        console.print(note, style="dim", highlight=False)
    out = first.folder if config.out is None else Path(config.out)
    write_json(out / SCORES, to_mapping(source.name, rows, compared, size))
    worst, best = _samples(rows[best_row(rows)], source, config.example_images)
    with atomic_write(out / PAGE) as aside:
        aside.write_text(page(title, rows, compared, notes(rows, size), worst, best), encoding="utf-8")
    for path in (out / SCORES, out / PAGE):
        console.print(f"written: {path}", style="dim", highlight=False, soft_wrap=True)
    return rows


def _samples(row: Row, source: Source, count: int) -> tuple[list[Sample], list[Sample]]:
    """The worst and the best pictures of a row, predicted once more."""
    worst, best = extremes(row, count)
    if not worst:
        return [], []
    predictor, mious = row.candidate.open(), picture_mious(row)

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
