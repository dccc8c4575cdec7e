"""validation.csv: mIoU at each output stride and IoU of each class, one row per validation during a training."""

import math
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from deeplab.evaluation.confusion import class_counts, iou_of_labeled
from deeplab.evaluation.scores import Scores
from deeplab.training.csv_log import append_row, read_table, start_table

VALIDATION_FILE = "validation.csv"
_MIOU, _IOU = "miou_os", "iou_"


@dataclass(frozen=True)
class ValidationTable:
    """The validations of a training, in order.

    Attributes:
        steps: number of updates before each validation.
        mious: mIoU of each validation, 0..1, by output stride. The first output stride decides which is the best.
        ious: IoU of each validation, 0..1, by class name, at the first output stride. NaN if the class does not occur
            in the labels.
    """

    steps: list[int]
    mious: dict[int, list[float]]
    ious: dict[str, list[float]]

    @property
    def deciding(self) -> list[float]:
        """The mIoU of each validation at the first output stride."""
        return next(iter(self.mious.values()), [])

    @property
    def best(self) -> int | None:
        """Index of the best validation, the first of equal ones; None without validations."""
        return max(range(len(self.deciding)), key=self.deciding.__getitem__, default=None)

    @property
    def since_best(self) -> int:
        """Number of validations after the best one."""
        return 0 if self.best is None else len(self.steps) - 1 - self.best


def start_validation_table(folder: Path, strides: Sequence[int], classes: Sequence[str], start: int) -> None:
    """Create the table, or remove the rows that a training from step `start` writes again.

    These are the rows after this step. A training from step 0 also removes the row of step 0.
    """
    columns = ["step", *(f"{_MIOU}{stride}" for stride in strides), *(f"{_IOU}{name}" for name in classes)]
    start_table(folder / VALIDATION_FILE, columns, start or -1)


def append_validation(folder: Path, step: int, scores: dict[int, Scores]) -> None:
    """Add the scores by output stride after `step` updates, without rounding: the best is found again in the table."""
    ious = iou_of_labeled(class_counts(next(iter(scores.values())).matrix))
    row = [step, *(score.miou for score in scores.values()), *map(float, ious)]
    append_row(folder / VALIDATION_FILE, row)


def read_validations(folder: Path, begin: int = 0, end: float = sys.maxsize) -> ValidationTable:
    """Read the validations of the steps `begin` to `end`; tables of older versions have no columns of classes."""
    columns = read_table(folder / VALIDATION_FILE)
    rows = [row for row, step in enumerate(columns.get("step", [])) if begin <= step <= end]
    kept = {name: [values[row] for row in rows] for name, values in columns.items()}
    steps = [int(step) for step in kept.get("step", [])]
    mious = {int(name.removeprefix(_MIOU)): kept[name] for name in kept if name.startswith(_MIOU)}
    ious = {name.removeprefix(_IOU): kept[name] for name in kept if name.startswith(_IOU)}
    return ValidationTable(steps, mious, ious)


def labeled(ious: dict[str, list[float]]) -> dict[str, list[float]]:
    """Return the curves of the classes that occur in the labels."""
    return {name: values for name, values in ious.items() if not all(map(math.isnan, values))}
