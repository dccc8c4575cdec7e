"""training.html: how a training goes, in one file that needs no network and no server."""

import csv
from collections.abc import Callable, Sequence
from html import escape
from pathlib import Path
from typing import Any

import keras
import numpy as np

from deeplab.config import TrainConfig
from deeplab.datasets.source import Example
from deeplab.evaluation.evaluation_page import chip, document, triple
from deeplab.files import atomic_write
from deeplab.rendering.charts import curves
from deeplab.run_folder import LOG_FILE
from deeplab.training.validation import CURVE

PAGE = "training.html"
POINTS = 150
"""At most so many points of a curve are drawn, each the median of its stretch."""
REFRESH = 60
"""Seconds after which a browser looks again while the training goes on."""


class TrainingPage(keras.callbacks.Callback):
    """Writes the page anew where a state is saved, where the validation split is measured, and at the end."""

    def __init__(
        self,
        folder: Path,
        config: TrainConfig,
        examples: Sequence[Example],
        predict: Callable[[np.ndarray], np.ndarray],
    ) -> None:
        super().__init__()
        self.folder, self.config, self.examples, self.predict = folder, config, examples, predict

    def on_train_batch_end(self, batch: int, logs: Any = None) -> None:
        """Writes it where it is due."""
        done, settings = batch + 1, self.config.training
        measured = settings.evaluate_every is not None and done % settings.evaluate_every == 0
        if measured or done % settings.save_every == 0 or done == settings.steps:
            shown = [(example, self.predict(example.image)) for example in self.examples]
            with atomic_write(self.folder / PAGE) as aside:
                aside.write_text(training_page(self.folder, self.config, done, shown), encoding="utf-8")


def training_page(folder: Path, config: TrainConfig, done: int, shown: Sequence[tuple[Example, np.ndarray]]) -> str:
    """The page as HTML, from what log.csv and validation.csv in `folder` hold.

    Args:
        folder: the run folder.
        config: its settings.
        done: how many updates are made.
        shown: validation pictures with the class ids `[h, w]` that the network gives them now.
    """
    steps = config.training.steps
    log, measured = read_table(folder / LOG_FILE), read_table(folder / CURVE)
    mious = [(name, measured[name]) for name in measured if name != "step" and measured[name]]
    key = " ".join(f"{chip(i)} output stride {name.removeprefix('miou_os')}" for i, (name, _) in enumerate(mious, 1))
    lines = [
        (i, list(zip(measured["step"], [100 * m for m in values], strict=True)))
        for i, (_, values) in enumerate(mious, start=1)
    ]
    latest = "".join(
        f"<li>mIoU at output stride {name.removeprefix('miou_os')}: {values[-1]:.2%} after step "
        f"{measured['step'][-1]:.0f}</li>"
        for name, values in mious
    )
    title = f"Training {folder.name}: step {done} of {steps}"
    sections = [
        f"<h1>{escape(title)}</h1><p>{escape(_what(config))}</p><ul>{latest}</ul>",
        '<div class="grid2">',
        _card("Validation mIoU", key, curves(lines, "step", "mIoU, %")) if mious else "",
        _curve("Loss", "weight decay included", log, "loss"),
        _curve("Learning rate", "", log, "learning_rate"),
        _curve("Speed", "", log, "images_per_second"),
        "</div>",
    ]
    if shown:
        figures = "".join(triple(example.image, example.label, ids, example.name) for example, ids in shown)
        sections.append(f'<h2>Validation pictures, truth, prediction now</h2><div class="grid2">{figures}</div>')
    return document(title, sections, REFRESH if done < steps else None)


def read_table(path: Path) -> dict[str, list[float]]:
    """The columns of a CSV file of numbers; none where there is no file."""
    if not path.is_file():
        return {}
    with path.open(newline="") as file:
        header, *rows = list(csv.reader(file)) or [[]]
    whole = [row for row in rows if len(row) == len(header)]
    return {name: [float(row[i]) for row in whole] for i, name in enumerate(header)}


def thinned(points: Sequence[tuple[float, float]], most: int = POINTS) -> list[tuple[float, float]]:
    """At most `most` points: the medians of equal stretches."""
    stretches = np.array_split(np.array(points, np.float64).reshape(-1, 2), min(most, max(len(points), 1)))
    return [(float(np.median(s[:, 0])), float(np.median(s[:, 1]))) for s in stretches if len(s)]


def _what(config: TrainConfig) -> str:
    """The settings in a sentence."""
    model, settings = config.model, config.training
    return (
        f"{model.backbone} with head {model.head}, {model.classes} classes, on {config.data.source}; batches of "
        f"{settings.batch_size} crops of {settings.crop_size} pixels at output stride {settings.output_stride}; "
        f"{settings.optimizer} from {settings.learning_rate:g}."
    )


def _curve(title: str, note: str, log: dict[str, list[float]], column: str) -> str:
    if not log.get(column):
        return ""
    points = thinned(list(zip(log["step"], log[column], strict=True)))
    spread = max(p[1] for p in points) - min(p[1] for p in points)
    label = column.replace("_", " ")
    # Equal values still need an axis of some height.
    return _card(title, note, curves([(1, points)], "step", label, air=0 if spread else max(abs(points[0][1]), 1e-6)))


def _card(title: str, note: str, chart: str) -> str:
    """A chart with its title; `note` is HTML."""
    return f'<div class="card"><h3>{escape(title)}</h3><p>{note}</p>{chart}</div>'
