import math

import pytest

from deeplab.config import AugmentConfig, TrainingConfig
from deeplab.evaluation.scores import is_weak
from deeplab.training.notices import names_text, notices
from deeplab.training.validation_table import ValidationTable

SETTINGS = TrainingConfig(steps=600, evaluate_every=100)


def table(mious: list[float], **ious: list[float]) -> ValidationTable:
    """Validations every 100 steps."""
    return ValidationTable([100 * (i + 1) for i in range(len(mious))], {16: mious}, ious)


def log(*losses: float) -> dict[str, list[float]]:
    """A row of the log every 50 steps."""
    return {"step": [50.0 * (i + 1) for i in range(len(losses))], "cross_entropy": list(losses)}


def test_a_class_that_stays_at_zero_is_named_after_three_validations_and_half_of_the_steps_with_its_id():
    never = math.nan
    ious = {"sky": [0.5, 0.6, 0.7], "pole": [0.0, 0.004, 0.0], "bike": [0.0, 0.0, 0.006], "train": [never] * 3}
    text = notices(table([0.1, 0.2, 0.3], **ious), {}, SETTINGS)["zero"]
    assert text.startswith("pole stays at IoU 0 in all 3 validations; label more images of it, or set ")
    assert "training.augment.rare_crops=0.5 and training.augment.rare_classes=[1]" in text
    assert not notices(table([0.1, 0.2], **{name: values[:2] for name, values in ious.items()}), {}, SETTINGS)
    assert not notices(table([0.1, 0.2, 0.3], **ious), {}, TrainingConfig(steps=601, evaluate_every=100))
    used = TrainingConfig(steps=600, evaluate_every=100, augment=AugmentConfig(rare_crops=0.5, rare_classes=(1,)))
    assert notices(table([0.1, 0.2, 0.3], **ious), {}, used)["zero"].endswith("validations; label more images of it")


def test_all_classes_but_one_at_zero_are_named_once_the_model_had_time_to_learn():
    ious = {"sky": [0.4, 0.4, 0.4], "pole": [0.0] * 3, "bike": [0.0] * 3, "train": [math.nan] * 3}
    text = notices(table([0.1] * 3, **ious), {}, SETTINGS)["zero"]
    assert text.startswith("all classes but sky stay at IoU 0 in all 3 validations; train for more steps, ")
    assert not notices(table([0.1] * 2, **{name: values[:2] for name, values in ious.items()}), {}, SETTINGS)


def test_the_only_class_next_to_the_background_may_be_rare():
    ious = {"background": [0.9] * 3, "defect": [0.0] * 3}
    text = notices(table([0.45] * 3, **ious), {}, SETTINGS)["zero"]
    assert text.startswith("defect stays at IoU 0 in all 3 validations; train for more steps, check the mask values")
    assert text.endswith("or set training.augment.rare_crops=0.5 and training.augment.rare_classes=[1]")


# The best validation is after step 200, the last after 500: losses up to step 200 against those from 250 to 500.
FALLING = [0.5, 0.62, 0.6, 0.58, 0.56]


def test_overfitting_is_a_falling_validation_miou_with_a_falling_training_loss():
    text = notices(table(FALLING), log(0.9, 0.8, 0.7, 0.6, 0.5, 0.4, 0.3, 0.3, 0.3, 0.2), SETTINGS)["overfitting"]
    assert "from 62.0% after step 200 to 58.0% (mean of the last 3)" in text
    assert "the training loss fell from 0.75 to 0.3:" in text
    assert "training.patience" in text
    waiting = TrainingConfig(evaluate_every=100, patience=9)
    falling = notices(table(FALLING), log(*[1 / n for n in range(1, 11)]), waiting)["overfitting"]
    assert "training.patience" not in falling


@pytest.mark.parametrize(
    ("mious", "losses"),
    [
        (FALLING, [0.5] * 10),  # The training does not improve either.
        (FALLING[:4], [1 / n for n in range(1, 11)]),  # Two validations after the best one.
        ([0.5, 0.62, 0.615, 0.612, 0.613], [1 / n for n in range(1, 11)]),  # A fall of less than a point.
        (FALLING, []),
    ],
)
def test_other_curves_are_no_overfitting(mious, losses):
    assert not notices(table(mious), log(*losses), SETTINGS)


def test_a_class_below_half_of_the_miou_is_weak():
    assert is_weak(0.24, 0.5)
    assert not is_weak(0.25, 0.5)
    assert not is_weak(math.nan, 0.5)


def test_long_lists_of_names_are_cut():
    assert names_text(["a", "b", "c"], 2) == "a, b and 1 more"
    assert names_text(["a", "b"], 2) == "a, b"
