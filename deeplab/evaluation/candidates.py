"""The candidate models of an evaluation: one for each model, output stride and scale setting."""

import hashlib
import math
import warnings
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

from deeplab.config import EvaluateConfig, ImageSize, ModelConfig
from deeplab.errors import UserError
from deeplab.files import file_sha256
from deeplab.prediction.image_fit import Size
from deeplab.prediction.model_input import UNFITTED, ModelInput, file_input, network_input
from deeplab.prediction.predictor import (
    Predictor,
    keras_predictor,
    multi_scale_predictor,
    scaled_side,
    tflite_predictor,
)
from deeplab.run_folder import TrainedModel
from deeplab.tflite.flatbuffer import CONVOLUTIONS, TfliteGraph


@dataclass(frozen=True)
class Candidate:
    """A model at one output stride and scale setting.

    Attributes:
        name: of the table row.
        run: path of the run folder or .tflite file.
        output_stride: None for a .tflite file that is evaluated as it is.
        scales: factors on the image size whose probabilities are averaged.
        flip: whether left-right flipped images are averaged too.
        file_bytes: size of the weights or of the .tflite file.
        classes: number of classes; None if a .tflite file does not state it.
        make_predictor: loads the model.
        multiply_adds: returns the multiply-adds for one image of (height, width) pixels.
        sha256: of the weights or of the .tflite file, which says what the scores belong to.
        input: how images meet the model.
    """

    name: str
    run: str
    output_stride: int | None
    scales: tuple[float, ...]
    flip: bool
    file_bytes: int
    classes: int | None
    make_predictor: Callable[[], Predictor]
    multiply_adds: Callable[[Size], int]
    sha256: str = ""
    input: ModelInput = UNFITTED

    @property
    def single_scale(self) -> bool:
        """Whether each image is predicted once, at scale 1 and not flipped."""
        return self.scales == (1.0,) and not self.flip


def make_candidates(config: EvaluateConfig, models: Sequence[TrainedModel], eval_size: ImageSize) -> list[Candidate]:
    """Return the candidates that a config requests, in its order; single-scale ones of a model come first.

    `models` are the opened `config.runs`. `eval_size` is that of the data, for models that were trained without
    `data.resize`.

    Raises:
        UserError: a model is damaged, or several scales are requested for .tflite files alone.
    """
    found: list[Candidate] = []
    for model, name in zip(models, short_names(config.runs), strict=True):
        found += _candidates_of(model, name, config, eval_size)
    if (config.flip or config.scales != (1.0,)) and all(candidate.single_scale for candidate in found):
        problem = "a .tflite file has a fixed input size"
        raise UserError("scales", problem, "give a run, or output_stride= for an official file")
    return found


def short_names(runs: tuple[str, ...]) -> list[str]:
    """Return names that distinguish the runs: the last part of each path, or as many parts as are needed."""
    parts = [Path(run).absolute().parts for run in runs]
    for count in range(1, max(map(len, parts)) + 1):
        names = ["/".join(part[-count:]) for part in parts]
        if len(set(names)) == len(set(runs)):
            break
    return names


def _candidates_of(model: TrainedModel, name: str, config: EvaluateConfig, eval_size: ImageSize) -> Iterator[Candidate]:
    strides = config.output_strides
    if model.is_tflite:
        yield _file_candidate(model, name, config)
        if not strides:
            return
        try:
            _ = model.description
        except UserError as error:
            text = f"{model.path}: evaluated as a file only, not at output_stride={list(strides)}: {error}"
            warnings.warn(text, stacklevel=2)
            return
        name = f"{name.removesuffix('.tflite')} float"
    strides = strides or (16, 8)
    if not model.weights_file.is_file():
        raise UserError(str(model.weights_file), "no such file", "let the training finish, or restore the file")
    given = network_input(model, config.fit, config.image_size, eval_size)
    for stride in strides:
        yield _network_candidate(model, name, stride, (1.0,), False, given)
    if config.flip or config.scales != (1.0,):
        for stride in config.multi_scale_strides or strides:
            yield _network_candidate(model, name, stride, config.scales, config.flip, given)


def _file_candidate(model: TrainedModel, name: str, config: EvaluateConfig) -> Candidate:
    """Return the candidate of a .tflite file as it is."""
    from deeplab.tflite.interpreter import TfliteModel

    file = TfliteModel(model.tflite, config.threads)
    multiply_adds = file_multiply_adds(file.graph)
    given, size = file_input(model, config.fit, file.image_size), len(model.tflite.content)
    return Candidate(
        name,
        str(model.path),
        None,
        (1.0,),
        False,
        size,
        file.classes,
        lambda: tflite_predictor(file, given.fit),
        lambda _: multiply_adds,
        sha256=hashlib.sha256(model.tflite.content).hexdigest(),
        input=given,
    )


def _network_candidate(
    model: TrainedModel, name: str, stride: int, scales: tuple[float, ...], flip: bool, given: ModelInput
) -> Candidate:
    """Return the candidate of a Keras network at one output stride."""
    config = model.description.config

    def make_predictor() -> Predictor:
        network = model.load(stride)
        if scales == (1.0,) and not flip:
            return keras_predictor(network, given.size, given.fit)
        return multi_scale_predictor(network, scales, flip, given.size, given.fit)

    def multiply_adds(size: Size) -> int:
        views = [(scaled_side(size[0], scale), scaled_side(size[1], scale)) for scale in scales]
        return (1 + flip) * sum(_network_multiply_adds(config, stride, view) for view in views)

    name += f" OS{stride}"
    if scales != (1.0,):
        name += f" scale {scales[0]:g}" if len(scales) == 1 else f" x{len(scales)} scales"
    name, size = name + " + flip" * flip, model.weights_file.stat().st_size
    sha256 = file_sha256(model.weights_file)
    path, classes = str(model.path), config.classes
    return Candidate(name, path, stride, scales, flip, size, classes, make_predictor, multiply_adds, sha256, given)


@lru_cache(maxsize=64)
def _network_multiply_adds(config: ModelConfig, stride: int, size: Size) -> int:
    """Return the multiply-adds at one size; cached because counting builds the network."""
    from deeplab.model.cost import cost
    from deeplab.model.resize import padded_size

    # The network pads images itself; a network of a fixed size below the smallest padded one is refused.
    return cost(config, stride, (padded_size(size[0]), padded_size(size[1]))).multiply_adds


def file_multiply_adds(graph: TfliteGraph) -> int:
    """Return the multiply-adds of a .tflite file for one image: one per weight and output pixel of a convolution."""
    total = 0
    for operator in graph.operators:
        if operator.name in (*CONVOLUTIONS, "FULLY_CONNECTED"):
            weights, output = graph.tensors[operator.inputs[1]].shape, graph.tensors[operator.outputs[0]].shape
            # Kernels are [1, h, w, c] (depthwise) or [out, h, w, in]; both use each weight once per output pixel.
            total += math.prod(weights) * math.prod(output[:-1])
    return total
