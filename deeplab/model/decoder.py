"""The decoder, which refines object boundaries with low-level features (DeepLabv3+, arXiv:1802.02611, sec. 3.1)."""

import keras
from keras import layers

from deeplab.config import ModelConfig
from deeplab.model.atrous import conv_norm, head_norm, separable_conv_norm
from deeplab.model.resize import ResizeBilinear


def decoder(encoded: keras.KerasTensor, low_level: keras.KerasTensor, config: ModelConfig) -> keras.KerasTensor:
    """Combine `encoded` `[b, h, w, c]` with `low_level` `[b, H, W, c']`; return `[b, H, W, decoder_channels]`."""
    norm = head_norm(config)
    low_level = conv_norm(low_level, config.low_level_channels, 1, norm, "decoder_low_level")
    resized = ResizeBilinear(name="decoder_resize")(encoded, low_level)
    x = layers.Concatenate(name="decoder_concat")([resized, low_level])
    for number in range(2):
        name = f"decoder_conv{number}"
        if config.decoder_separable:
            x = separable_conv_norm(x, config.decoder_channels, norm, name)
        else:
            x = conv_norm(x, config.decoder_channels, 3, norm, name)
    return x
