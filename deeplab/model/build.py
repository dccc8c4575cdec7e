"""The whole network, from pixels to logits."""

import keras

from deeplab.config import ImageSize, ModelConfig, height_width
from deeplab.errors import UserError
from deeplab.model.backbones import BACKBONES
from deeplab.model.heads import HEADS
from deeplab.model.resize import CropTo, Normalize, PadToGrid, ResizeBilinear

OUTPUT_STRIDES = (4, 8, 16, 32)


def build_model(config: ModelConfig, output_stride: int = 16, image_size: ImageSize = None) -> keras.Model:
    """Builds a DeepLab network.

    Its weights do not depend on `output_stride`: the layers, their order and their shapes are the same at every one,
    only strides and rates differ. So train at 16, load the weights at 8 and evaluate.

    Args:
        config: what fixes the weights.
        output_stride: input pixels per feature of the encoder: 4, 8, 16 or 32. Smaller is more accurate and slower.
        image_size: fixed size in pixels, or None for any. Sides of 32k+1 (257, 513) are computed without padding.

    Returns:
        A model from RGB `[b, h, w, 3]` float32 0..255 to logits `[b, h, w, classes]` float32. Layers to know by name:
        "normalize" (the image in -1..1), "logits" (what the head ends with, on the grid of the head).

    Raises:
        UserError: a backbone that does not exist; an output stride that is none of these, or at which
            `config.aspp_rates` are not whole.
    """
    if config.backbone not in BACKBONES:
        raise UserError("model.backbone", f"there is no {config.backbone!r}", f"one of {', '.join(BACKBONES)}")
    if output_stride not in OUTPUT_STRIDES:
        raise UserError(
            "output_stride", f"{output_stride!r} is not offered", f"one of {', '.join(map(str, OUTPUT_STRIDES))}"
        )
    image = keras.Input((*height_width(image_size), 3), name="image")
    normalized = Normalize(name="normalize")(image)
    padded = PadToGrid(name="pad")(normalized)
    features = BACKBONES[config.backbone](padded, config, output_stride)
    try:
        logits = HEADS[config.head](features, config, output_stride)
    except ValueError as error:
        raise UserError("output_stride", str(error), "choose other rates or another stride") from error
    logits = ResizeBilinear(name="upsample", dtype="float32")(logits, padded)
    logits = CropTo(name="crop", dtype="float32")(logits, image)
    return keras.Model(image, logits, name=f"deeplab_{config.head}_{config.backbone}")
