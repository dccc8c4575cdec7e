"""What the curves of a training say in words: classes that stay at zero, and overfitting."""

from collections.abc import Mapping, Sequence

import numpy as np

from deeplab.config import TrainingConfig
from deeplab.training.validation_table import ValidationTable, labeled

MIN_VALIDATIONS = 3
"""Number of validations before anything is said; a single one varies by a point of mIoU or more."""

ZERO_IOU = 0.005
"""IoU below which a class counts as not learned."""

MIN_ZERO_SHARE = 0.5
"""Share of the steps before which a class may be at zero: rare classes are learned last."""

MIN_FALL = 0.01
"""Fall of the mean validation mIoU from its maximum, 0..1, that is more than its usual variation."""

MAX_NAMES = 8
"""Number of class names in a notice."""


def notices(
    validations: ValidationTable, log: Mapping[str, Sequence[float]], settings: TrainingConfig
) -> dict[str, str]:
    """Return sentences about the training so far, by kind: "zero" and "overfitting".

    Args:
        validations: the validations so far.
        log: the columns of log.csv.
        settings: the training recipe; the remedies name settings that it does not have yet.
    """
    found = {"zero": _zero_classes(validations, settings), "overfitting": _overfitting(validations, log, settings)}
    return {kind: text for kind, text in found.items() if text}


def names_text(names: Sequence[str], limit: int = MAX_NAMES) -> str:
    """Return names separated by commas; of more than `limit`, the first and the number of the others."""
    return ", ".join(names[:limit]) + (f" and {len(names) - limit} more" if len(names) > limit else "")


def subset_text(settings: TrainingConfig, size: int | None) -> str:
    """Return " on the first N of M images" if validations use a part of a split of `size` images, else ""."""
    images = settings.evaluate_images
    return "" if images is None or size is None or images >= size else f" on the first {images:,} of {size:,} images"


def _zero_classes(validations: ValidationTable, settings: TrainingConfig) -> str:
    """Name the classes whose IoU was below `ZERO_IOU` in every validation of more than half a training."""
    if len(validations.steps) < MIN_VALIDATIONS or validations.steps[-1] < MIN_ZERO_SHARE * settings.steps:
        return ""
    curves = labeled(validations.ious)
    zero = [name for name, ious in curves.items() if np.nanmax(ious) < ZERO_IOU]
    if not zero:
        return ""
    count = len(validations.steps)
    collapsed = len(zero) == len(curves) - 1
    if collapsed and len(zero) > 1:
        (only,) = curves.keys() - zero
        return (
            f"all classes but {only} stay at IoU 0 in all {count} validations; train for more steps, or check the mask "
            "values and training.learning_rate"
        )
    verb, pronoun = ("stays", "it") if len(zero) == 1 else ("stay", "them")
    remedy = "train for more steps, check the mask values, " * collapsed + f"label more images of {pronoun}"
    if not settings.augment.rare_crops:
        ids = ",".join(str(i) for i, name in enumerate(validations.ious) if name in zero)
        remedy += f", or set training.augment.rare_crops=0.5 and training.augment.rare_classes=[{ids}]"
    return f"{names_text(zero)} {verb} at IoU 0 in all {count} validations; {remedy}"


def _overfitting(validations: ValidationTable, log: Mapping[str, Sequence[float]], settings: TrainingConfig) -> str:
    """Say that the validation mIoU has fallen since its best, while the training loss without weight decay fell too.

    The training loss is the median since the best validation, compared with that of as many updates before.
    """
    best, count = validations.best, validations.since_best
    if best is None or count < MIN_VALIDATIONS:
        return ""
    mious, steps = validations.deciding, np.asarray(log.get("step", ()))
    recent = float(np.mean(mious[-MIN_VALIDATIONS:]))
    middle, end = validations.steps[best], validations.steps[-1]
    losses = np.asarray(log.get("cross_entropy", ()))
    before, after = losses[(steps > 2 * middle - end) & (steps <= middle)], losses[(steps > middle) & (steps <= end)]
    if mious[best] - recent < MIN_FALL or not len(before) or not len(after) or np.median(after) >= np.median(before):
        return ""
    remedy = "add images, or use fewer training.steps or a smaller training.learning_rate"
    if settings.patience is None:
        remedy += "; training.patience stops in time and keeps the best weights"
    return (
        f"Validation mIoU has fallen from {mious[best]:.1%} after step {middle} to {recent:.1%} (mean of the last "
        f"{MIN_VALIDATIONS}), while the training loss fell from {np.median(before):.3g} to {np.median(after):.3g}: the "
        f"model overfits; {remedy}"
    )
