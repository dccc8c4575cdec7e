"""Builds the network, from pixels to logits."""

from typing import Any

import keras

from deeplab.config import ImageSize, ModelConfig, checked, height_width
from deeplab.config.mapping import require
from deeplab.config.ranges import OutputStride
from deeplab.errors import UserError
from deeplab.model.backbones import BACKBONES
from deeplab.model.backbones.features import Features
from deeplab.model.heads import HEADS
from deeplab.model.resize import CropTo, Normalize, PadToGrid, ResizeBilinear, SubtractMean
from deeplab.pixels import PIXEL_MEAN, mean_pixel


@keras.saving.register_keras_serializable(package="deeplab")
class DeepLab(keras.Model):
    """A functional Keras model that carries its architecture.

    It is created by `DeepLab.create`, because Keras reloads a functional model (`model.save`) only if its class keeps
    the constructor of `keras.Model`. A reloaded model has neither of the attributes.

    Attributes:
        config: the architecture.
        features: the outputs of the backbone, symbolic tensors of this model.
    """

    config: ModelConfig
    features: Features

    @classmethod
    def create(cls, config: ModelConfig, features: Features, inputs: Any, outputs: Any, name: str) -> "DeepLab":
        """Return the model from `inputs` to `outputs` with its attributes set."""
        model = cls(inputs=inputs, outputs=outputs, name=name)
        model.config, model.features = config, features
        return model


def build_model(config: ModelConfig, output_stride: int = 16, image_size: ImageSize = None) -> DeepLab:
    """Build a DeepLab network.

    Its weights do not depend on `output_stride`: layers, their order and their shapes are the same at each output
    stride, only strides and rates differ. Train at 16, load the same weights at 8 and evaluate.

    Args:
        config: the architecture.
        output_stride: input pixels per feature of the encoder: 4, 8, 16 or 32. Smaller is more accurate and slower.
        image_size: fixed input size in pixels, or None for any size. Sides of 32k+1 (257, 513) need no padding.

    Returns:
        A model from RGB `[b, h, w, 3]` float32 0..255 to logits `[b, h, w, classes]` float32. The layer "normalize"
        outputs the image in -1..1, the layer "logits" the logits at the resolution of the head.

    Raises:
        UserError: an unknown backbone; an output stride that is not offered, or at which `config.aspp_rates` are not
            integers.
    """
    require("config", type(config).__name__, isinstance(config, ModelConfig), "a ModelConfig")
    output_stride = checked(OutputStride, output_stride, "output_stride")
    image_size = checked(ImageSize, image_size, "image_size")
    if config.backbone not in BACKBONES:
        raise UserError("model.backbone", f"unknown backbone {config.backbone!r}", f"use one of {', '.join(BACKBONES)}")
    image = keras.Input((*height_width(image_size), 3), name="image")
    normalized, mean = Normalize(name="normalize")(image), mean_pixel(config.backbone)
    if any(value != PIXEL_MEAN for value in mean):
        normalized = SubtractMean(mean, name="subtract_mean")(normalized)
    padded = PadToGrid(name="pad")(normalized)
    features = BACKBONES[config.backbone](padded, config, output_stride)
    try:
        logits = HEADS[config.head](features, config, output_stride)
    except ValueError as error:
        raise UserError("output_stride", str(error), "choose other rates or another output stride") from error
    logits = ResizeBilinear(name="upsample", dtype="float32")(logits, padded)
    logits = CropTo(name="crop", dtype="float32")(logits, image)
    return DeepLab.create(config, features, image, logits, f"deeplab_{config.head}_{config.backbone}")
