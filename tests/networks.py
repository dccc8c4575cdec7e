"""Networks and images for tests: random values with which wrong padding or folding cannot go unnoticed."""

import keras
import numpy as np


def randomize(model: keras.Model, seed: int = 0) -> keras.Model:
    """Assign random values to the batch norms and convolutions of `model`; return `model`.

    New batch norms are the identity, so a network with wrong padding or folding could still give equal outputs.
    """
    rng = np.random.default_rng(seed)
    for layer in model.layers:
        if isinstance(layer, keras.layers.BatchNormalization):
            shape = layer.gamma.shape
            layer.gamma.assign(rng.uniform(0.5, 1.5, shape))
            layer.beta.assign(rng.normal(0, 0.5, shape))
            layer.moving_mean.assign(rng.normal(0, 0.3, shape))
            layer.moving_variance.assign(rng.uniform(0.5, 2.0, shape))
        elif isinstance(layer, keras.layers.Conv2D):
            # He initialization keeps the magnitude of activations through the layers, so that deviations stay visible.
            fan_in = np.prod(layer.kernel.shape[:-1])
            layer.kernel.assign(rng.normal(0, np.sqrt(2 / fan_in), layer.kernel.shape))
            if layer.bias is not None:
                layer.bias.assign(rng.normal(0, 0.5, layer.bias.shape))
        elif isinstance(layer, keras.layers.DepthwiseConv2D):
            layer.kernel.assign(rng.normal(0, np.sqrt(2 / 9), layer.kernel.shape))
    return model


def random_image(height: int, width: int, seed: int = 1) -> np.ndarray:
    """Return a batch of one image `[1, h, w, 3]`, float32 0..255, with structure at every scale."""
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[0:height, 0:width]
    waves = [np.sin(x / p + c) + np.cos(y / (p + 1) - c) for c, p in enumerate((3.0, 11.0, 37.0))]
    image = 127.5 + 40 * np.stack(waves, axis=-1) + rng.normal(0, 20, (height, width, 3))
    return np.clip(image, 0, 255).astype("float32")[None]
