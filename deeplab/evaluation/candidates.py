"""Which models, at which output strides and scales, make the rows of the table."""

import math
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import lru_cache, partial
from pathlib import Path
from typing import TYPE_CHECKING

from deeplab.config import EvaluateConfig, ModelConfig
from deeplab.errors import UserError
from deeplab.prediction.image_fit import Size
from deeplab.prediction.multi_scale import multi_scale_predictor, scaled_size
from deeplab.prediction.predictor import Predictor, keras_predictor, tflite_predictor
from deeplab.run_folder import is_tflite, load_model, open_model

if TYPE_CHECKING:
    from deeplab.tflite.flatbuffer import TfliteGraph

RUN_STRIDES = (16, 8)
"""Output strides of a run where none are asked for."""


@dataclass(frozen=True)
class Candidate:
    """One row of the table, before it is measured.

    Attributes:
        name: of the row.
        run: the run folder or .tflite file.
        output_stride: None for a file that runs as it is.
        scales: that its probabilities are averaged over.
        flip: whether over flipped pictures too.
        file_bytes: of the weights or the .tflite file.
        classes: number of classes; None where a file does not tell.
        open: loads the model.
        count: multiply-adds for one picture of (height, width) pixels.
    """

    name: str
    run: str
    output_stride: int | None
    scales: tuple[float, ...]
    flip: bool
    file_bytes: int
    classes: int | None
    open: Callable[[], Predictor]
    count: Callable[[Size], int]

    @property
    def single(self) -> bool:
        """Whether each picture is seen once, as it is."""
        return self.scales == (1.0,) and not self.flip


def candidates(config: EvaluateConfig, image_size: int | Size | None) -> list[Candidate]:
    """All rows that `config` asks for, in its order.

    Args:
        config: the models, strides, scales and flip.
        image_size: pictures are padded to this size; None runs each at its own.

    Raises:
        UserError: a run or a file is missing or damaged; rows of several scales where there is no run.
    """
    runs = config.runs
    found = [
        row for run, title in zip(runs, titles(runs), strict=True) for row in _of_run(run, title, config, image_size)
    ]
    if _several_views(config) and all(row.single for row in found):
        raise UserError(
            "scales", "a .tflite file has one size only", "give a run, or output_stride= for an official file"
        )
    return found


def titles(runs: tuple[str, ...]) -> list[str]:
    """Short names that tell the runs apart: the last part of each path, more parts where two are alike."""
    parts = [Path(run).absolute().parts for run in runs]
    for count in range(1, max(map(len, parts)) + 1):
        short = ["/".join(part[-count:]) for part in parts]
        if len(set(short)) == len(set(runs)):
            break
    return short


def _several_views(config: EvaluateConfig) -> bool:
    return config.flip or config.scales != (1.0,)


def _of_run(run: str, title: str, config: EvaluateConfig, image_size: int | Size | None) -> Iterator[Candidate]:
    """The rows of one run folder or file."""
    asked = config.output_strides
    if not is_tflite(run):
        yield from _networks(run, title, asked or RUN_STRIDES, config, image_size)
        return
    yield _file(run, title, config)
    if not asked:
        return
    try:
        _ = open_model(run).description
    except UserError as error:
        warnings.warn(f"{run} runs as it is, with no rows for output_stride={list(asked)}: {error}", stacklevel=2)
        return
    yield from _networks(run, f"{title.removesuffix('.tflite')} float", asked, config, image_size)


def _file(run: str, title: str, config: EvaluateConfig) -> Candidate:
    """The row of a .tflite file as it is."""
    from deeplab.tflite.interpreter import TfliteModel

    model = TfliteModel(run, config.threads)
    size = Path(run).stat().st_size
    count = file_multiply_adds(model.graph)
    return Candidate(
        title,
        run,
        None,
        (1.0,),
        False,
        size,
        model.classes,
        lambda: tflite_predictor(model, config.fit),
        lambda _: count,
    )


def _networks(
    run: str, title: str, strides: tuple[int, ...], config: EvaluateConfig, image_size: int | Size | None
) -> Iterator[Candidate]:
    """The rows of a Keras network at each stride, single-scale first."""
    trained = open_model(run)
    description, path = trained.description, trained.weights_file
    if not path.is_file():
        raise UserError(str(path), "no such file", "let the training end, or restore the file")
    views = [((1.0,), False)] + ([(config.scales, config.flip)] if _several_views(config) else [])
    for scales, flip in views:
        single = scales == (1.0,) and not flip
        for stride in strides if single else config.multi_scale_strides or strides:
            name = f"{title} OS{stride}"
            if not single:
                name += f" x{len(scales)} scales" * (len(scales) > 1) + " + flip" * flip
            yield Candidate(
                name,
                run,
                stride,
                scales,
                flip,
                path.stat().st_size,
                len(description.classes),
                partial(_open_single, run, stride, image_size)
                if single
                else partial(_open_several, run, stride, image_size, scales, flip),
                partial(_network_multiply_adds, run, stride, scales, flip),
            )


def _open_single(run: str, stride: int, image_size: int | Size | None) -> Predictor:
    return keras_predictor(load_model(run, stride), image_size)


def _open_several(
    run: str, stride: int, image_size: int | Size | None, scales: tuple[float, ...], flip: bool
) -> Predictor:
    return multi_scale_predictor(load_model(run, stride), scales, flip, image_size)


def _network_multiply_adds(run: str, stride: int, scales: tuple[float, ...], flip: bool, size: Size) -> int:
    """Multiply-adds over all the views of one picture."""
    config = open_model(run).description.config
    views = [(scaled_size(size[0], scale), scaled_size(size[1], scale)) for scale in scales]
    return (1 + flip) * sum(_view_multiply_adds(config, stride, view) for view in views)


@lru_cache(maxsize=64)
def _view_multiply_adds(config: ModelConfig, stride: int, size: Size) -> int:
    """Multiply-adds at one size; remembered, for counting builds the network and rows have views in common."""
    from deeplab.model.cost import cost

    return cost(config, stride, size).multiply_adds


def file_multiply_adds(graph: "TfliteGraph") -> int:
    """Multiply-adds of a .tflite file for one picture: one for each weight of each pixel a convolution gives."""
    total = 0
    for operator in graph.operators:
        if operator.name not in ("CONV_2D", "DEPTHWISE_CONV_2D", "FULLY_CONNECTED"):
            continue
        weights, output = graph.tensors[operator.inputs[1]].shape, graph.tensors[operator.outputs[0]].shape
        # A depthwise kernel [1, h, w, c] and a plain one [out, h, w, in] both touch each output pixel once per weight.
        total += math.prod(weights) * math.prod(output[:-1])
    return total
