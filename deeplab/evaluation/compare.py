"""The command evaluate: a table and a page that compare runs and .tflite files."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from deeplab.config import EvaluateConfig, ImageSize
from deeplab.datasets.open import open_source
from deeplab.datasets.source import Source
from deeplab.evaluation.candidates import make_candidates
from deeplab.evaluation.evaluation_page import best_row, evaluation_page, extremes, image_mious
from deeplab.evaluation.table import Row, differences, measure, notes, percent, terminal_table, to_mapping
from deeplab.files import atomic_write, check_writable, write_json
from deeplab.rendering.console import plain_console
from deeplab.rendering.html import image_triple
from deeplab.run_folder import TrainedModel, check_class_count, open_model

EVALUATION_FILE, PAGE_FILE = "evaluation.json", "evaluation.html"


def run_evaluation(config: EvaluateConfig) -> list[Row]:
    """Evaluate each model at each requested output stride and scale setting; print and write the table.

    Writes evaluation.json and evaluation.html into `config.out`.

    Returns:
        The rows of the table.

    Raises:
        UserError: a run, a file or the data are missing or do not match.
    """
    models = [open_model(run) for run in config.runs]
    out = models[0].folder if config.out is None else Path(config.out)
    for name in (EVALUATION_FILE, PAGE_FILE):
        check_writable(out / name)
    data = models[0].data(config.data)
    source = open_source(data, data.val_split, config.seed)
    candidates = make_candidates(config, models, default_size(models[0], config.data))
    for candidate in candidates:
        if candidate.classes is not None:
            check_class_count(source.classes, candidate.classes, candidate.name)
    # Multiply-adds are counted at the size that images are fitted to, or else at the size of the first image.
    unsized = any(candidate.input.size is None for candidate in candidates)
    first: tuple[int, int] = source.load(0).image.shape[:2] if unsized else (0, 0)
    console = plain_console()
    if not console.is_terminal:
        console.width = 160
    rows = []
    for candidate in candidates:
        rows.append(measure(candidate, source, config, candidate.input.size or first))
        console.print(f"{candidate.name}: mIoU {rows[-1].scores.miou:.2%}", style="dim")
    compared = differences(rows, config.bootstrap_samples, config.seed)
    title = f"{source.name}, {source.size} images"
    explanations = notes(rows, compared)
    console.print(terminal_table(title, rows, compared, console.width))
    for note in explanations:
        console.print(note, style="dim")
    write_json(out / EVALUATION_FILE, to_mapping(source.name, rows, compared))
    worst, best = _samples(rows[best_row(rows)], source, config.example_images)
    with atomic_write(out / PAGE_FILE) as temporary:
        temporary.write_text(evaluation_page(title, rows, compared, explanations, worst, best), encoding="utf-8")
    for path in (out / EVALUATION_FILE, out / PAGE_FILE):
        console.print(f"wrote {path}", style="dim", soft_wrap=True)
    return rows


def default_size(model: TrainedModel, changes: Mapping[str, Any] | None) -> ImageSize:
    """Return the size of the evaluation in the training of a run, which predict.py takes too, or that of other data.

    The `image_size` of a training with `data.resize` applies to its run only; the other models take that of the data.

    Args:
        model: the first model of the evaluation.
        changes: the keys of DataConfig that replace those of its training.
    """
    training = model.training
    if training is None or training.data.resize != "none" or {"source", "eval_size"} & set(changes or {}):
        return model.data(changes).eval_size
    return training.eval_size


def _samples(row: Row, source: Source, count: int) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """Return the worst and the best images of a row, with their predictions."""
    worst, best = extremes(row, count)
    if not worst:
        return [], []
    predictor, mious = row.candidate.make_predictor(), image_mious(row)

    def triple(index: int) -> dict[str, Any]:
        example = source.load(index)
        caption = f"{example.name}: mIoU {percent(mious[index])}"
        return image_triple(caption, example.image, example.label, predictor(example.image))

    return [triple(i) for i in worst], [triple(i) for i in best]
