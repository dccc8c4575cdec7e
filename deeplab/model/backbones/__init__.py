"""Backbones by the name they have in `ModelConfig.backbone`."""

from collections.abc import Callable

import keras

from deeplab.config import ModelConfig
from deeplab.model.backbones.features import Features
from deeplab.model.backbones.mobilenet_v2 import mobilenet_v2

BACKBONES: dict[str, Callable[[keras.KerasTensor, ModelConfig, int], Features]] = {
    "mobilenet_v2": mobilenet_v2,
}
"""Each maps a normalised image `[b, h, w, 3]`, the configuration and an output stride to features."""
