"""Files made from quantization-aware networks have exactly the trained ranges."""

import dataclasses
from dataclasses import dataclass

import keras
import numpy as np
import pytest

from deeplab.config import DataConfig, ExportConfig, ModelConfig, TrainConfig, TrainingConfig, to_mapping
from deeplab.conversion.checks import CheckId
from deeplab.conversion.convert import convert
from deeplab.conversion.export import export
from deeplab.conversion.export_graph import export_graph
from deeplab.conversion.float_layers import layer_of
from deeplab.conversion.structure import ExpectedFile, structure_checks
from deeplab.datasets.shapes import CLASSES, shapes_source
from deeplab.errors import UserError
from deeplab.files import write_json
from deeplab.model.build import build_model
from deeplab.model.quantization.transform import (
    activation_ranges,
    measure_ranges,
    quantization_parameters,
    quantize_aware,
    round_as_builtin_kernels,
)
from deeplab.pretrained.tflite_network import load_quantized, read_network
from deeplab.run_folder import ModelDescription, load_model, save_model
from deeplab.tflite.flatbuffer import TfliteGraph, read_graph
from deeplab.tflite.interpreter import TfliteModel, accepts_raw_pixels
from deeplab.tflite.metadata import write_metadata
from deeplab.tflite.tflite_file import open_tflite
from deeplab.training.train import train
from tests.networks import randomize

SIZE = 65
TINY = ModelConfig(
    depth_multiplier=0.1,
    aspp_rates=(2,),
    aspp_channels=8,
    decoder_channels=8,
    low_level_channels=8,
    classes=len(CLASSES),
)


@dataclass(frozen=True)
class Made:
    model: keras.Model
    images: list[np.ndarray]
    content: bytes
    graph: TfliteGraph


@pytest.fixture(scope="module")
def made() -> Made:
    """A tiny DeepLabv3+ with measured ranges, and its file, converted without calibration images."""
    model = quantize_aware(randomize(build_model(TINY, 16, SIZE), seed=3))
    images = [e.image for e in shapes_source("train", SIZE).examples(3)]
    measure_ranges(model, [np.stack(images).astype(np.float32)])
    content = convert(export_graph(model), (SIZE, SIZE), "int8")
    return Made(model, images, content, read_graph(content))


def test_every_operator_is_int8_and_only_input_and_output_are_converted(made):
    counts = made.graph.operator_counts()
    # As in the float file: stem, 16 + 17 of the 17 blocks, ASPP and decoder.
    assert counts == {
        "CONV_2D": 1 + 16 + 17 + 4 + 4,
        "DEPTHWISE_CONV_2D": 17 + 1 + 2,
        "ADD": 10,
        "RESIZE_BILINEAR": 3,
        "CONCATENATION": 2,
        "MEAN": 1,
        "QUANTIZE": 2,
    }
    assert {t.dtype for t in made.graph.tensors} == {"uint8", "int8", "int32"}
    image = made.graph.tensors[made.graph.inputs[0]]
    assert image.dtype == "uint8"
    assert accepts_raw_pixels(image)


def test_every_tensor_has_the_trained_scale_and_zero_point(made):
    ranges = {r.name: r for r in activation_ranges(made.model)}
    checked = set()
    for op in made.graph.operators:
        tensor = made.graph.tensors[op.outputs[0]]
        name = f"{layer_of(made.graph, op)}_range"
        if name not in ranges or tensor.dtype != "int8":
            continue
        low, high = (float(end) for end in ranges[name].bounds())
        scale = (high - low) / 255
        assert tensor.quantization.scale[0] == pytest.approx(scale, rel=1e-5), name
        assert tensor.quantization.zero_point[0] == round(-low / scale) - 128, name
        checked.add(name)
    # All except the fixed range of the image, and those that concatenations share under a single name.
    assert len(checked) >= len(ranges) - 4


def test_kernels_have_a_scale_for_each_output_channel(made):
    layer = made.model.get_layer("backbone_block3_depthwise")
    gamma, _, _, variance = layer.norm.get_weights()
    folded = np.asarray(layer.conv.kernel)[..., 0] * gamma / np.sqrt(variance + layer.norm.epsilon)
    (op,) = (
        op for op in made.graph.operators if "block3_depthwise" in made.graph.tensors[op.outputs[0]].name.split(";")[0]
    )
    kernel = made.graph.tensors[op.inputs[1]]
    scales = np.abs(folded).max((0, 1)) / 127
    assert kernel.quantization.axis == 3
    np.testing.assert_allclose(kernel.quantization.scale, scales, rtol=1e-5)
    np.testing.assert_array_equal(kernel.data[0], np.round(folded / scales))
    assert set(kernel.quantization.zero_point) == {0}


def test_a_tensor_outside_the_trained_ranges_fails(made):
    expected = ExpectedFile((SIZE, SIZE), 1, CLASSES, "logits", "int8", "uint8", "uint8")
    parameters = quantization_parameters(made.model)

    def state(*known):
        target = dataclasses.replace(expected, quantization_parameters=known)
        checks = structure_checks(TfliteModel(made.content), target)
        return next(c.state for c in checks if c.id == CheckId.TRAINED_RANGES)

    assert state(*parameters) == "passed"
    (scale, zero_point), *others = parameters
    assert state((1.01 * scale, zero_point), *others) == "failed"
    assert state((scale, zero_point + 1), *others) == "failed"


@pytest.mark.parametrize("kernels", ["xnnpack", "builtin"])
def test_the_file_computes_what_was_simulated(made, kernels):
    file = TfliteModel(made.content, kernels=kernels)
    difference = {}
    for builtin in (False, True):
        round_as_builtin_kernels(made.model, builtin)
        expected = [np.asarray(made.model(i[None].astype(np.float32), training=False))[0] for i in made.images]
        round_as_builtin_kernels(made.model, False)
        difference[builtin] = np.mean(
            [np.abs(file(i) - e).mean() / e.std() for i, e in zip(made.images, expected, strict=True)]
        )
    # The network is random: differences in float rounding grow from layer to layer.
    assert difference[kernels == "builtin"] < 0.03
    assert difference[kernels == "builtin"] < 0.8 * difference[kernels != "builtin"]


@pytest.mark.parametrize(
    ("backbone", "head", "rates"),
    [("vgg16", "v1", (6,)), pytest.param("resnet50", "v2", (3, 6), marks=pytest.mark.slow)],
)
def test_networks_that_subtract_the_mean_are_all_int8(backbone, head, rates):
    config = ModelConfig(backbone=backbone, depth_multiplier=0.125, head=head, aspp_rates=rates, aspp_channels=8)
    model = quantize_aware(randomize(build_model(config, 8, SIZE), seed=3))
    images = [e.image for e in shapes_source("train", SIZE).examples(3)]
    measure_ranges(model, [np.stack(images).astype(np.float32)])
    file = TfliteModel(convert(export_graph(model), (SIZE, SIZE), "int8"))
    counts = file.graph.operator_counts()
    assert counts["QUANTIZE"] == 2
    if backbone == "vgg16":
        # 13 convolutions, fc6, fc7 and the logits. The last pooling has rate 2: two maxima of two values per axis.
        assert (counts["CONV_2D"], counts["MAX_POOL_2D"], counts["MAXIMUM"]) == (13 + 3, 4, 4)
    assert counts["DEPTHWISE_CONV_2D"] == 1
    parameters = quantization_parameters(model)
    expected = ExpectedFile((SIZE, SIZE), 1, ("",) * 21, "logits", "int8", "uint8", "uint8", (), 0.0, parameters)
    checks = {c.id: c.state for c in structure_checks(file, expected)}
    ids = (CheckId.OPERATORS, CheckId.FIRST_OPERATORS, CheckId.FLOAT_OPERATORS, CheckId.TRAINED_RANGES)
    assert [checks[i] for i in ids] == ["passed"] * 4
    scores = np.asarray(model(images[0][None].astype(np.float32), training=False))[0]
    # The networks are random: differences in rounding grow from layer to layer, and ResNet has four times as many.
    assert np.abs(file(images[0]) - scores).mean() < (0.03 if backbone == "vgg16" else 0.06) * scores.std()


@pytest.fixture(scope="module")
def run(made, tmp_path_factory):
    """A run folder whose data are missing."""
    folder = tmp_path_factory.mktemp("run")
    save_model(folder, made.model, ModelDescription(TINY, CLASSES, quantized=True))
    data = DataConfig(source="voc", root="gone")
    write_json(folder / "train.json", to_mapping(TrainConfig(data=data, training=TrainingConfig(crop_size=SIZE))))
    return folder


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"quantization": "float32"}, "quantization: float32 requested, but the run was trained for int8"),
        ({"quantization": ("int8", "float16")}, "quantization: int8, float16"),
        ({"float_layers": ("logits",)}, "float_layers: the run was trained for int8"),
        ({"per_tensor": True}, "per_tensor: the run was trained for int8 with per-channel kernels"),
        ({"equalize": False}, "equalize: only per-tensor files are equalized"),
        ({"data": {"root": "elsewhere"}}, "elsewhere"),
    ],
)
def test_settings_that_do_not_fit_a_quantization_aware_run(run, tmp_path, changes, message):
    with pytest.raises(UserError, match=message):
        export(ExportConfig(run=str(run), out=str(tmp_path / "m.tflite"), **changes))
    assert list(tmp_path.iterdir()) == []


def test_a_run_with_unmeasured_ranges_is_a_user_error(tmp_path):
    save_model(tmp_path, quantize_aware(build_model(TINY, 16)), ModelDescription(TINY, CLASSES, quantized=True))
    data = DataConfig(source="shapes")
    write_json(tmp_path / "train.json", to_mapping(TrainConfig(data=data, training=TrainingConfig(crop_size=SIZE))))
    with pytest.raises(UserError, match="ranges are empty"):
        export(ExportConfig(run=str(tmp_path), miou_images=0, agreement_images=1))


@pytest.mark.slow
@pytest.mark.parametrize(("output", "mask_stride"), [("probabilities", 1), ("labels", 1), ("logits", 4)])
def test_other_outputs_are_int8_too(made, output, mask_stride):
    content = convert(export_graph(made.model, output, mask_stride), (SIZE, SIZE), "int8")
    graph = read_graph(content)
    floats = [op.name for op in graph.operators for i in op.inputs if i >= 0 and graph.tensors[i].dtype == "float32"]
    assert floats == []
    assert graph.operator_counts()["QUANTIZE"] <= 2
    model = TfliteModel(content, kernels="builtin")
    logits = TfliteModel(made.content, kernels="builtin")(made.images[0])[::mask_stride, ::mask_stride]
    actual = model(made.images[0])
    if output == "probabilities":
        expected = np.exp(logits - logits.max(-1, keepdims=True))
        np.testing.assert_allclose(actual, expected / expected.sum(-1, keepdims=True), atol=0.02)
    elif output == "labels":
        assert np.mean(actual == logits.argmax(-1)) > 0.97
    else:
        assert np.mean(actual.argmax(-1) == logits.argmax(-1)) > 0.97


@pytest.mark.slow
def test_a_quantization_aware_training_is_exported_without_calibration(tmp_path):
    """Train a float network, continue quantization-aware, and export an int8 file that agrees."""
    network = ModelConfig(depth_multiplier=0.25, head="v3", aspp_rates=(), aspp_channels=32, batch_norm_momentum=0.9)
    plain = TrainingConfig(steps=60, batch_size=8, crop_size=SIZE, learning_rate=0.1, save_every=60)
    data = DataConfig(source="shapes", val_size=8)
    first = TrainConfig(str(tmp_path / "float"), model=network, data=data, training=plain, output_stride=(16,))
    train(dataclasses.replace(first, image_size=SIZE))
    aware = dataclasses.replace(plain, steps=10, learning_rate=1e-3, batch_norm="frozen", quantize_aware=True)
    second = dataclasses.replace(first, run=str(tmp_path / "aware"), pretrained=first.run, training=aware)
    train(dataclasses.replace(second, image_size=SIZE))
    out = tmp_path / "model.tflite"
    (report,) = export(ExportConfig(second.run, str(out), image_size=SIZE, miou_images=8))
    assert report.origin["calibration"] is None
    assert report.origin["quantization_aware"] is True
    states = {c.id: c.state for c in report.checks}
    assert states[CheckId.TRAINED_RANGES] == "passed"
    assert states[CheckId.SIMULATED_BUILTIN] == "passed"
    simulated, file = load_model(second.run, 16, SIZE), TfliteModel(out, kernels="builtin")
    images = [e.image for e in shapes_source("val", SIZE).examples(8)]
    same = [
        np.mean(file(i).argmax(-1) == np.asarray(simulated(i[None].astype(np.float32)))[0].argmax(-1)) for i in images
    ]
    assert np.mean(same) >= 0.98


def constants(graph: TfliteGraph) -> dict[str, np.ndarray]:
    """Return the stored integers by tensor name."""
    return {t.name: t.data for t in graph.tensors if t.data is not None and t.dtype in ("int8", "int32")}


def test_a_quantized_file_is_loaded_with_its_quantization_parameters(made):
    model = load_quantized(made.content, 16, SIZE)
    np.testing.assert_allclose(quantization_parameters(model), quantization_parameters(made.model), rtol=1e-6)
    image = np.stack(made.images).astype(np.float32)
    actual, expected = (np.asarray(m(image)).argmax(-1) for m in (model, made.model))
    # Float sums close to a rounding boundary can be rounded differently, in every layer.
    assert (actual == expected).mean() > 0.97


def test_a_quantized_file_that_is_exported_again_keeps_all_integers(made, tmp_path):
    content = write_metadata(made.content, CLASSES, activation="softmax")
    (tmp_path / "first.tflite").write_bytes(content)
    config = ExportConfig(str(tmp_path / "first.tflite"), str(tmp_path / "again.tflite"), agreement_images=2)
    (report,) = export(config)
    assert report.origin["keep_ranges"] is True
    assert report.origin["calibration"] is None
    graph = open_tflite(tmp_path / "again.tflite").graph
    actual, expected = constants(graph), constants(made.graph)
    assert sorted(actual) == sorted(expected)
    for name, integers in expected.items():
        np.testing.assert_array_equal(actual[name], integers, name)
    scales = [[t.quantization.scale for t in g.tensors if t.quantization] for g in (graph, made.graph)]
    for a, b in zip(*scales, strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-5)


def test_calibration_images_are_required_unless_ranges_are_kept(made, tmp_path):
    (tmp_path / "first.tflite").write_bytes(made.content)
    config = ExportConfig(str(tmp_path / "first.tflite"), str(tmp_path / "again.tflite"))
    for changes in ({"keep_ranges": False}, {"quantization": "int16x8"}, {"float_layers": ("logits",)}):
        with pytest.raises(UserError, match="calibration needs training images"):
            export(dataclasses.replace(config, **changes))


def test_a_float_file_has_no_ranges(made):
    content = convert(export_graph(build_model(TINY, 16, SIZE)), (SIZE, SIZE), "float32")
    assert read_network(content).ranges is None
    with pytest.raises(UserError, match="is not fully quantized"):
        load_quantized(content)
