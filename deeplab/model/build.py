"""The whole network, from pixels to logits."""

import keras
from keras import layers

from deeplab.config import ImageSize, ModelConfig, height_width
from deeplab.errors import UserError
from deeplab.model.aspp import aspp
from deeplab.model.backbones import BACKBONES
from deeplab.model.decoder import decoder
from deeplab.model.resize import CropTo, Normalize, PadToGrid, ResizeBilinear

OUTPUT_STRIDES = (8, 16, 32)


def build_model(config: ModelConfig, output_stride: int = 16, image_size: ImageSize = None) -> keras.Model:
    """Builds a DeepLab network.

    Its weights do not depend on `output_stride`: the layers, their order and their shapes are the same at every one,
    only strides and rates differ. So train at 16, load the weights at 8 and evaluate.

    Args:
        config: what fixes the weights.
        output_stride: input pixels per feature of the encoder: 8, 16 or 32. Smaller is more accurate and slower.
        image_size: fixed size in pixels, or None for any. Sides of 32k+1 (257, 513) are computed without padding.

    Returns:
        A model from RGB `[b, h, w, 3]` float32 0..255 to logits `[b, h, w, classes]` float32. Layers to know by name:
        "normalize" (the image in -1..1), "logits" (the last convolution, on the padded image's own grid).

    Raises:
        UserError: an output stride that is none of these, or at which `config.aspp_rates` are not whole.
    """
    if output_stride not in OUTPUT_STRIDES:
        raise UserError("output_stride", f"{output_stride!r} is not offered", f"one of {OUTPUT_STRIDES}")
    image = keras.Input((*height_width(image_size), 3), name="image")
    normalized = Normalize(name="normalize")(image)
    padded = PadToGrid(name="pad")(normalized)
    try:
        features = BACKBONES[config.backbone](padded, config, output_stride)
        x = aspp(features.high, config, output_stride)
    except ValueError as error:
        raise UserError("output_stride", str(error), "choose other rates or another stride") from error
    if config.head == "v3plus":
        x = decoder(x, features.low, config)
    start = keras.initializers.TruncatedNormal(stddev=0.01)
    logits = layers.Conv2D(config.classes, 1, kernel_initializer=start, name="logits")(x)
    logits = ResizeBilinear(name="upsample", dtype="float32")(logits, padded)
    logits = CropTo(name="crop", dtype="float32")(logits, image)
    return keras.Model(image, logits, name=f"deeplab_{config.head}_{config.backbone}")
