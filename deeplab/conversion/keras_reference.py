"""The outputs of the Keras model, computed once for all files that are made from it."""

import dataclasses
import warnings
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import keras
import numpy as np

from deeplab.config import ExportConfig, Fit, VerifyConfig
from deeplab.datasets.open import open_source
from deeplab.datasets.shapes import shapes_source
from deeplab.datasets.source import Example, Source
from deeplab.errors import UserError
from deeplab.evaluation.evaluate import evaluate
from deeplab.evaluation.scores import Scores
from deeplab.model.quantization.transform import activation_ranges, quantization_parameters, round_as_builtin_kernels
from deeplab.prediction.image_fit import FittedImage, Size, fit_example
from deeplab.prediction.predictor import keras_predictor
from deeplab.pretrained.tflite_network import load_quantized
from deeplab.run_folder import TrainedModel, check_class_count


@dataclass(frozen=True)
class LogitExtremes:
    """The lowest best logit of a pixel, and the lowest and the highest logit, of some images."""

    winner: float
    low: float
    high: float


@dataclass(frozen=True)
class LabeledExamples:
    """The first `count` examples of a source, read at each iteration: 50 photos of 12 megapixels have 2.4 GB."""

    source: Source
    count: int

    def __iter__(self) -> Iterator[Example]:
        """Read the examples in order."""
        return self.source.examples(self.count)


@dataclass(frozen=True)
class KerasReference:
    """The outputs of the Keras model.

    Attributes:
        images: `[h, w, 3]` uint8 each, at the input size of the model.
        logits: `[h, w, classes]` float32 for each image.
        examples: labeled images of any size to measure mIoU on; may be empty.
        scores: of the Keras model on `examples`; None without examples.
        builtin_logits: the logits when rounded like the builtin kernels; empty unless the model is quantization-aware.
        extremes: of the logits of each image that the model was run on, including those without `logits`.
        fit: how `examples` meet the model, see `deeplab.prediction.image_fit.fit_image`.
    """

    images: tuple[np.ndarray, ...]
    logits: tuple[np.ndarray, ...]
    examples: LabeledExamples | tuple[Example, ...] = ()
    scores: Scores | None = None
    builtin_logits: tuple[np.ndarray, ...] = ()
    extremes: tuple[LogitExtremes, ...] = ()
    fit: Fit = "auto"


def load_keras_model(
    run: TrainedModel, output_stride: int, image_size: Size, keep_ranges: bool, per_tensor: bool = False
) -> keras.Model:
    """Load the Keras model that files are made from and compared with.

    The output stride is 4, 8, 16 or 32; the image size is (height, width), at least 33 pixels each.
    `keep_ranges` keeps the activation ranges of a quantized .tflite file; `per_tensor` keeps one scale per kernel too.

    Raises:
        UserError: the size is too small, the model cannot be loaded, or its activation ranges were never measured.
    """
    if min(image_size) < 33:
        raise UserError("image_size", f"{image_size[0]}x{image_size[1]} pixels", "use at least 33 pixels per side")
    if keep_ranges:
        return load_quantized(run.network, output_stride, image_size, per_tensor=per_tensor)
    model = run.load(output_stride, image_size)
    quantization_parameters(model)  # Raises UserError for unmeasured ranges, before any image is read.
    return model


def open_validation(run: TrainedModel, config: ExportConfig | VerifyConfig) -> Source | None:
    """Open the labeled images to compare on.

    There are none (None) for a .tflite file without `config.data`, and, with a warning, for a quantization-aware run
    whose data are missing, because its export needs no images.

    Raises:
        UserError: the data are missing, or have another number of classes than the model.
    """
    if run.is_tflite and not config.data:
        return None
    data = run.data(config.data)
    try:
        source = open_source(data, data.val_split, config.seed)
    except UserError as error:
        if not run.description.quantized or config.data:
            raise
        warnings.warn(f"comparing on drawn scenes, without mIoU: {error}", stacklevel=2)
        return None
    check_class_count(source.classes, len(run.description.classes), run.path)
    return source


def make_reference(
    model: keras.Model,
    source: Source | None,
    classes: Sequence[str],
    config: ExportConfig | VerifyConfig,
    calibration_images: Sequence[np.ndarray] = (),
    fit: Fit = "auto",
) -> KerasReference:
    """Run the Keras model on the first images of `source`, and measure its mIoU on them.

    Args:
        model: built at a fixed size.
        source: labeled images; None takes drawn scenes and does not measure mIoU.
        classes: names by id.
        config: states the numbers of images and the seed of drawn scenes.
        calibration_images: `[h, w, 3]` at the input size of the model; only the extremes of their logits are kept.
        fit: how images of other sizes meet the model.
    """
    predictor, extremes = keras_predictor(model, fit=fit), []

    def run(image: np.ndarray) -> np.ndarray:
        logits = predictor.run(image)
        extremes.append(logit_extremes(logits))
        return logits

    size, count = model.input_shape[1:3], config.agreement_images
    images = tuple(first_images(source, count, size, config.seed, fit))
    examples = LabeledExamples(source, config.miou_images) if source and config.miou_images else ()
    for image in calibration_images:
        run(image)
    return KerasReference(
        images,
        logits=tuple(run(image) for image in images),
        examples=examples,
        scores=evaluate(dataclasses.replace(predictor, run=run), examples, classes) if examples else None,
        builtin_logits=_builtin_logits(model, images),
        extremes=tuple(extremes),
        fit=fit,
    )


def first_images(source: Source | None, count: int, size: Size, seed: int, fit: Fit = "auto") -> list[np.ndarray]:
    """Return the first `count` images of a source, or of drawn scenes if it is None, fitted to `size`.

    What is padding elsewhere is the mirrored image here. The scores of padding, which every user discards, are nearly
    tied in many models: rounding alone would decide about its classes, and about the agreement of two files.
    """
    source = source or shapes_source("export", max(32, min(size)), seed)
    return [_mirrored(fit_example(example, size, fit, padding_value=0)) for example in source.examples(count)]


def _mirrored(fitted: FittedImage) -> np.ndarray:
    """Return a fitted image `[h, w, 3]` with the mirrored image in place of the padding."""
    rows, columns = fitted.content
    content, (height, width) = fitted.image[:rows, :columns], fitted.image.shape[:2]
    return np.pad(content, ((0, height - rows), (0, width - columns), (0, 0)), "symmetric")


def logit_extremes(logits: np.ndarray) -> LogitExtremes:
    """Return the extremes of the logits `[h, w, classes]` of an image."""
    return LogitExtremes(float(logits.max(-1).min()), float(logits.min()), float(logits.max()))


def needed_logit_offset(extremes: Sequence[LogitExtremes]) -> float:
    """Return the constant that must be added to all logits so that the Task Library finds the winner of every pixel.

    The Task Library starts from class 0 with a confidence of 0.0 and takes only higher scores, so a pixel with negative
    logits becomes class 0. A constant added to all logits changes neither softmax nor argmax and costs nothing.

    Args:
        extremes: of the logits of the Keras model on all images at hand: a single pixel can need the constant.

    Returns:
        0.0 if all winning logits are clearly positive, as those of the official networks are. Otherwise the constant
        that makes the lowest logit zero; a quantized range contains zero anyway, so no resolution is lost.
    """
    winner, low, high = min(x.winner for x in extremes), min(x.low for x in extremes), max(x.high for x in extremes)
    # Quantization leaves a winning logit positive that exceeds 2 % of the range of the logits.
    return 0.0 if winner > 0.02 * (high - low) else -low


def _builtin_logits(model: Any, images: Sequence[np.ndarray]) -> tuple[np.ndarray, ...]:
    """Return the logits of a quantization-aware model when it rounds like the builtin kernels, else ()."""
    if not activation_ranges(model):
        return ()
    round_as_builtin_kernels(model)
    try:
        predictor = keras_predictor(model)
        return tuple(predictor.run(image) for image in images)
    finally:
        round_as_builtin_kernels(model, False)
