"""The layers of an .h5 weights file, written by any version of Keras."""

from pathlib import Path

import h5py
import numpy as np

from deeplab.errors import UserError
from deeplab.pretrained.assignment import LayerWeights


def read_layers(path: str | Path) -> LayerWeights:
    """Read the arrays of each layer, in the order of the layer's `weights`.

    Args:
        path: a ".weights.h5" file of Keras 3, or an older ".h5" file of weights or of a whole model.

    Raises:
        UserError: the file is damaged, or contains no layers.
    """
    try:
        with h5py.File(path, "r") as file:
            group = file.get("model_weights", file)
            layers = _keras_2(group) if "layer_names" in group.attrs else _keras_3(group)
    except (OSError, KeyError, RuntimeError, ValueError) as error:
        raise UserError(str(path), "is damaged or truncated", "copy or download it again") from error
    if not layers:
        raise UserError(str(path), "is an .h5 file without layers", "give a weights file written by Keras")
    return layers


def _keras_2(group: h5py.Group) -> LayerWeights:
    """Read one group per layer; an attribute holds the order of its arrays."""
    layers = {}
    for name in map(_text, group.attrs["layer_names"]):
        arrays = tuple(np.asarray(group[name][_text(weight)]) for weight in group[name].attrs["weight_names"])
        if arrays:
            layers[name] = arrays
    return layers


def _keras_3(group: h5py.Group) -> LayerWeights:
    """Read groups that are named by class and number; the layer's own name is an attribute of its "vars"."""
    layers = {}
    for entry in group["layers"].values() if "layers" in group else ():
        # The folded convolutions of a quantization-aware model contain other layers.
        for holder in (entry, *(entry[part] for part in ("conv", "norm") if part in entry)):
            variables = holder["vars"]
            if "name" in variables.attrs and len(variables):
                arrays = tuple(np.asarray(variables[str(i)]) for i in range(len(variables)))
                layers[_text(variables.attrs["name"])] = arrays
    return layers


def _text(value: bytes | str) -> str:
    return value.decode("utf-8") if isinstance(value, bytes) else value
