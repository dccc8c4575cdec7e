"""What a training reached: its last lines."""

import math
import os
from collections.abc import Mapping
from pathlib import Path

from deeplab.config import ExportConfig, TrainConfig
from deeplab.config.command_line import command_line, command_name
from deeplab.evaluation.confusion import class_counts, iou_of_labeled
from deeplab.evaluation.scores import Scores, is_weak
from deeplab.files import list_checkpoints
from deeplab.run_folder import STATE_FOLDER, read_training_config
from deeplab.training.checkpoint import checkpoint_step
from deeplab.training.notices import names_text, subset_text
from deeplab.training.training_page import PAGE
from deeplab.training.validation import BEST_WEIGHTS_FILE
from deeplab.training.validation_table import read_validations


def summary(folder: Path, scores: Mapping[int, Scores]) -> list[str]:
    """Return the result of a complete run as lines: scores, weak classes, and the command that exports it.

    Args:
        folder: the run folder.
        scores: on the validation split, by output stride. The first decides which classes are weak.
    """
    config = read_training_config(folder)
    lines = [
        f"output stride {stride:2d}: mIoU {score.miou:.2%}  pixel accuracy {score.pixel_accuracy:.2%}"
        for stride, score in scores.items()
    ]
    stride, first = next(iter(scores.items()))
    count = len(first.names)
    lines.append(f"on {count:,} image{'s' * (count != 1)} of data={config.data.source}, split {config.data.val_split}")
    lines += [_weights(folder, config, count), *_initial(folder, config, count), *_classes(first, stride)]
    path = os.path.relpath(folder)
    export = command_line(command_name("export"), ExportConfig(run=path, output_stride=stride))  # type: ignore[arg-type]
    return [*lines, f"run folder: {path}; curves and images: {os.path.join(path, PAGE)}", f"export: {export}"]


def _weights(folder: Path, config: TrainConfig, images: int) -> str:
    """Return which weights the run has; `images` is the number of images of the validation split."""
    validations, steps = read_validations(folder), config.training.steps
    best = validations.best if config.training.result == "best" else None
    if best is None:
        checkpoints = list_checkpoints(folder / STATE_FOLDER)
        done = checkpoint_step(checkpoints[-1]) if checkpoints else steps
        return f"weights: the last, of {f'step {done:,} of ' if done < steps else ''}{steps:,} steps"
    count, part = len(validations.steps), subset_text(config.training, images)
    if not validations.steps[best]:
        return f"weights: the initial ones (step 0), the best of {count} validations{part}; no later one was better"
    return f"weights: the best of {count} validations{part}, of step {validations.steps[best]:,} of {steps:,}"


def _initial(folder: Path, config: TrainConfig, images: int) -> list[str]:
    """Return a line if a run with its last weights had no better validation than that of its initial weights."""
    validations = read_validations(folder)
    if config.training.result == "best" or validations.best != 0 or validations.steps[0]:
        return []
    part, miou = subset_text(config.training, images), validations.deciding[0]
    remedy = f"{BEST_WEIGHTS_FILE} has them, and a training with training.result=best ends with them"
    return [f"no validation{part} was better than that of the initial weights, {miou:.2%}; {remedy}"]


def _classes(score: Scores, stride: int) -> list[str]:
    """Return the weak classes, weakest first, and those that the labels do not contain."""
    ious = dict(zip(score.classes, map(float, iou_of_labeled(class_counts(score.matrix))), strict=True))
    weak = sorted((name for name, iou in ious.items() if is_weak(iou, score.miou)), key=ious.__getitem__)
    lines = ["weak classes: none has less than half of the mIoU"]
    if weak:
        named = names_text([f"{name} {ious[name]:.1%}" for name in weak])
        lines = [f"weak classes (less than half of the mIoU, output stride {stride}): {named}"]
    absent = [name for name, iou in ious.items() if math.isnan(iou)]
    if absent:
        lines.append(f"not in the labels of this split, hence not measured: {names_text(absent)}")
    return lines
