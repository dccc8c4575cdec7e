"""The rules of the plan after the trial: the number of updates in the time, and how often to validate."""

import math

from deeplab.config import TrainConfig
from deeplab.errors import UserError
from deeplab.plan.facts import Decision, Facts, Trial
from deeplab.plan.fine_tuning import fine_tunes

BUDGET_SHARE = 0.92
"""Share of the budget to plan with; the rest is for other processes on the machine."""

VALIDATIONS, VALIDATION_SHARE, MIN_VALIDATION_IMAGES = 8, 0.1, 10
"""Largest number of validations during a training, their share of the time, and the smallest number of their images."""

PATIENCE = 4
"""Number of validations without a better mIoU after which a training stops."""

DECODER_STEPS, MIN_STEPS, STEP_UNIT = 700, 300, 8
"""Number of updates below which the decoder costs more than it gains, and below which crops and network are smaller.

Updates are rounded to multiples of 8, the validations.
"""

MAX_EPOCHS, ALWAYS_STEPS = 150, 3000
"""Number of epochs after which more updates do not pay, unless there were fewer updates than that."""

SECONDS_BETWEEN_CHECKPOINTS = 120

PROBE_COST, FIT_SECONDS = 0.5, 10.0
"""Time of the features of a batch, which need no gradients, in updates, and of the fit of the classifier in seconds."""


def useful_steps(facts: Facts, config: TrainConfig, trial: Trial, spent: float) -> int:
    """Return the number of updates that fit into the budget, after `spent` seconds of planning; it may be negative."""
    budget = BUDGET_SHARE * 60 * facts.minutes - spent - _fixed_seconds(facts, config, trial)
    return int((1 - VALIDATION_SHARE) * budget / trial.update_seconds)


def enough_steps(facts: Facts) -> int:
    """Return the number of updates from which no cheaper recipe is tried."""
    return MIN_STEPS if facts.economy else DECODER_STEPS


def useful_minutes(facts: Facts, config: TrainConfig, trial: Trial, spent: float) -> int:
    """Return the smallest budget in minutes that holds `MIN_STEPS` updates, the inverse of `useful_steps`."""
    seconds = spent + _fixed_seconds(facts, config, trial)
    seconds += MIN_STEPS * trial.update_seconds / (1 - VALIDATION_SHARE)
    return math.ceil(seconds / BUDGET_SHARE / 60)


def steps(facts: Facts, config: TrainConfig, trial: Trial, spent: float) -> Decision:
    """Fill the budget with updates, as far as more updates pay.

    Raises:
        UserError: the budget is too small for any training.
    """
    fitting = useful_steps(facts, config, trial, spent)
    if fitting < STEP_UNIT:
        needed = useful_minutes(facts, config, trial, spent)
        problem = f"{facts.minutes:g} are too few for a training: planning took {spent / 60:.1f} minutes"
        raise UserError("minutes", problem, f"set minutes={needed} or more, or training.steps")
    largest = max(MAX_EPOCHS * facts.train_images // config.training.batch_size, ALWAYS_STEPS)
    count = max(min(fitting, largest) // STEP_UNIT, 1) * STEP_UNIT
    reason = (
        f"{count * trial.update_seconds / 60:.1f} of {facts.minutes:g} minutes at "
        f"{'an estimated ' if trial.estimated else ''}{trial.update_seconds:.2f} s per update; planning, validations "
        "and a reserve take the rest"
    )
    if fitting > largest:
        reason = f"{largest * config.training.batch_size / facts.train_images:.0f} epochs; more do not pay"
    return {"training.steps": count}, reason


def validation(facts: Facts, config: TrainConfig, trial: Trial | None) -> Decision:
    """Validate evenly over the training, on as many images as a tenth of the time holds."""
    settings, images, validations = config.training, facts.val_images, VALIDATIONS
    initial = fine_tunes(facts, config)
    if trial is not None:
        seconds = VALIDATION_SHARE * settings.steps * trial.update_seconds / (1 - VALIDATION_SHARE)
        affordable = int(seconds / trial.image_seconds)
        validations = max(min(VALIDATIONS, affordable // min(MIN_VALIDATION_IMAGES, images) - initial), 1)
    # Rounded down: only a few updates, if any, follow the last validation.
    every = settings.evaluate_every or max(settings.steps // validations, 1)
    count = settings.steps // every
    initial = initial and count > 0
    if trial is not None:
        images = max(affordable // max(count + initial, 1), MIN_VALIDATION_IMAGES)
    limit = images if images < facts.val_images else None
    reason = "before the first update and " if initial else ""
    reason += f"{count} times" if count != 1 else "once"
    reason += " during the training, on " if initial else ", on "
    reason += f"{limit} of {facts.val_images} images" if limit else f"all {facts.val_images} images"
    return {"training.evaluate_every": every, "training.evaluate_images": limit}, reason


def early_stop(facts: Facts, config: TrainConfig, trial: Trial | None) -> Decision:
    """Stop if the validation does not improve over half of the training; the best weights are the result."""
    if config.training.evaluate_every is None:
        return {"training.patience": None}, "needs training.evaluate_every"
    if config.training.steps < MIN_STEPS:
        return {"training.patience": None}, "the first updates may lower the mIoU"
    return {"training.patience": PATIENCE}, "validations without a better mIoU; the best weights are the result"


def checkpoints(facts: Facts, config: TrainConfig, trial: Trial | None) -> Decision:
    """Save a checkpoint every two minutes."""
    if trial is None:
        return {}, ""
    every = max(min(round(SECONDS_BETWEEN_CHECKPOINTS / trial.update_seconds), 500), 10)
    return {"training.save_every": every}, f"about every {every * trial.update_seconds / 60:.1g} minutes"


def forecast_seconds(facts: Facts, config: TrainConfig, trial: Trial, spent: float) -> float:
    """Return the time of the whole training in seconds, with planning and validations."""
    settings = config.training
    limit = min(settings.evaluate_images or facts.val_images, facts.val_images)
    validations = 0
    if settings.evaluate_every:
        validations = settings.steps // settings.evaluate_every
        validations += validations > 0 and fine_tunes(facts, config)
    seconds = settings.steps * trial.update_seconds + validations * limit * trial.image_seconds
    return spent + seconds + _fixed_seconds(facts, config, trial)


def _fixed_seconds(facts: Facts, config: TrainConfig, trial: Trial) -> float:
    """Return the time of a training without its updates and validations: start, linear probe and final evaluation."""
    settings, fit = config.training, 0.0
    if settings.linear_probe_images:
        fit = FIT_SECONDS + PROBE_COST * settings.linear_probe_images / settings.batch_size * trial.update_seconds
    return trial.start_seconds + fit + facts.val_images * trial.image_seconds
