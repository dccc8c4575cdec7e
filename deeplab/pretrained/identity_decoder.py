"""A decoder for weights that were trained without one: it begins as the identity."""

import dataclasses

import keras
import numpy as np

from deeplab.pretrained.import_report import Found

DECODER, LOW_LEVEL = "decoder_", "decoder_low_level"
"""How the names of the decoder's layers begin, and of those that the low-level features come in by."""


def with_identity_decoder(found: Found, model: keras.Model) -> Found:
    """Adds to the weights of a "v3" network, for a "v3plus" model, a decoder that hands on what ASPP gives.

    The model then labels as the source did: its logits are those of features enlarged to stride 4, which is the same as
    enlarging logits, for neither step mixes what the other does; and ASPP ends in a ReLU, so that those of the decoder
    change nothing. From there it learns what the low-level features are good for: the kernels on them are zero, their
    gradients are not.

    Args:
        found: the weights.
        model: that is to take them.

    Returns:
        `found` as it is where it has a decoder, the model has none, or the decoder's channels are not ASPP's.
    """
    decoder = [x for x in model.layers if x.weights and x.name.startswith(DECODER) and not x.name.startswith(LOW_LEVEL)]
    encoder = found.weights.get("concat_projection")
    known = any(name.startswith(DECODER) for name in found.weights)
    if not decoder or known or encoder is None or "logits" not in found.weights:
        return found
    channels = encoder[0].shape[-1]
    if decoder[-1].output.shape[-1] != channels:
        return found
    grafted = {layer.name: _identity(layer) for layer in decoder}
    note = "the source has no decoder: this one begins as the identity, so that the masks are those of the source"
    return dataclasses.replace(found, weights={**found.weights, **grafted}, notes=(*found.notes, note))


def _identity(layer: keras.layers.Layer) -> tuple[np.ndarray, ...]:
    """Weights by which a convolution or batch norm hands on its first channels."""
    if isinstance(layer, keras.layers.BatchNormalization):
        ones, zeros = np.ones(layer.gamma.shape), np.zeros(layer.gamma.shape)
        # gamma makes up for what is added to the variance.
        return ones * np.sqrt(1 + layer.epsilon), zeros, zeros, ones
    kernel = np.zeros(layer.kernel.shape)
    middle = (kernel.shape[0] // 2, kernel.shape[1] // 2)
    kernel[middle] = 1 if isinstance(layer, keras.layers.DepthwiseConv2D) else np.eye(*kernel.shape[2:])
    return (kernel,)
