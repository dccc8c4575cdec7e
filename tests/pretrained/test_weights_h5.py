"""Reading the layers of .h5 weights files."""

import h5py
import keras
import numpy as np
import pytest

from deeplab.config import ModelConfig
from deeplab.errors import UserError
from deeplab.model.build import build_model
from deeplab.pretrained import import_weights
from deeplab.pretrained.weights_h5 import read_layers
from tests.networks import randomize

SMALL = ModelConfig(depth_multiplier=0.25, aspp_rates=(), aspp_channels=16, head="v3", classes=5)


@pytest.fixture(scope="module")
def trained() -> keras.Model:
    model = randomize(build_model(SMALL))
    model.get_layer("aspp0_bn").trainable = False
    return model


@pytest.mark.parametrize("name", ["", "model.weights.h5"])
def test_the_weights_of_a_run_are_imported_into_a_model_with_other_classes(trained, tmp_path, name):
    trained.save_weights(tmp_path / "model.weights.h5")
    model = build_model(ModelConfig(**{**vars(SMALL), "classes": 9}), output_stride=8)
    report = import_weights(model, tmp_path / name)
    assert report.reinitialized == ("logits/kernel", "logits/bias")
    assert report.missing == report.unused == ()
    for layer in model.layers:
        if layer.name != "logits":
            for actual, expected in zip(layer.get_weights(), trained.get_layer(layer.name).get_weights(), strict=True):
                np.testing.assert_array_equal(actual, expected)


def test_every_layer_of_a_weights_file_is_read(trained, tmp_path):
    trained.save_weights(tmp_path / "model.weights.h5")
    layers = read_layers(tmp_path / "model.weights.h5")
    assert layers.keys() == {layer.name for layer in trained.layers if layer.weights}
    np.testing.assert_array_equal(layers["logits"][1], trained.get_layer("logits").bias)


def test_an_h5_file_without_layers_is_refused(tmp_path, trained):
    with h5py.File(tmp_path / "table.h5", "w") as file:
        file["numbers"] = np.arange(3)
    with pytest.raises(UserError, match=r"table\.h5: is an \.h5 file without layers"):
        import_weights(trained, tmp_path / "table.h5")
