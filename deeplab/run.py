"""A run folder: what a training leaves behind and every other command starts from.

    model.json          the network (no output stride in it), its class names, whether it is quantization-aware
    model.weights.h5    its weights, which fit at every output stride
    train.json          the settings of the training
    scores.json         mIoU and more at each output stride measured
    log.csv, events.*   loss, learning rate and speed over the steps, for a table and for TensorBoard
    state/              all that is needed to go on with the training

A .tflite file that `deeplab.model.pretrained` can import may stand in for a run.
"""

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from deeplab.config import DataConfig, ImageSize, ModelConfig, TrainConfig, build, to_mapping
from deeplab.errors import UserError
from deeplab.files import read_json, write_json, written_aside

if TYPE_CHECKING:
    import keras

MODEL, WEIGHTS, TRAIN, SCORES, LOG, STATE = (
    "model.json",
    "model.weights.h5",
    "train.json",
    "scores.json",
    "log.csv",
    "state",
)


@dataclass(frozen=True)
class Description:
    """What a model is.

    Attributes:
        config: the network.
        classes: names by id; their number is `config.classes`.
        quantized: whether it is quantization-aware: its weights hold the ranges of an int8 file.
    """

    config: ModelConfig
    classes: tuple[str, ...]
    quantized: bool = False


def is_tflite(path: str | os.PathLike[str]) -> bool:
    """Whether `path` means a .tflite file rather than a run folder."""
    return Path(path).suffix == ".tflite"


def describe(path: str | os.PathLike[str]) -> Description:
    """Reads what the model of a run folder, or an importable .tflite file, is.

    Raises:
        UserError: there is no such run or file, or it is damaged.
    """
    if is_tflite(path):
        from deeplab.model.pretrained.tflite import describe_tflite

        config, classes = describe_tflite(Path(path))
        return Description(config, classes)
    check_run(path)
    folder = Path(path)
    content = read_json(folder / MODEL)
    try:
        # Runs of an earlier version say nothing of it.
        quantized = "quantized" in content and content["quantized"] is True
        description = Description(build(ModelConfig, content["model"]), tuple(content["classes"]), quantized)
    except (KeyError, TypeError) as error:
        raise UserError(str(folder / MODEL), f"is incomplete ({error})", "restore it from its training") from error
    if len(description.classes) != description.config.classes:
        found = f"{len(description.classes)} names for {description.config.classes} classes"
        raise UserError(str(folder / MODEL), found, "restore it from its training")
    return description


def check_run(path: str | os.PathLike[str]) -> None:
    """Looks whether there is a run folder or a readable .tflite file, without loading TensorFlow.

    Raises:
        UserError: there is none, or the file is damaged.
    """
    if is_tflite(path):
        from deeplab.tflite.flatbuffer import read_graph

        read_graph(Path(path))
    elif not (_existing(path) / MODEL).is_file():
        raise UserError(f"run={path}", f"no {MODEL} in it", "let the training end, or give another run folder")


def load_model(path: str | os.PathLike[str], output_stride: int = 8, image_size: ImageSize = None) -> "keras.Model":
    """Builds the model of a run folder or of an official .tflite file at any output stride, with its weights.

    Args:
        path: a run folder, or a .tflite file made from a DeepLab network.
        output_stride: 8, 16 or 32, whatever the one of the training was.
        image_size: fixed size in pixels, or None for any.

    Returns:
        A model from RGB `[b, h, w, 3]` float32 0..255 to logits `[b, h, w, classes]`; of a quantization-aware training
        one that simulates the int8 file.

    Raises:
        UserError: there is no such run or file, or it is damaged.
    """
    if is_tflite(path):
        from deeplab.model.pretrained.tflite import load_tflite

        return load_tflite(Path(path), output_stride, image_size)
    from deeplab.model.quantization.transform import build_network

    description = describe(path)
    model = build_network(description.config, output_stride, image_size, quantized=description.quantized)
    load_weights(model, Path(path) / WEIGHTS)
    return model


def load_weights(model: "keras.Model", path: Path) -> None:
    """Loads all weights of `model` from one of our .weights.h5 files.

    Raises:
        UserError: the file is missing, damaged or of another network.
    """
    if not path.is_file():
        raise UserError(str(path), "no such file", "let the training end, or restore the file")
    try:
        model.load_weights(path)
    except (OSError, KeyError, ValueError, RuntimeError) as error:
        reason = str(error).split("\n")[0][:200]
        raise UserError(
            str(path), f"is damaged or of another network ({reason})", "restore it, or train again"
        ) from error


def save_model(folder: Path, model: "keras.Model", description: Description) -> None:
    """Writes model.json and model.weights.h5, each whole or not at all."""
    content = {
        "model": to_mapping(description.config),
        "classes": list(description.classes),
        "quantized": description.quantized,
    }
    write_json(folder / MODEL, content)
    with written_aside(folder / WEIGHTS, suffix=".weights.h5") as aside:
        model.save_weights(aside)


def training_of(path: str | os.PathLike[str]) -> TrainConfig | None:
    """The settings a run was trained with; None for a .tflite file.

    Raises:
        UserError: there is no such run, or its train.json is missing or damaged.
    """
    return None if is_tflite(path) else build(TrainConfig, read_json(_existing(path) / TRAIN))


def _existing(path: str | os.PathLike[str]) -> Path:
    """The folder of a run.

    Raises:
        UserError: there is none.
    """
    folder = Path(path)
    if not folder.is_dir():
        beside = sorted(p.name for p in folder.parent.iterdir() if p.is_dir())[:10] if folder.parent.is_dir() else []
        there = f"; there are: {', '.join(beside)}" if beside else ""
        raise UserError(f"run={path}", f"no such folder{there}", "give the folder of a training, or a .tflite file")
    return folder


def data_of(path: str | os.PathLike[str], changes: Mapping[str, Any] | None) -> DataConfig:
    """The data to measure or calibrate a model on.

    Args:
        path: a run folder or a .tflite file.
        changes: keys of DataConfig. With `source` among them they stand alone; without, they change single values of
            the data that the run was trained on.

    Raises:
        UserError: a wrong key; or a .tflite file and no source.
    """
    changes = dict(changes or {})
    if "source" in changes:
        return build(DataConfig, changes, "data")
    training = training_of(path)
    if training is None:
        raise UserError("data", f"{path} does not tell what it was trained on", "give data=voc data.root=DIR, say")
    return build(DataConfig, to_mapping(training.data) | changes, "data")


def save_scores(folder: Path, scores: Mapping[str, Any]) -> None:
    """Adds `scores`, a mapping by output stride, to scores.json; those of other strides stay."""
    path = folder / SCORES
    write_json(path, (read_json(path) if path.is_file() else {}) | dict(scores))


def names_match(found: Sequence[str], wanted: Sequence[str], where: str) -> None:
    """Raises UserError unless a data set has as many classes as a model."""
    if len(found) != len(wanted):
        raise UserError(
            where, f"{len(found)} classes in the data, {len(wanted)} in the model", "use the data it was trained for"
        )
