"""Published weights go in: official .tflite files and checkpoints, keras.applications, and our own runs."""

from pathlib import Path

import keras

from deeplab.errors import UserError
from deeplab.model.batch_norm_statistics import unfold_batch_norm
from deeplab.pretrained.identity_decoder import with_identity_decoder
from deeplab.pretrained.import_report import Found, ImportReport, fill
from deeplab.pretrained.keras_applications import download_imagenet, from_layers, is_keras_applications
from deeplab.pretrained.tf1_checkpoint import is_checkpoint, read_checkpoint
from deeplab.pretrained.tflite_network import (
    TfliteNetwork,
    load_tflite,
    read_network,
    tflite_weights,
)
from deeplab.pretrained.weights_h5 import HDF5_MAGIC, read_layers

__all__ = [
    "ImportReport",
    "TfliteNetwork",
    "import_weights",
    "load_tflite",
    "read_network",
    "unfold_batch_norm",
]

RUN_WEIGHTS = "model.weights.h5"
"""Name of the weights in a run folder."""


def import_weights(model: keras.Model, path: str | Path, *, allow_missing: bool = False) -> ImportReport:
    """Loads weights into `model`, layer by layer; what differs in shape, such as logits of other classes, stays fresh.

    A decoder that the source lacks begins as the identity, see `deeplab.pretrained.identity_decoder`.

    Args:
        model: from `build_model`, at any output stride. Changed in place, and only if all goes well.
        path: "imagenet" (keras.applications, downloaded), or a file or folder whose content tells what it is: .tflite;
            .h5 of keras.applications; a run folder or its model.weights.h5; an official TensorFlow 1 DeepLab
            checkpoint (prefix, .index file or folder).
        allow_missing: accept a source that does not fill the whole backbone.

    Returns:
        What was loaded, re-initialized and missing; `str()` of it is a short table.

    Raises:
        UserError: there is no such file, it is damaged or none of these, it is for another network, or part of the
            backbone would stay random.
    """
    return fill(model, with_identity_decoder(_find(model, path), model), allow_missing=allow_missing)


def _find(model: keras.Model, path: str | Path) -> Found:
    """Reads whatever `path` is."""
    if str(path) == "imagenet":
        return download_imagenet(model)
    place = Path(path)
    if (place / RUN_WEIGHTS).is_file():
        place = place / RUN_WEIGHTS
    if place.is_file():
        with place.open("rb") as file:
            beginning = file.read(8)
        if beginning == HDF5_MAGIC:
            layers = read_layers(place)
            return from_layers(str(place), layers) if is_keras_applications(layers) else Found(str(place), layers)
        if beginning[4:8] == b"TFL3" or place.suffix == ".tflite":
            return tflite_weights(read_network(place), model)
    if is_checkpoint(place):
        return read_checkpoint(place, model)
    wanted = 'give "imagenet", a .tflite or .h5 file, a run folder or a TensorFlow 1 checkpoint'
    raise UserError(str(path), "no weights of a known kind" if place.exists() else "no such file or folder", wanted)
