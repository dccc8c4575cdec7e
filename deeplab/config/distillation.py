"""The config of a knowledge distillation."""

from dataclasses import dataclass
from typing import Annotated, Literal

from deeplab.config.mapping import check_fields, check_list, require_defaults
from deeplab.config.ranges import OutputStride, PositiveFloat, Range, ScaleFactor


@dataclass(frozen=True)
class DistillationConfig:
    """Knowledge distillation: a trained model, the teacher, adds soft targets to the labels.

    The teacher predicts the augmented crops of the training, in inference mode.

    Attributes:
        teacher: a run folder, a .tflite file or a name of published weights (official, ...), with the classes of the
            data; null disables distillation.
        sha256: SHA-256 of the teacher's weights; null takes that of the file. A resumed training refuses another one.
        output_stride: output stride of the teacher.
        flip: average the teacher's logits over the left-right flipped crop too.
        scales: average the teacher's logits over these factors on the crop size.
        loss: logits, the divergence of the class probabilities of each pixel (Hinton et al., arXiv:1503.02531, sec. 2);
            or channel, the divergence of the distribution of each class over the pixels (arXiv:2011.13256, sec. 3.2,
            which uses temperature=4 and weight=3).
        temperature: divisor of the logits of both networks.
        weight: factor on this loss.
        ignored_pixels: whether pixels with the label 255 count in this loss. Padding never does, except the corners of
            rotated images if `augment` changes their colors.
    """

    teacher: str | None = None
    sha256: str | None = None
    output_stride: OutputStride = 8
    flip: bool = False
    scales: tuple[ScaleFactor, ...] = (1.0,)
    loss: Literal["logits", "channel"] = "logits"
    temperature: Annotated[float, Range("from 0.1 to 100", 0.1, 100)] = 1.0
    weight: PositiveFloat = 1.0
    ignored_pixels: bool = True

    def __post_init__(self) -> None:
        """Raise UserError if a value is out of range, or has no effect."""
        check_fields(self, "training.distillation.")
        check_list("training.distillation.scales", self.scales, "factor")
        if self.teacher is None:
            require_defaults(self, "training.distillation.", "training.distillation.teacher")
