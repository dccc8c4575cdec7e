"""A decoder that is initialized as the identity, for weights that were trained without one."""

import dataclasses
import re

import keras
import numpy as np

from deeplab.pretrained.assignment import SourceWeights


def add_identity_decoder(source: SourceWeights, model: keras.Model) -> SourceWeights:
    """Add a decoder that is initialized as the identity to "v3" weights that are imported into a "v3plus" model.

    The decoder then outputs the ASPP features unchanged: they are nonnegative (ASPP ends in a ReLU), so the ReLUs of
    the decoder do not change them, and the kernels on the low-level features are zero. The logits equal those of the
    source, because upsampling the features to stride 4 and the 1x1 convolution of the logits commute. The kernels on
    the low-level features have nonzero gradients, so training can make use of them.

    Returns:
        `source` with the decoder. `source` itself if it has a decoder, if the model has none, or if the decoder has
        another number of channels than ASPP.
    """
    decoder = [layer for layer in model.layers if layer.weights and re.match("decoder_(?!low_level)", layer.name)]
    projection = source.weights.get("concat_projection")
    has_decoder = any(name.startswith("decoder_") for name in source.weights)
    if not decoder or has_decoder or projection is None or "logits" not in source.weights:
        return source
    if decoder[-1].output.shape[-1] != projection[0].shape[-1]:
        return source
    identities = {layer.name: _identity_weights(layer) for layer in decoder}
    note = "the source has no decoder; it is initialized as the identity, so that the masks equal those of the source"
    return dataclasses.replace(source, weights={**source.weights, **identities}, notes=(*source.notes, note))


def _identity_weights(layer: keras.layers.Layer) -> tuple[np.ndarray, ...]:
    """Return weights with which a convolution or batch norm outputs its first input channels unchanged."""
    if isinstance(layer, keras.layers.BatchNormalization):
        ones, zeros = np.ones(layer.gamma.shape), np.zeros(layer.gamma.shape)
        # gamma cancels the epsilon that the layer adds to the variance.
        return ones * np.sqrt(1 + layer.epsilon), zeros, zeros, ones
    kernel = np.zeros(layer.kernel.shape)
    center = (kernel.shape[0] // 2, kernel.shape[1] // 2)
    kernel[center] = 1 if isinstance(layer, keras.layers.DepthwiseConv2D) else np.eye(*kernel.shape[2:])
    return (kernel,)
