"""The run folder, which training writes and every other command reads.

    model.json          architecture (without an output stride), class names, whether it is quantization-aware, how
                        images were resized, and the SHA-256 of the weights
    model.weights.h5    weights; they fit at every output stride
    train.json          settings of the training
    scores.json         mIoU and other scores at each evaluated output stride
    log.csv, events.*   loss, learning rate and speed, as a table and for TensorBoard
    state/              checkpoints to resume the training from

`open_model` opens a run folder, an importable .tflite file or published weights by name; the commands accept each as
`run=`.
"""

import os
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property, lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

from deeplab.config import DataConfig, Fit, ImageSize, TrainConfig, build, checked, to_mapping
from deeplab.config.command_line import command_line, command_name
from deeplab.config.description import ModelDescription, read_description, write_description
from deeplab.config.ranges import OutputStride
from deeplab.errors import UserError, did_you_mean
from deeplab.files import (
    MODEL_FILE,
    WEIGHTS_FILE,
    atomic_write,
    check_weights_file,
    file_sha256,
    list_checkpoints,
    read_json,
    write_json,
)
from deeplab.published_weights import PUBLISHED, SIMILAR_NAME, local_file, published_name
from deeplab.quiet import load_tensorflow

if TYPE_CHECKING:
    import keras

    from deeplab.pretrained.tflite_network import TfliteNetwork
    from deeplab.tflite.tflite_file import TfliteFile

TRAIN_FILE = "train.json"
SCORES_FILE = "scores.json"
LOG_FILE = "log.csv"
STATE_FOLDER = "state"

FORMER_DEFAULTS = {"image_feature": "image", "label_feature": "segmentation_mask"}
"""Values of `data` that older versions wrote for every source. Only tfds uses these keys, and null means the same."""


@dataclass(frozen=True, eq=False)
class TrainedModel:
    """A run folder, or a .tflite file that can be imported. Each part is read on first use and kept.

    Attributes:
        path: the folder or the file.
        name: the name of published weights, such as "official"; None for others.
    """

    path: Path
    name: str | None = None

    @property
    def is_tflite(self) -> bool:
        """Whether this is a .tflite file."""
        return is_tflite(self.path)

    @property
    def weights_file(self) -> Path:
        """The file that holds the weights."""
        return self.path if self.is_tflite else self.path / WEIGHTS_FILE

    @property
    def folder(self) -> Path:
        """The folder for results: the run folder, that of the .tflite file, or runs/NAME for published weights."""
        if self.name is not None:
            return Path("runs", self.name)
        return self.path.parent if self.is_tflite else self.path

    @cached_property
    def tflite(self) -> "TfliteFile":
        """The opened .tflite file."""
        state = self.path.stat() if self.path.is_file() else None
        return _open_tflite(self.path, state and (state.st_mtime_ns, state.st_size))

    @property
    def fit(self) -> Fit:
        """How images meet the network, as model.json or the .tflite file states; "auto" if they do not."""
        return self.tflite.fit if self.is_tflite else self.description.fit

    @cached_property
    def network(self) -> "TfliteNetwork":
        """The network inside the .tflite file; raises UserError if it cannot be imported."""
        from deeplab.pretrained.tflite_network import read_network

        return read_network(self.tflite)

    @cached_property
    def description(self) -> ModelDescription:
        """Architecture and classes; raises UserError if they are missing or damaged."""
        if self.is_tflite:
            size = self.network.image_size if self.fit != "auto" else None
            return ModelDescription(self.network.config, self.network.classes, fit=self.fit, image_size=size)
        return read_description(self.path / MODEL_FILE)

    @cached_property
    def training(self) -> TrainConfig | None:
        """The settings of the training; None for a .tflite file."""
        return None if self.is_tflite else read_training_config(self.path)

    def load(self, output_stride: int = 8, image_size: ImageSize = None) -> "keras.Model":
        """Build the Keras model at an output stride and load its weights; see `load_model`."""
        load_tensorflow()
        if self.is_tflite:
            from deeplab.pretrained.tflite_network import load_tflite

            return load_tflite(self.network, output_stride, image_size)
        from deeplab.model.quantization.transform import build_network

        description = self.description
        kinds = {"quantized": description.quantized, "per_tensor": description.per_tensor}
        model = build_network(description.config, output_stride, image_size, **kinds)
        check_weights_file(self.path)
        load_weights(model, self.weights_file)
        return model

    def data(self, changes: Mapping[str, Any] | None) -> DataConfig:
        """Return the data to evaluate or calibrate on.

        Args:
            changes: keys of DataConfig. If `source` is among them, they replace the data of the training; otherwise
                they change single values of it.

        Raises:
            UserError: a wrong key, one that only a training uses, or a .tflite file without `source`.
        """
        changes = dict(changes or {})
        for key in ("resize", "image_size", "cache_memory", "unlabelled"):
            if key in changes:
                raise UserError(
                    f"data.{key}", "is a setting of a training", "leave it out, or use fit= and image_size="
                )
        if "source" in changes:
            return build(DataConfig, changes, "data")
        if self.training is None:
            problem = f"{self.path} does not state what it was trained on"
            raise UserError("data", problem, "add data=voc data.root=DIR, or data=folder data.root=DIR")
        return build(DataConfig, to_mapping(self.training.data) | changes, "data")


@lru_cache(maxsize=8)
def _open_tflite(path: Path, state: object) -> "TfliteFile":
    """Open a .tflite file; kept while the file does not change, so that each command parses it once."""
    from deeplab.tflite.tflite_file import open_tflite

    return open_tflite(path)


def open_model(path: str | os.PathLike[str]) -> TrainedModel:
    """Open a run folder, a .tflite file or published weights by name; does not load TensorFlow.

    Raises:
        UserError: there is no such run folder or file, the .tflite file is damaged, or it cannot be downloaded.
    """
    model = TrainedModel(local_file(path), published_name(path))
    if model.is_tflite:
        _ = model.tflite.graph
        return model
    if model.path.exists() and not model.path.is_dir():
        problem = "is a file whose name does not end in .tflite"
        raise UserError(f"run={path}", problem, "give a run folder or a .tflite file")
    if not model.path.is_dir():
        parent = model.path.parent
        siblings = sorted(p.name for p in parent.iterdir() if p.is_dir()) if parent.is_dir() else []
        more = f" and {len(siblings) - 10} more" if len(siblings) > 10 else ""
        found = f" (found: {', '.join(siblings[:10])}{more})" if siblings else ""
        remedy = f"give a run folder, a .tflite file, {' or '.join(PUBLISHED)}"
        remedy = did_you_mean(str(path), PUBLISHED, remedy, SIMILAR_NAME)
        raise UserError(f"run={path}", f"no such folder{found}", remedy)
    if not (model.path / MODEL_FILE).is_file():
        _raise_without_model(model.path)
    return model


def _raise_without_model(folder: Path) -> NoReturn:
    """Raise UserError that says whether the training in `folder` was interrupted."""
    problem, remedy = f"contains no {MODEL_FILE}", "give the run folder of a complete training"
    if (folder / TRAIN_FILE).is_file() and list_checkpoints(folder / STATE_FOLDER):
        problem += ": its training is not finished"
        data = read_training_config(folder).data
        keys = {key: value for key in ("source", "name", "root") if (value := getattr(data, key)) is not None}
        command = command_line(command_name("train"), TrainConfig(), run=str(folder), data=keys)
        remedy = f"resume it by the command that started it: {command}, with its other settings"
    raise UserError(f"run={folder}", problem, remedy)


def is_tflite(path: str | os.PathLike[str]) -> bool:
    """Return whether `path` names a .tflite file rather than a run folder."""
    return Path(path).suffix == ".tflite"


def load_model(path: str | os.PathLike[str], output_stride: int = 8, image_size: ImageSize = None) -> "keras.Model":
    """Build the model of a run folder or of an official .tflite file at any output stride, with its weights.

    Args:
        path: a run folder, a .tflite file made from a DeepLab network, or the name of published weights: "official",
            "official_050" or "starter".
        output_stride: 4, 8, 16 or 32, independent of the output stride of the training.
        image_size: fixed input size in pixels, or None for any size.

    Returns:
        A model from RGB `[b, h, w, 3]` float32 0..255 to logits `[b, h, w, classes]`. The model of a quantization-aware
        training simulates the int8 file.

    Raises:
        UserError: there is no such run or file, it is damaged, or cannot be downloaded.
    """
    path = checked(str, path, "path")
    output_stride = checked(OutputStride, output_stride, "output_stride")
    return open_model(path).load(output_stride, checked(ImageSize, image_size, "image_size"))


def read_training_config(folder: Path) -> TrainConfig:
    """Read the settings of a training from its run folder.

    Raises:
        UserError: train.json is missing or damaged, or was written by an incompatible version.
    """
    path = folder / TRAIN_FILE
    content = read_json(path)
    data = content.get("data")
    if isinstance(data, dict):
        content["data"] = dict(item for item in data.items() if item not in FORMER_DEFAULTS.items())
    training = content.get("training")
    if isinstance(training, dict) and str(training.get("batch_norm")).startswith("frozen"):
        # Older versions accepted both settings; frozen statistics cannot be re-estimated.
        training["recalibration_batches"] = 0
    try:
        return build(TrainConfig, content)
    except UserError as error:
        remedy = "it was written by an incompatible version of the toolkit, or edited: train again"
        raise UserError(str(path), f"{error.subject}: {error.problem}", remedy) from error


def load_weights(model: "keras.Model", path: Path) -> None:
    """Load all weights of `model` from a .weights.h5 file of a run.

    Raises:
        UserError: the file is missing, damaged or of another network.
    """
    if not path.is_file():
        raise UserError(str(path), "no such file", "let the training finish, or restore the file")
    try:
        model.load_weights(path)
    except (OSError, KeyError, ValueError, RuntimeError) as error:
        problem = f"is damaged or of another network ({_loading_failure(str(error))})"
        raise UserError(str(path), problem, "restore it, or train again") from error


def _loading_failure(message: str) -> str:
    """Return the layer and the shapes that Keras names in an error of `load_weights`, or the start of the message."""
    layer = re.search(r"object <\w+ name=(\w+)", message)
    shapes = re.search(r"variable\.shape=(\([^)]*\)), Received: value\.shape=(\([^)]*\))", message)
    if layer and shapes:
        return f"layer {layer[1]}: expected shape {shapes[1]}, got {shapes[2]}"
    lines = [line for line in message.splitlines() if line.strip()]
    if layer and len(lines) > 1:
        return f"layer {layer[1]}: {lines[1][:200]}"
    return lines[0][:200] if lines else "no reason given"


def save_model(folder: Path, model: "keras.Model", description: ModelDescription) -> None:
    """Write model.weights.h5, and then model.json with its checksum, each atomically."""
    with atomic_write(folder / WEIGHTS_FILE, suffix=".weights.h5") as temporary:
        model.save_weights(temporary)
    write_description(folder / MODEL_FILE, description, file_sha256(folder / WEIGHTS_FILE))


def read_scores(folder: Path) -> dict[str, Any]:
    """Return the scores by output stride in scores.json; {} without one. Raises UserError if it is damaged."""
    path = folder / SCORES_FILE
    return read_json(path) if path.is_file() else {}


def save_scores(folder: Path, scores: Mapping[str, Any]) -> None:
    """Add `scores`, by output stride, to scores.json; the scores of other output strides are kept."""
    write_json(folder / SCORES_FILE, read_scores(folder) | dict(scores))


def check_class_count(data_classes: Sequence[str], model_classes: int, run: str | os.PathLike[str]) -> None:
    """Raise UserError unless a data set has as many classes as the model of `run`."""
    if len(data_classes) != model_classes:
        problem = f"the data has {len(data_classes)} classes, the model of {run} has {model_classes}"
        raise UserError("data", problem, "use the data set that the model was trained for")
