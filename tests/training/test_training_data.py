"""The batches of a training."""

import numpy as np

from deeplab.datasets.open import open_source
from deeplab.training import training_data
from tests.training.test_initial_weights import settings


def test_training_images_are_padded_with_the_mean_of_the_backbone(tmp_path):
    """Images of 160 pixels at half their size fill 80 of 97 pixels. The mean is that of keras.applications."""
    half = {"crop_size": 97, "augment": {"min_scale": 0.5, "max_scale": 0.5}}
    config = settings(tmp_path, {"backbone": "vgg16", "head": "v1", "aspp_rates": [6]}, **half)
    (images,) = training_data.first_images(config, open_source(config.data, "train"), 1)
    np.testing.assert_array_equal(images[:, -1], np.broadcast_to(np.float32([123.68, 116.779, 103.939]), (2, 97, 3)))
