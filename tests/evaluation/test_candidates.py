"""Which rows are made of which runs; multiply-adds of a file by hand."""

from pathlib import Path

import pytest

from deeplab.config import EvaluateConfig
from deeplab.errors import UserError
from deeplab.evaluation.candidates import candidates, file_multiply_adds, titles


@pytest.fixture(scope="module")
def run(make_run) -> str:
    return str(make_run(("background", "a", "b")))


def names(config: EvaluateConfig) -> list[str]:
    return [row.name for row in candidates(config, 33)]


def test_run_is_measured_at_16_and_8_or_where_asked(run):
    assert names(EvaluateConfig(run)) == ["tiny OS16", "tiny OS8"]
    assert names(EvaluateConfig(run, output_stride=(8,))) == ["tiny OS8"]
    assert names(EvaluateConfig(run, output_stride=32)) == ["tiny OS32"]


def test_several_views_add_rows(run):
    config = EvaluateConfig(run, output_stride=(16, 8), scales=(0.5, 1.0), flip=True)
    assert names(config) == [
        "tiny OS16",
        "tiny OS8",
        "tiny OS16 x2 scales + flip",
        "tiny OS8 x2 scales + flip",
    ]
    few = EvaluateConfig(run, output_stride=(16, 8), flip=True, multi_scale_strides=(8,))
    assert names(few) == ["tiny OS16", "tiny OS8", "tiny OS8 + flip"]
    assert [row.single for row in candidates(few, 33)] == [True, True, False]


def test_multiply_adds_grow_with_views_and_shrink_with_the_stride(run):
    single16, single8, several16, _ = candidates(EvaluateConfig(run, scales=(1.0,) * 3, flip=True), 33)
    assert several16.count((33, 33)) == 6 * single16.count((33, 33))
    assert single8.count((33, 33)) > single16.count((33, 33))


def test_missing_run_and_missing_weights_are_named(run, tmp_path):
    with pytest.raises(UserError, match="nowhere"):
        candidates(EvaluateConfig(str(tmp_path / "nowhere")), 33)
    bare = tmp_path / "bare"
    bare.mkdir()
    (bare / "model.json").write_text((Path(run) / "model.json").read_text())
    with pytest.raises(UserError, match=r"model\.weights\.h5"):
        candidates(EvaluateConfig(str(bare)), 33)


def test_titles_are_as_short_as_tells_them_apart():
    assert titles(("/a/x", "/b/y")) == ["x", "y"]
    assert titles(("/a/one/x", "/a/two/x", "/a/one/y")) == ["one/x", "two/x", "one/y"]


def test_file_is_one_row_and_its_network_one_for_each_stride_asked_for(official_models):
    path = str(official_models / "deeplabv3_mnv2_dm05_pascal_quant.tflite")
    assert names(EvaluateConfig(path)) == ["deeplabv3_mnv2_dm05_pascal_quant.tflite"]
    assert names(EvaluateConfig(path, output_stride=(16, 8))) == [
        "deeplabv3_mnv2_dm05_pascal_quant.tflite",
        "deeplabv3_mnv2_dm05_pascal_quant float OS16",
        "deeplabv3_mnv2_dm05_pascal_quant float OS8",
    ]
    file, network = candidates(EvaluateConfig(path, output_stride=16), 513)
    # The same convolutions at the same sizes.
    assert file.count((513, 513)) == network.count((513, 513))
    assert file.file_bytes == 760_904


def test_scales_need_a_network(official_models):
    path = str(official_models / "deeplabv3_mnv2_dm05_pascal_quant.tflite")
    with pytest.raises(UserError, match="one size only"):
        candidates(EvaluateConfig(path, flip=True), 513)


class FakeTensor:
    def __init__(self, *shape: int) -> None:
        self.shape = shape


class FakeOperator:
    def __init__(self, name: str, inputs: tuple[int, ...], outputs: tuple[int, ...]) -> None:
        self.name, self.inputs, self.outputs = name, inputs, outputs


def test_multiply_adds_by_hand():
    class Graph:
        tensors = (FakeTensor(1, 9, 9, 3), FakeTensor(8, 3, 3, 3), FakeTensor(1, 5, 5, 8), FakeTensor(1, 3, 3, 8))
        operators = (
            FakeOperator("CONV_2D", (0, 1), (2,)),
            FakeOperator("DEPTHWISE_CONV_2D", (2, 3), (2,)),
            FakeOperator("ADD", (2, 2), (2,)),
        )

    assert file_multiply_adds(Graph()) == 25 * 8 * 27 + 25 * 8 * 9
