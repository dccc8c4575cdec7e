"""The real MediaPipe against the golden mask and the activation that the metadata name."""

import importlib.util

import numpy as np
import pytest
from PIL import Image

from deeplab.errors import UserError
from deeplab.tflite.mediapipe import segment
from deeplab.tflite.metadata import read_metadata, write_metadata

pytestmark = pytest.mark.skipif(importlib.util.find_spec("mediapipe") is None, reason="MediaPipe is not installed")


@pytest.mark.parametrize("activation", [None, "softmax"])
def test_the_starter_gives_the_golden_mask(official_models, activation):
    model = (official_models / "starter_deeplabv3_257_float.tflite").read_bytes()
    if activation:
        labels = read_metadata(model).labels
        model = write_metadata(model, labels, activation=activation)
    picture = np.array(Image.open(official_models / "segmentation_input_rotation0.jpg").convert("RGB"))
    golden = np.array(Image.open(official_models / "segmentation_golden_rotation0.png")) // 10
    (mask,) = segment(model, [picture])
    assert (mask == golden).mean() >= 0.99


def test_what_kills_it_is_an_error_of_the_model(official_models):
    with pytest.raises(UserError, match=r"MediaPipe (refuses it|died of signal)"):
        segment(official_models / "deeplabv3_mnv2_pascal_quant.tflite", [np.zeros((513, 513, 3), np.uint8)])
