"""Which trainings follow a plan."""

from deeplab.config import TrainConfig, is_given
from deeplab.errors import UserError

PLANNED_SOURCES = ("folder", "tfds")
"""Sources of the user's own data; the others have a published recipe, or are the demo."""


def is_planned(config: TrainConfig) -> bool:
    """Return whether a training follows a plan: on the user's own data, unless something else has the recipe.

    Raises:
        UserError: `plan` or `minutes` is given for a training that has no plan.
    """
    reason = ""
    if config.data.source not in PLANNED_SOURCES:
        reason = f"data={config.data.source} has a fixed recipe"
    elif is_given(config, "experiment"):
        reason = "the experiment has a fixed recipe"
    elif config.training.quantize_aware or config.first_stage is not None or config.prune.enabled:
        reason = "plans are for trainings of a float model in one stage, without pruning"
    for key in ("plan", "minutes"):
        if reason and is_given(config, key) and getattr(config, key) not in (False, None):
            raise UserError(key, f"cannot be used: {reason}", f"remove {key}")
    if config.plan is False and is_given(config, "minutes"):
        raise UserError("minutes", "is the time of a plan, and plan=false", "remove one of them")
    return not reason and config.plan is not False
