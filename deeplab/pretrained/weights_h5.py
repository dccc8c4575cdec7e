"""The layers in an .h5 file of weights, whichever Keras wrote it."""

from pathlib import Path

import h5py
import numpy as np

from deeplab.errors import UserError

HDF5_MAGIC = b"\x89HDF\r\n\x1a\n"


def read_layers(path: str | Path) -> dict[str, tuple[np.ndarray, ...]]:
    """The arrays of each layer by its name, in the order of the layer's `weights`.

    Args:
        path: ".weights.h5" of Keras 3, or the older ".h5" of weights or of a whole model (keras.applications).

    Raises:
        UserError: the file is damaged, or none of these.
    """
    try:
        with h5py.File(path, "r") as file:
            group = file.get("model_weights", file)
            layers = _keras_2(group) if "layer_names" in group.attrs else _keras_3(group)
    except (OSError, KeyError, RuntimeError, ValueError) as e:
        raise UserError(str(path), "damaged or cut short", "copy or download it again") from e
    if not layers:
        raise UserError(str(path), "an .h5 file without layers of weights", "give weights that Keras has saved")
    return layers


def _keras_2(group: h5py.Group) -> dict[str, tuple[np.ndarray, ...]]:
    """One group for each layer, the order of its arrays in an attribute."""
    layers = {}
    for name in map(_text, group.attrs["layer_names"]):
        arrays = tuple(np.asarray(group[name][_text(w)]) for w in group[name].attrs["weight_names"])
        if arrays:
            layers[name] = arrays
    return layers


def _keras_3(group: h5py.Group) -> dict[str, tuple[np.ndarray, ...]]:
    """Groups called by class and number; the layer's own name is an attribute of its "vars".

    A layer may hold others, as the folded convolutions of a quantization-aware network do.
    """
    layers = {}
    for entry in group["layers"].values() if "layers" in group else ():
        for holder in (entry, *(entry[part] for part in ("conv", "norm") if part in entry)):
            saved = holder["vars"]
            if "name" in saved.attrs and len(saved):
                layers[_text(saved.attrs["name"])] = tuple(np.asarray(saved[str(i)]) for i in range(len(saved)))
    return layers


def _text(value: bytes | str) -> str:
    return value.decode("utf-8") if isinstance(value, bytes) else value
