"""Pruning a network to a target: what is kept, what is refused, and that the importance of channels pays."""

import dataclasses
import re
from pathlib import Path

import keras
import numpy as np
import pytest
import tensorflow as tf

from deeplab.config import DataConfig, ModelConfig, PruneConfig, TrainConfig, TrainingConfig, build
from deeplab.config.description import ModelDescription
from deeplab.conversion.convert import convert
from deeplab.conversion.export_graph import export_graph
from deeplab.datasets.open import open_source
from deeplab.datasets.shapes import CLASSES
from deeplab.errors import UserError
from deeplab.model.build import DeepLab, build_model
from deeplab.model.cost import cost
from deeplab.pruning import prune as module
from deeplab.pruning.blocks import channel_costs, expanded_blocks, without_channels
from deeplab.pruning.importance import Importance, choose_channels
from deeplab.pruning.prune import prune
from deeplab.run_folder import open_model, save_model
from deeplab.tflite.metadata import write_metadata
from tests.networks import random_image, randomize

pytestmark = pytest.mark.usefixtures("uncompiled")

TINY = ModelConfig(depth_multiplier=0.25, head="v3", aspp_rates=(), aspp_channels=8, classes=len(CLASSES))


@pytest.fixture(scope="module")
def run(tmp_path_factory) -> Path:
    """A run folder with a network of random weights, for the classes of the drawn shapes."""
    folder = tmp_path_factory.mktemp("runs") / "tiny"
    folder.mkdir()
    save_model(folder, randomize(build_model(TINY)), ModelDescription(TINY, CLASSES))
    return folder


def settings(run: Path, **targets: float) -> TrainConfig:
    training = {"crop_size": 33, "batch_size": 2}
    prune = {"image_size": 65, "images": 4} | targets
    return build(
        TrainConfig, {"pretrained": str(run), "model": vars(TINY), "training": training, "prune": prune, "run": "new"}
    )


@pytest.mark.parametrize("fraction", [0.95, pytest.param(0.75, marks=pytest.mark.slow)])
def test_the_pruned_network_meets_the_target_closely(run, fraction, capsys):
    full = cost(TINY, 16, 65).multiply_adds
    pruned, description = prune(settings(run, target_multiply_adds=fraction * full))
    # The size of the steps is 8 channels of a block: at most 3 % of this network.
    assert (fraction - 0.03) * full < cost(pruned.config, 16, 65).multiply_adds <= fraction * full
    assert description == ModelDescription(pruned.config, CLASSES)
    last = capsys.readouterr().out.splitlines()[-1]
    reached = f"{cost(pruned.config, 16, 65).multiply_adds / 1e6:.4g} M multiply-adds"
    assert last == f"pruned to {reached}, {pruned.count_params() / 1e6:.2f} M weights"
    channels = [block.channels for block in expanded_blocks(pruned)]
    assert tuple(channels) == pruned.config.expanded_channels
    assert all(number % 8 == 0 for number in channels)


def test_a_target_that_is_met_already_changes_nothing(run, capsys):
    pruned, description = prune(settings(run, target_multiply_adds=1e12))
    assert capsys.readouterr().out.splitlines()[-1] == "nothing is pruned: the network meets the target"
    assert description.config.expanded_channels is None
    image = random_image(65, 65)
    np.testing.assert_array_equal(pruned(image), open_model(run).load(16)(image))


@pytest.mark.slow
def test_a_target_in_milliseconds_is_met_by_measurement(run, monkeypatch, capsys):
    """The time is replaced: 10 ms, plus 100 ms for all multiply-adds of the network."""
    full = cost(TINY, 16, 65).multiply_adds
    measure = lambda network: 10 + 100 * cost(network, 16, 65).multiply_adds / full  # noqa: E731
    monkeypatch.setattr(module, "_time_measurement", lambda config, reference: measure)
    pruned, _ = prune(settings(run, target_ms=90))
    last = capsys.readouterr().out.splitlines()[-1]
    assert re.fullmatch(r"pruned to [\d.]+ ms, [\d.]+ M weights, [\d.]+ M multiply-adds", last)
    # 80 ms for 80 % of the multiply-adds, within one round at the largest factor.
    assert 0.98 * 0.8 - 0.03 < cost(pruned.config, 16, 65).multiply_adds / full <= 0.8
    with pytest.raises(UserError, match=r"prune\.target_ms: 9 ms is out of reach, the smallest network needs"):
        prune(settings(run, target_ms=9))


@pytest.mark.slow
def test_the_time_is_that_of_the_int8_file_relative_to_the_unpruned_network(run, monkeypatch):
    """With the clock replaced, the unpruned network takes 8 ms alone, and 16 ms later; the other takes 4 ms then."""
    times = iter([{"reference": 8.0}, {"reference": 16.0, "network": 4.0}])
    files = []
    monkeypatch.setattr(module, "median_milliseconds", lambda names, rounds: files.append(names) or next(times))
    measure = module._time_measurement(settings(run, target_ms=1), TINY)
    smaller = dataclasses.replace(TINY, expanded_channels=(8,) * 16)
    assert measure(smaller) == pytest.approx(2.0)
    assert {tensor.dtype for tensor in files[1]["network"].graph.tensors} >= {"int8", "uint8"}
    assert len(files[1]["network"].content) < len(files[1]["reference"].content)


def test_quantization_aware_runs_and_other_networks_are_refused(run, tmp_path):
    config = settings(run, target_multiply_adds=1e12)
    other = dataclasses.replace(config, model=dataclasses.replace(TINY, aspp_channels=16))
    with pytest.raises(UserError, match="model: its settings describe another network"):
        prune(other)
    description = ModelDescription(TINY, CLASSES, quantized=True)
    save_model(tmp_path, open_model(run).load(16), description)
    with pytest.raises(UserError, match="is quantization-aware; prune the run that it started from"):
        prune(dataclasses.replace(config, pretrained=str(tmp_path)))


@pytest.mark.slow
def test_batch_norm_folded_in_a_file_gets_the_statistics_of_its_input(run, tmp_path):
    """Otherwise a training with batch statistics would start from another function than the pruned network."""
    path, size = tmp_path / "network.tflite", (33, 33)
    content = convert(export_graph(open_model(run).load(16, size)), size)
    path.write_bytes(write_metadata(content, CLASSES))
    config = settings(run, target_multiply_adds=1e12)
    config = dataclasses.replace(config, pretrained=str(path))
    folded, image = open_model(path).load(16), random_image(33, 33)

    frozen = dataclasses.replace(config, training=dataclasses.replace(config.training, batch_norm="frozen"))
    kept, _ = prune(frozen)
    np.testing.assert_array_equal(kept.get_layer("backbone_stem_bn").moving_mean, np.zeros(8))

    pruned, _ = prune(config)
    crops = np.concatenate([images for images, _ in module._crops(open_source(config.data, "train"), config)])
    assert len(crops) == config.prune.images
    norm = pruned.get_layer("backbone_stem_bn")
    inputs = np.asarray(keras.Model(pruned.input, norm.input)(crops))
    np.testing.assert_allclose(norm.moving_mean, inputs.mean((0, 1, 2)), atol=1e-4)
    np.testing.assert_allclose(norm.moving_variance, inputs.var((0, 1, 2)), rtol=1e-3)
    np.testing.assert_allclose(pruned(image), folded(image), atol=1e-3 * float(np.abs(folded(image)).max()))


def test_importance_is_measured_on_as_many_crops_as_requested(run):
    config = settings(run, target_multiply_adds=1e12, images=3)
    batches = module._crops(open_source(config.data, "train"), config)
    assert [(len(images), len(labels)) for images, labels in batches] == [(2, 2), (1, 1)]


def miou(network: DeepLab, examples: list) -> float:
    """Return the mIoU in points over images of at most 513 pixels, padded with the pixel that is normalized to 0."""
    predict = tf.function(lambda image: tf.argmax(network(image, training=False), -1), autograph=False)
    matrix = np.zeros((21, 21))
    for example in examples:
        height, width = example.label.shape
        image = np.full((1, 513, 513, 3), 127.5, np.float32)
        image[0, :height, :width] = example.image
        ids, valid = predict(image).numpy()[0, :height, :width], example.label != 255
        np.add.at(matrix, (example.label[valid], ids[valid]), 1)
    shared = np.diag(matrix)
    union = matrix.sum(0) + matrix.sum(1) - shared
    return 100 * float(np.mean((shared / np.maximum(union, 1))[matrix.sum(1) > 0]))


@pytest.mark.slow
def test_channels_chosen_by_importance_cost_less_accuracy_than_random_ones(official_models, voc_root):
    """On training images of VOC, without retraining; every network keeps the means of the removed channels."""
    path = official_models / "deeplabv3_mnv2_pascal_quant.tflite"
    data = DataConfig(source="voc", root=str(voc_root), train_split="train")
    network, source = open_model(path).load(16), open_source(data, "train")
    full = cost(network.config, 16, 513).multiply_adds
    training = TrainingConfig(crop_size=321, batch_size=4)
    targets = PruneConfig(target_multiply_adds=0.85 * full, images=32)
    config = TrainConfig(pretrained=str(path), model=network.config, data=data, training=training, prune=targets)
    pruned, _ = prune(config)

    rng, blocks = np.random.default_rng(0), expanded_blocks(network)
    importance = module._importance(network, source, config)
    chosen = zip(blocks, pruned.config.expanded_channels, strict=True)
    in_blocks = [np.sort(rng.choice(block.channels, number, replace=False)) for block, number in chosen]
    costs = channel_costs(build_model(network.config, 16, 513))
    # Random importance per multiply-add.
    values = tuple(rng.permutation(block.channels) * c for block, c in zip(blocks, costs, strict=True))
    anywhere = choose_channels(Importance(values, importance.means), costs, 0.15 * full)
    random = [without_channels(network, kept, importance.means, 16) for kept in (in_blocks, anywhere)]

    examples = [source.load(400 + index) for index in range(20)]
    expected, within, across = (miou(model, examples) for model in (pruned, *random))
    assert expected > within + 3
    assert expected > across + 20
