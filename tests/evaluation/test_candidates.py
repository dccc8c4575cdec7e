"""The candidates of runs and files, and the multiply-adds of a file counted by hand."""

import shutil
from pathlib import Path

import pytest

from deeplab.config import EvaluateConfig
from deeplab.errors import UserError
from deeplab.evaluation.candidates import Candidate, file_multiply_adds, make_candidates, short_names
from deeplab.files import read_json, write_json
from deeplab.prediction.model_input import ModelInput
from deeplab.run_folder import open_model
from deeplab.tflite.flatbuffer import read_graph

OFFICIAL = "deeplabv3_mnv2_dm05_pascal_quant.tflite"


@pytest.fixture(scope="module")
def run(make_run) -> str:
    return str(make_run(("background", "a", "b")))


def candidates(config: EvaluateConfig, image_size: int | None = 33) -> list[Candidate]:
    return make_candidates(config, [open_model(run) for run in config.runs], image_size)


def names(config: EvaluateConfig) -> list[str]:
    return [candidate.name for candidate in candidates(config)]


def test_run_is_evaluated_at_16_and_8_or_at_the_requested_strides(run):
    assert names(EvaluateConfig(run)) == ["tiny OS16", "tiny OS8"]
    assert names(EvaluateConfig(run, output_stride=(8,))) == ["tiny OS8"]
    assert names(EvaluateConfig(run, output_stride=32)) == ["tiny OS32"]


def test_scales_and_flip_add_candidates(run):
    config = EvaluateConfig(run, output_stride=(16, 8), scales=(0.5, 1.0), flip=True)
    assert names(config) == [
        "tiny OS16",
        "tiny OS8",
        "tiny OS16 x2 scales + flip",
        "tiny OS8 x2 scales + flip",
    ]
    assert names(EvaluateConfig(run, output_stride=16, scales=(0.5,))) == ["tiny OS16", "tiny OS16 scale 0.5"]
    assert names(EvaluateConfig(run, output_stride=16, scales=(2.0,), flip=True))[1] == "tiny OS16 scale 2 + flip"
    few = EvaluateConfig(run, output_stride=(16, 8), flip=True, multi_scale_strides=(8,))
    assert names(few) == ["tiny OS16", "tiny OS8", "tiny OS8 + flip"]
    assert [candidate.single_scale for candidate in candidates(few)] == [True, True, False]


def test_multiply_adds_count_every_scale_and_flip_and_depend_on_the_stride(run):
    single16, single8, averaged16, _ = candidates(EvaluateConfig(run, scales=(1.0, 1.01, 1.02), flip=True))
    assert averaged16.multiply_adds((33, 33)) == 6 * single16.multiply_adds((33, 33))
    assert single8.multiply_adds((33, 33)) > single16.multiply_adds((33, 33))
    # Smaller images are padded to 33x33.
    assert single16.multiply_adds((20, 20)) == single16.multiply_adds((33, 33))


def test_error_names_missing_weights(run, tmp_path):
    bare = tmp_path / "bare"
    bare.mkdir()
    (bare / "model.json").write_text((Path(run) / "model.json").read_text())
    with pytest.raises(UserError, match=r"model\.weights\.h5"):
        candidates(EvaluateConfig(str(bare)))


def test_short_names_have_as_few_parts_as_distinguish_the_runs():
    assert short_names(("/a/x", "/b/y")) == ["x", "y"]
    assert short_names(("/a/one/x", "/a/two/x", "/a/one/y")) == ["one/x", "two/x", "one/y"]


def test_official_file_adds_a_float_candidate_for_each_requested_stride(official_models):
    path = str(official_models / OFFICIAL)
    assert names(EvaluateConfig(path)) == ["deeplabv3_mnv2_dm05_pascal_quant.tflite"]
    assert names(EvaluateConfig(path, output_stride=(16, 8))) == [
        "deeplabv3_mnv2_dm05_pascal_quant.tflite",
        "deeplabv3_mnv2_dm05_pascal_quant float OS16",
        "deeplabv3_mnv2_dm05_pascal_quant float OS8",
    ]
    file, network = candidates(EvaluateConfig(path, output_stride=16), 513)
    # Both compute the same convolutions at the same sizes.
    assert file.multiply_adds((513, 513)) == network.multiply_adds((513, 513))
    assert file.file_bytes == 760_904


def test_official_file_is_parsed_once(official_models, tmp_path, monkeypatch):
    parsed = []
    # A copy, because opened files are kept and other tests open the original.
    path = shutil.copy(official_models / OFFICIAL, tmp_path)
    monkeypatch.setattr(
        "deeplab.tflite.tflite_file.read_graph", lambda *content: parsed.append(1) or read_graph(*content)
    )
    file, network = candidates(EvaluateConfig(str(path), output_stride=16), 513)
    file.make_predictor()
    network.make_predictor()
    assert len(parsed) == 1


def test_scales_require_a_keras_network(official_models):
    path = str(official_models / OFFICIAL)
    with pytest.raises(UserError, match="fixed input size"):
        candidates(EvaluateConfig(path, flip=True), 513)


def test_images_meet_each_model_as_in_its_training(run, tmp_path):
    resized = tmp_path / "resized"
    shutil.copytree(run, resized)
    write_json(resized / "model.json", read_json(resized / "model.json") | {"fit": "letterbox", "image_size": [65, 97]})
    both = candidates(EvaluateConfig((str(resized), run), output_stride=16), 33)
    assert [candidate.input for candidate in both] == [
        ModelInput("letterbox", (65, 97)),
        ModelInput("auto", (33, 33)),
    ]
    predictor = both[0].make_predictor()
    assert (predictor.image_size, predictor.fit) == ((65, 97), "letterbox")
    text = "made for images letterboxed to 65x97, but used with images stretched to 49x49"
    with pytest.warns(UserWarning, match=text):
        (other,) = candidates(EvaluateConfig(str(resized), output_stride=16, fit="stretch", image_size=49))
    assert other.input == ModelInput("stretch", (49, 49))
    with pytest.raises(UserError, match=r"fit=letterbox: the size is unknown; add image_size="):
        candidates(EvaluateConfig(run, output_stride=16, fit="letterbox"), None)


class FakeTensor:
    def __init__(self, *shape: int) -> None:
        self.shape = shape


class FakeOperator:
    def __init__(self, name: str, inputs: tuple[int, ...], outputs: tuple[int, ...]) -> None:
        self.name, self.inputs, self.outputs = name, inputs, outputs


def test_multiply_adds_of_a_file_equal_those_counted_by_hand():
    class Graph:
        tensors = (FakeTensor(1, 9, 9, 3), FakeTensor(8, 3, 3, 3), FakeTensor(1, 5, 5, 8), FakeTensor(1, 3, 3, 8))
        operators = (
            FakeOperator("CONV_2D", (0, 1), (2,)),
            FakeOperator("DEPTHWISE_CONV_2D", (2, 3), (2,)),
            FakeOperator("ADD", (2, 2), (2,)),
        )

    assert file_multiply_adds(Graph()) == 25 * 8 * 27 + 25 * 8 * 9
