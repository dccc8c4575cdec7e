"""The teacher of a knowledge distillation: its soft targets for a batch, and the loss against them."""

import statistics
import time
from pathlib import Path
from typing import Any

import tensorflow as tf
from keras import ops

from deeplab.config import DistillationConfig, TrainConfig
from deeplab.config.class_names import check_same_classes
from deeplab.datasets.source import IGNORE_LABEL
from deeplab.errors import UserError
from deeplab.files import file_sha256
from deeplab.model.resize import resize_bilinear
from deeplab.pixels import Pixel, mean_pixel
from deeplab.prediction.predictor import scaled_side
from deeplab.run_folder import TrainedModel, open_model
from deeplab.training.loss import channel_distillation, logit_distillation

_MEASUREMENTS, _MEASURING_SECONDS = 3, 2.0
"""The time of the teacher is the median of 3 measurements, or of those that begin within 2 seconds."""


class Teacher:
    """A trained network that predicts the augmented crops of the training, in inference mode.

    Attributes:
        config: how it predicts, and the loss.
    """

    def __init__(self, config: DistillationConfig, padding: Pixel) -> None:
        """Load the network, under the strategy of the training.

        Args:
            config: names the teacher.
            padding: red, green and blue of the padding of the crops.

        Raises:
            UserError: the teacher cannot be opened.
        """
        self.config, self._padding = config, padding
        self._network = _open_teacher(str(config.teacher)).load(config.output_stride)

    def logits(self, images: tf.Tensor) -> tf.Tensor:
        """Return logits `[b, h, w, classes]` for crops `[b, h, w, 3]` float32 0..255.

        With several scales or flips they are the means of the logits, which is the geometric mean of the probabilities
        (Hinton et al., arXiv:1503.02531, sec. 1).
        """
        size, predicted = images.shape[1:3], []
        for scale in self.config.scales:
            height, width = (scaled_side(side, scale) for side in size)
            scaled = resize_bilinear(images, (height, width))
            predicted.append(self._network(scaled, training=False))
            if self.config.flip:
                predicted.append(self._network(scaled[:, :, ::-1], training=False)[:, :, ::-1])
        return tf.add_n([resize_bilinear(logits, size) for logits in predicted]) / len(predicted)

    def counted(self, images: tf.Tensor, labels: tf.Tensor) -> tf.Tensor:
        """Return which pixels the loss counts, `[b, h, w]` bool: those of the image, or those with a label."""
        if not self.config.ignored_pixels:
            return labels != IGNORE_LABEL
        # Padding has exactly this color. Pixels of an image rarely have it; then one pixel of many is not counted.
        return tf.reduce_any(images != tf.constant(self._padding, images.dtype), axis=-1)

    def number(self, images: tf.Tensor, labels: tf.Tensor) -> tf.Tensor:
        """Return what the summed loss is divided by: the number of counted pixels, or of images that have any."""
        counted = self.counted(images, labels)
        if self.config.loss == "channel":
            counted = tf.reduce_any(counted, axis=(1, 2))
        return tf.reduce_sum(tf.cast(counted, tf.float32))

    def loss(self, targets: tf.Tensor, logits: tf.Tensor, counted: tf.Tensor) -> Any:
        """Return the summed loss of the student's `logits` against `targets`, both `[b, h, w, classes]`."""
        function = channel_distillation if self.config.loss == "channel" else logit_distillation
        return function(ops.cast(logits, "float32"), targets, counted, self.config.temperature)

    def seconds(self, images: int, crop: tuple[int, int]) -> float:
        """Measure the time in seconds that the teacher needs for `images` crops of (height, width) `crop`."""
        batch = tf.zeros((images, *crop, 3))
        predict = tf.function(self.logits, autograph=False)
        predict(batch).numpy()  # Compiles the network.
        times: list[float] = []
        while len(times) < _MEASUREMENTS and sum(times) < _MEASURING_SECONDS:
            start = time.perf_counter()
            predict(batch).numpy()
            times.append(time.perf_counter() - start)
        return statistics.median(times)


def make_teacher(config: TrainConfig) -> Teacher | None:
    """Return the teacher of a training, None without one; raises UserError if it cannot be opened."""
    settings = config.training.distillation
    return None if settings.teacher is None else Teacher(settings, mean_pixel(config.network.backbone))


def check_teacher(config: TrainConfig, classes: tuple[str, ...]) -> None:
    """Check the teacher of a training, if there is one.

    Raises:
        UserError: the teacher does not exist, is the run itself, or has other classes than `classes`, in this order.
    """
    name = config.training.distillation.teacher
    if name is None:
        return
    trained = _open_teacher(name)
    if trained.path.resolve() == Path(config.run).resolve():
        problem = f"run={config.run} would be its own teacher"
        raise UserError("training.distillation.teacher", problem, "choose another run=FOLDER for the training")
    check_same_classes("training.distillation.teacher", name, trained.description.classes, classes)


def teacher_sha256(config: TrainConfig) -> str | None:
    """Return the SHA-256 of the teacher's weights, None without a teacher.

    Raises:
        UserError: the teacher does not exist, or its weights are not those of the settings.
    """
    settings = config.training.distillation
    if settings.teacher is None:
        return None
    actual = file_sha256(_open_teacher(settings.teacher).weights_file)
    if settings.sha256 not in (None, actual):
        problem = f"expected {settings.sha256}, got {actual}"
        raise UserError(f"{settings.teacher}: SHA-256", problem, "restore the weights of the teacher")
    return actual


def _open_teacher(name: str) -> TrainedModel:
    try:
        return open_model(name)
    except UserError as error:
        problem = f"{error.subject}: {error.problem}"
        raise UserError("training.distillation.teacher", problem.removeprefix("run="), error.remedy) from error
