"""Official TensorFlow 1 checkpoints (tensorflow/models research/deeplab), matched by variable names.

A layer is a scope there: SCOPE/weights or SCOPE/depthwise_weights, SCOPE/biases, SCOPE/BatchNorm/gamma and so on. To
support another backbone, add its scopes to `tf1_scopes.BACKBONE_SCOPES`.
"""

import re
from collections.abc import Callable, Iterable
from pathlib import Path

import keras
import numpy as np

from deeplab.errors import UserError
from deeplab.model.backbones.features import BACKBONE_PREFIX
from deeplab.pretrained.assignment import SourceWeights
from deeplab.pretrained.tf1_scopes import BACKBONE_SCOPES

_BATCH_NORM = ("gamma", "beta", "moving_mean", "moving_variance")
_NOT_WEIGHTS = re.compile(r"global_step|.*/(Momentum|Adam(_1)?|RMSProp(_1)?|ExponentialMovingAverage)")
"""Variables of the optimizer and of moving averages."""


def is_checkpoint(path: Path) -> bool:
    """Return whether `path` is a checkpoint: its prefix, its .index file, or a folder that contains one."""
    return _prefix(path) is not None


def read_checkpoint(path: Path, model: keras.Model) -> SourceWeights:
    """Read the weights of a checkpoint for the layers of `model`.

    Raises:
        UserError: the checkpoint is damaged, or its backbone is unknown.
    """
    import tensorflow as tf

    weights: dict[str, tuple[np.ndarray, ...]] = {}
    used: set[str] = set()
    try:
        reader = tf.train.load_checkpoint(str(_prefix(path)))
        variables = set(reader.get_variable_to_shape_map())
        backbone_scope = _backbone_scopes(str(path), variables)
        for layer in model.layers:
            name = layer.name.removesuffix("_bn")
            scope = backbone_scope(name) if name.startswith(BACKBONE_PREFIX) else head_scope(name)
            names = [f"{scope}/{variable}" for variable in _variable_names(layer)]
            if scope is not None and names and variables.issuperset(names):
                weights[layer.name] = tuple(np.asarray(reader.get_tensor(name)) for name in names)
                used.update(names)
    except (tf.errors.OpError, ValueError, RuntimeError, IndexError) as error:
        raise UserError(str(path), "is damaged or truncated", "copy or download it again") from error
    unused = sorted(name for name in variables - used if not _NOT_WEIGHTS.fullmatch(name))
    return SourceWeights(str(path), weights, tuple(unused))


def head_scope(layer: str) -> str:
    """Return the scope of a layer of the head."""
    if layer == "logits":
        return "logits/semantic"
    if layer == "decoder_low_level":
        return "decoder/feature_projection0"
    if conv := re.fullmatch(r"decoder_conv(\d)", layer):
        # slim.repeat creates these layers; it counts from 1 within a scope named like the first.
        return f"decoder/decoder_conv0/decoder_conv0_{int(conv[1]) + 1}"
    return f"decoder/{layer}" if layer.startswith("decoder_") else layer


def _variable_names(layer: keras.layers.Layer) -> tuple[str, ...]:
    """Return the names of a layer's variables within its scope, in the order of its `weights`."""
    if not layer.weights:
        return ()
    if isinstance(layer, keras.layers.BatchNormalization):
        return tuple(f"BatchNorm/{name}" for name in _BATCH_NORM)
    kernel = "depthwise_weights" if isinstance(layer, keras.layers.DepthwiseConv2D) else "weights"
    return (kernel, "biases") if len(layer.weights) > 1 else (kernel,)


def _backbone_scopes(source: str, variables: Iterable[str]) -> Callable[[str], str | None]:
    """Return the function from our layer names to the scopes of the checkpoint's backbone."""
    for root, backbone_scope in BACKBONE_SCOPES.items():
        if any(name.startswith(root) for name in variables):
            return backbone_scope
    first = ", ".join(sorted(variables)[:2]) or "none"
    problem = f"is a checkpoint of an unknown backbone (its first variables: {first})"
    raise UserError(source, problem, f"the known scopes are {', '.join(BACKBONE_SCOPES)}")


def _prefix(path: Path) -> Path | None:
    """Return the prefix that TensorFlow expects, from the path of any part of a checkpoint; None if there is none."""
    if path.is_dir():
        indices = sorted(path.glob("*.index"), key=lambda index: index.stat().st_mtime)
        return indices[-1].with_suffix("") if indices else None
    prefix = re.sub(r"\.(index|meta|data-\d+-of-\d+)$", "", str(path))
    return Path(prefix) if Path(f"{prefix}.index").is_file() else None
