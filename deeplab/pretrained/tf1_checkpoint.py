"""Official TensorFlow 1 checkpoints (tensorflow/models research/deeplab), by the names of their variables.

There a layer is a scope: SCOPE/weights or SCOPE/depthwise_weights, SCOPE/biases, SCOPE/BatchNorm/gamma and so on. A
backbone joins by an entry in `tf1_scopes.BACKBONES`.
"""

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import keras
import numpy as np

from deeplab.errors import UserError
from deeplab.pretrained.import_report import BACKBONE, Found
from deeplab.pretrained.tf1_scopes import BACKBONES

NORM = ("gamma", "beta", "moving_mean", "moving_variance")
_NOT_WEIGHTS = re.compile(r"global_step|.*/(Momentum|Adam(_1)?|RMSProp(_1)?|ExponentialMovingAverage)")
"""What an optimizer and its averages leave beside the weights."""


def head_scope(layer: str) -> str:
    """Scope of a layer behind the backbone."""
    if layer == "logits":
        return "logits/semantic"
    if layer == "decoder_low_level":
        return "decoder/feature_projection0"
    plain = re.fullmatch(r"decoder_conv(\d)", layer)
    if plain:  # Made by slim.repeat, which counts from 1 within a scope of its own.
        return f"decoder/decoder_conv0/decoder_conv0_{int(plain[1]) + 1}"
    return f"decoder/{layer}" if layer.startswith("decoder_") else layer


def is_checkpoint(path: Path) -> bool:
    """Whether `path` is the prefix of a checkpoint, its .index file, or a folder that holds one."""
    return _prefix(path) is not None


def read_checkpoint(path: Path, model: keras.Model) -> Found:
    """The weights in a checkpoint for the layers of `model`.

    Raises:
        UserError: the checkpoint is damaged, or of a backbone whose names are not known here.
    """
    import tensorflow as tf

    prefix = _prefix(path)
    try:
        reader = tf.train.load_checkpoint(str(prefix))
        shapes = reader.get_variable_to_shape_map()
        scope_of = _backbone(str(path), shapes)
        weights, used = _read(reader, shapes, model, scope_of)
    except (tf.errors.OpError, ValueError, RuntimeError, IndexError) as e:
        raise UserError(str(path), "damaged or cut short", "copy or download it again") from e
    unused = sorted(name for name in shapes if name not in used and not _NOT_WEIGHTS.fullmatch(name))
    return Found(str(path), weights, unused=tuple(unused))


def _read(
    reader: Any, shapes: dict[str, Any], model: keras.Model, scope_of: Callable[[str], str | None]
) -> tuple[dict[str, tuple[np.ndarray, ...]], set[str]]:
    """Weights by our layer names, and the names of the variables they came from."""
    weights: dict[str, tuple[np.ndarray, ...]] = {}
    used: set[str] = set()
    for layer in model.layers:
        if not layer.weights:
            continue
        plain = layer.name.removesuffix("_bn")
        scope = scope_of(plain) if plain.startswith(BACKBONE) else head_scope(plain)
        names = [f"{scope}/{name}" for name in _variables(layer)]
        if scope is not None and all(name in shapes for name in names):
            weights[layer.name] = tuple(np.asarray(reader.get_tensor(name)) for name in names)
            used.update(names)
    return weights, used


def _variables(layer: keras.layers.Layer) -> tuple[str, ...]:
    """Names of a layer's variables below its scope, in the order of its `weights`."""
    if isinstance(layer, keras.layers.BatchNormalization):
        return tuple(f"BatchNorm/{name}" for name in NORM)
    kernel = "depthwise_weights" if isinstance(layer, keras.layers.DepthwiseConv2D) else "weights"
    return (kernel, "biases") if len(layer.weights) > 1 else (kernel,)


def _backbone(source: str, shapes: dict[str, Any]) -> Callable[[str], str | None]:
    """The names of the backbone in this checkpoint."""
    for beginning, scope_of in BACKBONES.items():
        if any(name.startswith(beginning) for name in shapes):
            return scope_of
    first = ", ".join(sorted(shapes)[:2]) or "no variables"
    raise UserError(
        source, f"a checkpoint of no backbone known here (it begins with {first})", f"known: {', '.join(BACKBONES)}"
    )


def _prefix(path: Path) -> Path | None:
    """The prefix that TensorFlow wants, of whatever part of a checkpoint was named."""
    if path.is_dir():
        indices = sorted(path.glob("*.index"), key=lambda p: p.stat().st_mtime)
        return indices[-1].with_suffix("") if indices else None
    beginning = re.sub(r"\.(index|meta|data-\d+-of-\d+)$", "", str(path))
    return Path(beginning) if Path(f"{beginning}.index").is_file() else None
