"""Wrong arguments of the library: a UserError that names the argument, and NumPy's integers are allowed."""

from functools import lru_cache

import numpy as np
import pytest

import deeplab
from deeplab.errors import UserError

TINY = {"depth_multiplier": 0.1, "head": "v3", "aspp_rates": (), "aspp_channels": 8, "classes": 3}


CLASSES = ("background", "cat", "dog")


@lru_cache(maxsize=1)
def network():
    """A network for calls that are refused before they change it."""
    return deeplab.build_model(model(), 16)


def model(**changes):
    return deeplab.ModelConfig(**TINY | changes)


REFUSED = [
    (lambda: deeplab.build_model(TINY), "config"),
    (lambda: deeplab.build_model("mobilenet_v2"), "config"),
    (lambda: deeplab.build_model(None), "config"),
    (lambda: deeplab.build_model(model(), "16"), "output_stride"),
    (lambda: deeplab.build_model(model(), 16.0), "output_stride"),
    (lambda: deeplab.build_model(model(), True), "output_stride"),
    (lambda: deeplab.build_model(model(), 7), "output_stride"),
    (lambda: deeplab.build_model(model(), None), "output_stride"),
    (lambda: deeplab.build_model(model(), 16, "65"), "image_size"),
    (lambda: deeplab.build_model(model(), 16, 65.0), "image_size"),
    (lambda: deeplab.build_model(model(), 16, (65,)), "image_size"),
    (lambda: deeplab.build_model(model(), 16, (65, "65")), "image_size"),
    (lambda: deeplab.build_model(model(), 16, (65, 65, 3)), "image_size"),
    (lambda: deeplab.build_model(model(), 16, {}), "image_size"),
    (lambda: deeplab.build_model(model(), 16, 0), "image_size"),
    (lambda: deeplab.build_model(model(), 16, -65), "image_size"),
    (lambda: deeplab.build_model(model(backbone="vgg")), "model.backbone"),
    (lambda: model(classes="7"), "model.classes"),
    (lambda: model(classes=7.0), "model.classes"),
    (lambda: model(classes=(7,)), "model.classes"),
    (lambda: model(classes=True), "model.classes"),
    (lambda: model(classes={}), "model.classes"),
    (lambda: model(backbone=3), "model.backbone"),
    (lambda: model(backbone=""), "model.backbone"),
    (lambda: model(head="v9"), "model.head"),
    (lambda: model(head=3), "model.head"),
    (lambda: model(aspp_rates=6), "model.aspp_rates"),
    (lambda: model(aspp_rates=("6",)), "model.aspp_rates[0]"),
    (lambda: model(aspp_rates=None), "model.aspp_rates"),
    (lambda: model(dropout="0.1"), "model.dropout"),
    (lambda: model(dropout=float("nan")), "model.dropout"),
    (lambda: model(image_pooling=1), "model.image_pooling"),
    (lambda: model(multi_grid=(1, 2)), "model.multi_grid"),
    (lambda: model(depth_multiplier=None), "model.depth_multiplier"),
    (lambda: deeplab.load_model(3), "path"),
    (lambda: deeplab.load_model(None), "path"),
    (lambda: deeplab.load_model(""), "path"),
    (lambda: deeplab.load_model("a\0b"), "path"),
    (lambda: deeplab.load_model({}), "path"),
    (lambda: deeplab.load_model("run", "8"), "output_stride"),
    (lambda: deeplab.load_model("run", 5), "output_stride"),
    (lambda: deeplab.load_model("run", 8, 65.0), "image_size"),
    (lambda: deeplab.load_model("run", 8, (65,)), "image_size"),
    (lambda: deeplab.load_model("missing"), "run=missing"),
    (lambda: deeplab.load_model("photo.png"), "run=photo.png"),
    (lambda: deeplab.ExportConfig(3), "run"),
    (lambda: deeplab.ExportConfig("run", image_size=65.0), "image_size"),
    (lambda: deeplab.ExportConfig("run", image_size=(65,)), "image_size"),
    (lambda: deeplab.ExportConfig("run", quantization=()), "quantization"),
    (lambda: deeplab.ExportConfig("run", quantization="int4"), "quantization"),
    (lambda: deeplab.ExportConfig("run", quantization=8), "quantization"),
    (lambda: deeplab.ExportConfig("run", data=[1]), "data"),
    (lambda: deeplab.ExportConfig("run", threads="2"), "threads"),
    (lambda: deeplab.EvaluateConfig(()), "run"),
    (lambda: deeplab.EvaluateConfig(("run", 3)), "run"),
    (lambda: deeplab.EvaluateConfig("run", scales=()), "scales"),
    (lambda: deeplab.PredictConfig("run", 3), "images"),
    (lambda: deeplab.PredictConfig("run", "photo.png", opacity="half"), "opacity"),
    (lambda: deeplab.TrainConfig(model=3), "model"),
    (lambda: deeplab.TrainConfig(data="voc"), "data"),
    (lambda: deeplab.TrainConfig(training=[]), "training"),
    (lambda: deeplab.TrainConfig(seed="0"), "seed"),
    (lambda: deeplab.export({"run": "run"}), "config"),
    (lambda: deeplab.export("run"), "config"),
    (lambda: deeplab.train({"run": "run"}), "config"),
    (lambda: deeplab.train(None), "config"),
    (lambda: deeplab.import_weights(None, "run"), "model"),
    (lambda: deeplab.import_weights("run", "run"), "model"),
    (lambda: deeplab.import_weights(network(), None), "path"),
    (lambda: deeplab.import_weights(network(), 3), "path"),
    (lambda: deeplab.import_weights(network(), b"run"), "path"),
    (lambda: deeplab.import_weights(network(), ""), "path"),
    (lambda: deeplab.import_weights(network(), "run", allow_missing="no"), "allow_missing"),
    (lambda: deeplab.quantize_aware(None), "model"),
    (lambda: deeplab.quantize_aware("run"), "model"),
    (lambda: deeplab.quantize_aware(network(), per_tensor=1), "per_tensor"),
    (lambda: deeplab.quantize_aware(deeplab.quantize_aware(network())), "model"),
    (lambda: deeplab.evaluate(None, [], CLASSES), "predict"),
    (lambda: deeplab.evaluate("run", [], CLASSES), "predict"),
    (lambda: deeplab.evaluate(len, "set", CLASSES), "examples"),
    (lambda: deeplab.evaluate(len, [], "background"), "classes"),
    (lambda: deeplab.evaluate(len, [], None), "classes"),
    (lambda: deeplab.evaluate(len, [], ("a", "a")), "classes"),
    (lambda: deeplab.evaluate(len, [], (1, 2)), "classes[0]"),
]


@pytest.mark.parametrize(("call", "argument"), REFUSED, ids=range(len(REFUSED)))
def test_a_wrong_argument_is_named(call, argument, world):
    with pytest.raises(UserError) as raised:
        call()
    assert raised.value.subject == argument


def test_integers_and_lists_of_numpy_users_are_converted():
    config = model(classes=np.int64(3), aspp_rates=[np.int32(6)], dropout=np.float32(0.5))
    assert (config.classes, config.aspp_rates, config.dropout) == (3, (6,), 0.5)
    assert [type(value) for value in (config.classes, *config.aspp_rates, config.dropout)] == [int, int, float]
    network = deeplab.build_model(model(), np.int64(16), (np.int64(33), 65))
    assert network.input_shape == (None, 33, 65, 3)


def test_paths_may_be_path_objects(world):
    assert deeplab.ExportConfig(world / "run").run == str(world / "run")
    assert deeplab.load_model(world / "run", 16).output_shape[-1] == 3
