"""Validations during a training of a network that predicts one class."""

import warnings

import numpy as np
import pytest

from deeplab.config import TrainConfig, build
from deeplab.training import validation
from deeplab.training.train import train
from tests.training.test_early_stopping import SETTINGS

pytestmark = pytest.mark.usefixtures("uncompiled")


def test_a_model_that_predicts_one_class_is_reported_once_at_the_end(tmp_path, monkeypatch):
    predicted = np.zeros((160, 160), np.int64)
    monkeypatch.setattr(validation, "keras_predictor", lambda *arguments: lambda image: predicted)
    training = SETTINGS["training"] | {"steps": 2, "patience": None}
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        train(build(TrainConfig, SETTINGS | {"run": str(tmp_path), "training": training, "output_stride": [16, 8]}))
    texts = [str(warning.message) for warning in caught]
    assert [text.startswith("100.0% of all pixels are predicted as 'background'") for text in texts].count(True) == 1
