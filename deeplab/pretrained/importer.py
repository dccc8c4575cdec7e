"""Import of weights from any supported source into a model."""

from pathlib import Path
from typing import Literal

from deeplab.config import checked
from deeplab.config.mapping import require
from deeplab.errors import UserError, did_you_mean
from deeplab.files import WEIGHTS_FILE, check_weights_file
from deeplab.model.build import DeepLab
from deeplab.pretrained.assignment import ImportReport, SourceWeights, assign_weights
from deeplab.pretrained.identity_decoder import add_identity_decoder
from deeplab.pretrained.keras_applications import convert_layers, download_imagenet
from deeplab.pretrained.tf1_checkpoint import checkpoint_prefix, read_checkpoint
from deeplab.pretrained.tflite_network import read_network, source_weights
from deeplab.pretrained.weights_h5 import read_layers
from deeplab.published_weights import PUBLISHED, SIMILAR_NAME, local_file


def import_weights(model: DeepLab, path: str | Path, *, allow_missing: bool = False) -> ImportReport:
    """Load weights into `model`, layer by layer.

    Layers whose shapes differ, such as logits of other classes, keep their initial weights. A decoder that the source
    lacks is initialized as the identity, see `deeplab.pretrained.identity_decoder`.

    Args:
        model: from `build_model`, at any output stride. Changed in place; unchanged if an error is raised.
        path: "imagenet" (downloaded by keras.applications), "official", "official_050" or "starter" (see
            `deeplab.published_weights`), or a path: a .tflite file; an .h5 file of keras.applications; a run folder or
            its model.weights.h5; an official TensorFlow 1 DeepLab checkpoint (prefix, .index file or folder). The
            content of the file decides, not its name.
        allow_missing: accept a source that does not cover the whole backbone.

    Returns:
        The variables that were loaded, re-initialized and missing; `str()` formats them as a table.

    Raises:
        UserError: an argument has a wrong type; the file does not exist, is damaged, has an unknown format or is of
            another network; or part of the backbone would keep its initial weights.
    """
    require("model", type(model).__name__, isinstance(model, DeepLab), "a model of build_model or load_model")
    path, allow_missing = checked(str, path, "path"), checked(bool, allow_missing, "allow_missing")
    source = add_identity_decoder(_read_source(path, model), model)
    return assign_weights(model, source, allow_missing=allow_missing)


def check_source(path: str | Path) -> None:
    """Check that weights can be read from `path`, see `import_weights`, without a model and before a long work.

    Raises:
        UserError: there is no such file, or it is damaged or has an unknown format.
    """
    if str(path) != "imagenet":
        path, kind = _find_source(path)
        if kind == "tflite":
            read_network(path)
        elif kind == "h5":
            read_layers(path)


def _read_source(path: str | Path, model: DeepLab) -> SourceWeights:
    """Read the weights for `model` from a source of any format."""
    if str(path) == "imagenet":
        return download_imagenet(model)
    path, kind = _find_source(path)
    if kind == "h5":
        layers = read_layers(path)
        return convert_layers(str(path), layers, model) or SourceWeights(str(path), layers)
    return source_weights(read_network(path), model) if kind == "tflite" else read_checkpoint(path, model)


def _find_source(source: str | Path) -> tuple[Path, Literal["h5", "tflite", "checkpoint"]]:
    """Return the file or prefix of a source, and its format by its content; checks the checksum of a run folder."""
    path = local_file(source)
    if (path / WEIGHTS_FILE).is_file():
        check_weights_file(path)
        path = path / WEIGHTS_FILE
    if path.is_file():
        with path.open("rb") as file:
            magic = file.read(8)
        if magic == b"\x89HDF\r\n\x1a\n":
            return path, "h5"
        if magic[4:8] == b"TFL3" or path.suffix == ".tflite":
            return path, "tflite"
    if checkpoint_prefix(path):
        return path, "checkpoint"
    names = ("imagenet", *PUBLISHED)
    remedy = f"give a .tflite or .h5 file, a run folder, a TensorFlow 1 checkpoint, {', '.join(names)}"
    if path.exists():
        raise UserError(str(source), "has no known weights format", remedy)
    raise UserError(str(source), "no such file or folder", did_you_mean(str(source), names, remedy, SIMILAR_NAME))
