"""The config of channel pruning."""

from dataclasses import dataclass
from typing import Annotated

from deeplab.config.mapping import check_fields, require, require_defaults
from deeplab.config.ranges import PositiveFloat, PositiveInt, Range, Side


@dataclass(frozen=True)
class PruneConfig:
    """Channel pruning of the pretrained network, before the training starts (importance: arXiv:1906.10771, sec. 3.1).

    Attributes:
        target_multiply_adds: maximum multiply-adds of the pruned network for one image, at the output stride of the
            training; null sets no target. summarize.py prints those of a network.
        target_ms: maximum milliseconds for one image of its int8 file on this machine, with one thread; null sets no
            target.
        image_size: input size in pixels for both targets.
        mask_stride: image pixels per mask pixel of that file, as in export.py.
        images: number of training crops on which the importance of the channels is measured.
    """

    target_multiply_adds: Annotated[float, Range("above 0 and at most 1e15", 0, 1e15, open_low=True)] | None = None
    target_ms: PositiveFloat | None = None
    image_size: Side | tuple[Side, Side] = 513
    mask_stride: PositiveInt = 1
    images: PositiveInt = 64

    def __post_init__(self) -> None:
        """Raise UserError if a value is out of range or has no effect, or both targets are set."""
        check_fields(self, "prune.")
        single = self.target_ms is None or self.target_multiply_adds is None
        require("prune.target_ms", self.target_ms, single, "null with prune.target_multiply_adds")
        if not self.enabled:
            require_defaults(self, "prune.", "prune.target_multiply_adds or prune.target_ms")

    @property
    def enabled(self) -> bool:
        """Whether a target is set."""
        return self.target_ms is not None or self.target_multiply_adds is not None
