import itertools

import keras
import numpy as np
import pytest

from deeplab.config import ModelConfig
from deeplab.model.backbones import BACKBONES
from tests.model.short_backbones import SHORT

ALL = BACKBONES | SHORT


@pytest.mark.parametrize("name", ["mobilenet_v2", "mobilenet_v3_small", "vgg16", *SHORT])
def test_no_two_layers_have_the_same_initial_values(name):
    image = keras.Input((33, 33, 3))
    model = keras.Model(image, ALL[name](image, ModelConfig(depth_multiplier=0.125), 32).high)
    kernels = [(w.path, np.asarray(w)) for w in model.trainable_weights if w.path.endswith("kernel")]
    pairs = [(a, b) for a, b in itertools.combinations(kernels, 2) if a[1].shape == b[1].shape]
    assert pairs
    assert not [(a[0], b[0]) for a, b in pairs if np.array_equal(a[1], b[1])]
