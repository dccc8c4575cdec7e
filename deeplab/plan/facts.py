"""What a plan is made from, statistics of the data and measurements on the machine, and what its rules return."""

import dataclasses
from dataclasses import dataclass
from typing import Any

from deeplab.data_check.statistics import SplitStatistics

Decision = tuple[dict[str, Any], str]
"""Values by setting ("training.steps"), and the reason for them."""


@dataclass(frozen=True)
class Facts:
    """What is known of the data, the machine and the weights.

    Attributes:
        classes: class names by id.
        train: statistics of the training split.
        val: statistics of the validation split.
        minutes: the time budget.
        has_gpu: whether the training runs on a GPU.
        replicas: number of devices that share a batch.
        memory: bytes of memory of the machine; None if unknown.
        missing_weights: why the weights `official` cannot be used, in a sentence with the remedy; None if they can.
        missing_small_weights: the same of `official_050`, as far as the plan needs them.
        given_head: head of the weights that were given by hand; None without, or if they do not describe a network.
        given_classes: class names of these weights; () without.
        explained: share of the entropy of the labels that the classes predicted by the pretrained weights explain, 0 to
            1; None if no rule needs it or it is not known. It is measured after the trial, with the planned crops.
        economy: 0 for the best recipe; 1 without decoder; 2 with smaller crops too; 3 with the smaller network too. A
            budget that is too small for a useful number of updates raises it.
    """

    classes: tuple[str, ...]
    train: SplitStatistics
    val: SplitStatistics
    minutes: float
    has_gpu: bool = False
    replicas: int = 1
    memory: int | None = None
    missing_weights: str | None = None
    missing_small_weights: str | None = None
    given_head: str | None = None
    given_classes: tuple[str, ...] = ()
    explained: float | None = None
    economy: int = 0

    @property
    def train_images(self) -> int:
        """Number of training images."""
        return self.train.size or self.train.checked

    @property
    def val_images(self) -> int:
        """Number of validation images."""
        return self.val.size or self.val.checked

    @property
    def shorter_side(self) -> int:
        """Median of the height or width, whichever is shorter, in pixels."""
        return min(self.train.height_width)

    @property
    def longer_side(self) -> int:
        """Median of the height or width, whichever is longer, in pixels."""
        return max(self.train.height_width)

    def share(self, class_id: int) -> float:
        """Return the share of a class in the labeled pixels of the training split."""
        return self.train.pixels[class_id] / max(sum(self.train.pixels), 1)


@dataclass(frozen=True)
class Trial:
    """Measurements of a few updates and validation images of the planned training.

    Attributes:
        update_seconds: time of an update, with the preparation of its batch.
        start_seconds: time to build and compile the network.
        image_seconds: time to evaluate one validation image, at all evaluated output strides together.
        peak_memory: largest memory of the process so far in bytes; None if unknown.
        estimated: whether the times were not measured, but estimated from those of another recipe.
    """

    update_seconds: float
    start_seconds: float
    image_seconds: float
    peak_memory: int | None = None
    estimated: bool = False

    def scaled(self, factor: float) -> "Trial":
        """Return an estimate for a recipe whose updates cost `factor` times as much; its validations cost the same."""
        return dataclasses.replace(self, update_seconds=factor * self.update_seconds, estimated=True)
