"""The content of model.json: what a run folder states about its network."""

from dataclasses import dataclass
from pathlib import Path

from deeplab.config.class_names import check_class_names
from deeplab.config.image_size import Fit
from deeplab.config.mapping import build, to_mapping
from deeplab.config.model import ModelConfig
from deeplab.config.ranges import Side
from deeplab.errors import UserError
from deeplab.files import read_json, write_json

_REMEDY = "restore it from its training"


@dataclass(frozen=True)
class ModelDescription:
    """The content of model.json.

    Attributes:
        config: the architecture.
        classes: class names by id, as many as `config.classes`.
        quantized: whether the model is quantization-aware; its weights then include the activation ranges.
        per_tensor: whether a quantization-aware model has one scale per kernel instead of one per output channel.
        fit: how images met the network in the training, see `DataConfig.fit`; "auto" if they were not resized.
        image_size: (height, width) that they were resized to; None if they were not.
    """

    config: ModelConfig
    classes: tuple[str, ...]
    quantized: bool = False
    per_tensor: bool = False
    fit: Fit = "auto"
    image_size: tuple[Side, Side] | None = None


@dataclass(frozen=True)
class _ModelFile:
    """The keys of model.json; those with a default are missing in runs of older versions."""

    model: ModelConfig
    classes: tuple[str, ...]
    quantized: bool
    weights_sha256: str | None = None
    per_tensor: bool = False
    fit: Fit = "auto"
    image_size: tuple[Side, Side] | None = None


def read_description(path: Path) -> ModelDescription:
    """Read a model.json; raises UserError if it is missing or damaged."""
    content = read_json(path)
    try:
        stored = build(_ModelFile, content)
        classes = check_class_names(stored.classes, "classes")
    except UserError as error:
        raise UserError(str(path), f"{error.subject}: {error.problem}", _REMEDY) from error
    if len(classes) != stored.model.classes:
        problem = f"{len(classes)} class names for {stored.model.classes} classes"
        raise UserError(str(path), problem, _REMEDY)
    if (stored.fit == "auto") != (stored.image_size is None):
        raise UserError(str(path), f"fit={stored.fit} with image_size={stored.image_size}", _REMEDY)
    kinds = (stored.quantized, stored.per_tensor)
    return ModelDescription(stored.model, classes, *kinds, stored.fit, stored.image_size)


def write_description(path: Path, description: ModelDescription, weights_sha256: str) -> None:
    """Write a model.json atomically; `weights_sha256` is the checksum of the weights next to it."""
    d = description
    stored = _ModelFile(d.config, d.classes, d.quantized, weights_sha256, d.per_tensor, d.fit, d.image_size)
    write_json(path, to_mapping(stored))
