"""Prunes the pretrained network of a training to a target cost."""

import dataclasses
from collections.abc import Callable, Iterator

import numpy as np

from deeplab.config import ModelConfig, TrainConfig, fixed_height_width
from deeplab.config.class_names import check_same_classes
from deeplab.config.description import ModelDescription
from deeplab.conversion.calibration import with_full_range
from deeplab.conversion.convert import convert
from deeplab.conversion.export_graph import export_graph
from deeplab.conversion.timing import median_milliseconds
from deeplab.datasets.open import open_training_source
from deeplab.datasets.pipeline import iterate, training_batches
from deeplab.datasets.source import Source
from deeplab.errors import UserError
from deeplab.model.batch_norm_statistics import unfold_batch_norm
from deeplab.model.build import DeepLab, build_model
from deeplab.model.cost import cost
from deeplab.pixels import GRAY, mean_pixel
from deeplab.pretrained.importer import check_source
from deeplab.pruning.blocks import channel_costs, expanded_blocks, without_channels
from deeplab.pruning.importance import (
    MULTIPLE,
    Importance,
    NoLabelsError,
    choose_channels,
    measure_importance,
    removable,
)
from deeplab.published_weights import local_file
from deeplab.run_folder import MODEL_FILE, is_tflite, open_model
from deeplab.tflite.tflite_file import TfliteFile, open_tflite

MIN_FACTOR = 0.8
"""Each round multiplies the multiply-adds by at least this factor, because the importance of a channel changes when
others are removed."""

_TIMED_IMAGES = 31


@dataclasses.dataclass(frozen=True)
class _Target:
    """What a network is pruned to.

    Attributes:
        key: the setting.
        maximum: its value.
        measure: returns the cost of an architecture.
        text: formats a cost with its unit.
        max_factor: largest factor on the multiply-adds in a round. Milliseconds need one below 1, because they are not
            exactly linear in the multiply-adds.
        minimum: cost of the smallest possible network.
    """

    key: str
    maximum: float
    measure: Callable[[ModelConfig], float]
    text: Callable[[float], str]
    max_factor: float
    minimum: float


def prune(config: TrainConfig) -> tuple[DeepLab, ModelDescription]:
    """Prune the network of `config.pretrained` as `config.prune` says.

    Each round measures the importance of the channels and removes the least important ones per multiply-add, until the
    network meets the target.

    Args:
        config: complete settings of a training with `prune.enabled`.

    Returns:
        The pruned network at the output stride of the training, and its description.

    Raises:
        UserError: the pretrained network cannot be pruned, is not that of the training, has other classes than the
            data, or cannot reach the target.
    """
    settings, stride = config.prune, config.training.output_stride
    network, description = _trained_network(config)
    source = open_training_source(dataclasses.replace(config.data, unlabelled=None), config.seed)
    check_same_classes("pretrained", str(config.pretrained), description.classes, source.classes)
    fixed = build_model(network.config, stride, settings.image_size)
    costs = channel_costs(fixed)
    target = _target(config, fixed)
    present = target.measure(network.config)
    print(f"Pruning {config.pretrained} from {target.text(present)} to {target.text(target.maximum)} ...", flush=True)
    meets_target = present <= target.maximum
    if meets_target:
        print("nothing is pruned: the network meets the target", flush=True)
    while present > target.maximum:
        print(f"Measuring the importance of channels at {target.text(present)} ...", flush=True)
        importance = _importance(network, source, config)
        available = removable(importance, costs)
        if not available:
            raise _out_of_reach(target, present)
        share = (target.maximum - target.minimum) / (present - target.minimum)
        number = _multiply_adds(fixed, network.config)
        # Between the present and the smallest network, the cost is about linear in the multiply-adds.
        factor = 1 - (1 - share) * available / number
        excess = (1 - min(max(factor, MIN_FACTOR), target.max_factor)) * number
        kept = choose_channels(importance, costs, min(excess, available))
        network = without_channels(network, kept, importance.means, stride)
        present = target.measure(network.config)
    if open_model(str(config.pretrained)).is_tflite and not config.training.freezes_statistics:
        # Batch norm is folded in a .tflite file; training does so itself with a file, but not with a run folder.
        unfold_batch_norm(network, (images for images, _ in _crops(source, config)))
    if not meets_target:
        size = f"{network.count_params() / 1e6:.2f} M weights"
        if settings.target_ms is not None:
            size += f", {_multiply_adds(fixed, network.config) / 1e6:.4g} M multiply-adds"
        print(f"pruned to {target.text(present)}, {size}", flush=True)
    return network, dataclasses.replace(description, config=network.config)


def _trained_network(config: TrainConfig) -> tuple[DeepLab, ModelDescription]:
    """Open the network to prune.

    Raises:
        UserError: it is no run folder or .tflite file, is quantization-aware, or another network than that of `model`.
    """
    name, stride = str(config.pretrained), config.training.output_stride
    check_source(name)
    path = local_file(name)
    if name == "imagenet" or not (is_tflite(path) or (path / MODEL_FILE).is_file()):
        raise UserError("pretrained", f"{name} is no trained network", "prune a run folder or a .tflite file")
    trained = open_model(name)
    description = trained.description
    if description.quantized:
        raise UserError("pretrained", f"{name} is quantization-aware", "prune the run that it started from")
    network = trained.load(stride)
    expected = build_model(dataclasses.replace(config.network, classes=network.config.classes), stride)
    if [w.shape for w in network.weights] != [w.shape for w in expected.weights]:
        problem = f"its settings describe another network than {name}"
        raise UserError("model", problem, "leave them out, or train such a network first")
    return network, description


def _importance(network: DeepLab, source: Source, config: TrainConfig) -> Importance:
    """Measure the importance of the channels on the crops of `_crops`."""
    try:
        return measure_importance(network, _crops(source, config))
    except NoLabelsError as error:
        raise UserError("prune.images", str(error), "choose a larger number") from error


def _crops(source: Source, config: TrainConfig) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Yield the first `config.prune.images` training crops and their labels, in batches."""
    padding = mean_pixel(config.network.backbone)
    left = config.prune.images
    for images, labels in iterate(training_batches(source, config.training, config.seed, padding=padding)):
        yield images.numpy()[:left], labels.numpy()[:left]
        left -= len(images)
        if left <= 0:
            return


def _multiply_adds(unpruned: DeepLab, network: ModelConfig) -> float:
    """Return the multiply-adds of `network`, which has some of the expanded channels of `unpruned`, of fixed size."""
    blocks = expanded_blocks(unpruned)
    kept = network.expanded_channels or [block.channels for block in blocks]
    removed = [block.channels - number for block, number in zip(blocks, kept, strict=True)]
    return cost(unpruned).multiply_adds - float(np.dot(removed, channel_costs(unpruned)))


def _target(config: TrainConfig, unpruned: DeepLab) -> _Target:
    """Return the target; raises UserError if the smallest possible network exceeds it."""
    settings = config.prune
    channels = tuple(min(block.channels, MULTIPLE) for block in expanded_blocks(unpruned))
    smallest = dataclasses.replace(unpruned.config, expanded_channels=channels)
    if settings.target_ms is not None:
        measure = _time_measurement(config, unpruned.config)
        minimum = measure(smallest)
        target = _Target("prune.target_ms", settings.target_ms, measure, lambda ms: f"{ms:.3g} ms", 0.98, minimum)
    else:
        target = _Target(
            "prune.target_multiply_adds",
            float(settings.target_multiply_adds or 0),
            lambda network: _multiply_adds(unpruned, network),
            lambda number: f"{number / 1e6:.4g} M multiply-adds",
            1.0,
            _multiply_adds(unpruned, smallest),
        )
    if target.minimum > target.maximum:
        raise _out_of_reach(target, target.minimum)
    return target


def _out_of_reach(target: _Target, minimum: float) -> UserError:
    problem = f"{target.text(target.maximum)} is out of reach, the smallest network needs {target.text(minimum)}"
    return UserError(target.key, problem, "choose a larger number, or another network")


def _time_measurement(config: TrainConfig, reference: ModelConfig) -> Callable[[ModelConfig], float]:
    """Return a function that measures the milliseconds of an architecture's int8 file with one thread.

    Weights do not matter for the time, hence they are random. Each file runs in turn with that of `reference`, whose
    time is measured here, so that other load on the machine counts less.
    """
    settings, stride = config.prune, config.training.output_stride
    height, width = fixed_height_width(settings.image_size) or (0, 0)
    images = with_full_range((np.full((height, width, 3), GRAY, np.float32),))

    def file_of(network: ModelConfig) -> TfliteFile:
        graph = export_graph(build_model(network, stride, settings.image_size), mask_stride=settings.mask_stride)
        return open_tflite(convert(graph, (height, width), "int8", images, correct_biases=False))

    first = file_of(reference)
    unpruned = median_milliseconds({"reference": first}, _TIMED_IMAGES)["reference"]

    def measure(network: ModelConfig) -> float:
        times = median_milliseconds({"reference": first, "network": file_of(network)}, _TIMED_IMAGES)
        return times["network"] / times["reference"] * unpruned

    return measure
