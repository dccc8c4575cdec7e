"""Official TensorFlow 1 checkpoints (tensorflow/models research/deeplab, and slim's MobileNets), matched by names.

A layer is a scope there: SCOPE/weights or SCOPE/depthwise_weights, SCOPE/biases, SCOPE/BatchNorm/gamma and so on. They
count from 1, our layers from 0. To support another backbone, add its scopes to `BACKBONE_SCOPES`.
"""

import re
from collections.abc import Callable
from functools import partial
from pathlib import Path

import keras
import numpy as np

from deeplab.errors import UserError
from deeplab.model.backbones.features import BACKBONE_PREFIX
from deeplab.pretrained.assignment import SourceWeights


def checkpoint_prefix(path: Path) -> Path | None:
    """Return the prefix of a checkpoint from itself, one of its files or their folder; None if there is none."""
    if path.is_dir():
        indices = sorted(path.glob("*.index"), key=lambda index: index.stat().st_mtime)
        return indices[-1].with_suffix("") if indices else None
    prefix = re.sub(r"\.(index|meta|data-\d+-of-\d+)$", "", str(path))
    return Path(prefix) if Path(f"{prefix}.index").is_file() else None


def read_checkpoint(path: Path, model: keras.Model) -> SourceWeights:
    """Read the weights of a checkpoint for the layers of `model`.

    Raises:
        UserError: the checkpoint is damaged, or its backbone is unknown.
    """
    import tensorflow as tf

    weights: dict[str, tuple[np.ndarray, ...]] = {}
    used: set[str] = set()
    try:
        reader = tf.train.load_checkpoint(str(checkpoint_prefix(path)))
        variables = set(reader.get_variable_to_shape_map())
        root = next((root for root in BACKBONE_SCOPES if any(name.startswith(root) for name in variables)), None)
        if root is None:
            first = ", ".join(sorted(variables)[:2]) or "none"
            problem = f"is a checkpoint of an unknown backbone (its first variables: {first})"
            raise UserError(str(path), problem, f"the known scopes are {', '.join(BACKBONE_SCOPES)}")
        for layer in model.layers:
            name = layer.name.removesuffix("_bn")
            scope = BACKBONE_SCOPES[root](name) if name.startswith(BACKBONE_PREFIX) else head_scope(name)
            names = [f"{scope}/{variable}" for variable in _variable_names(layer)]
            if scope is not None and names and variables.issuperset(names):
                weights[layer.name] = tuple(np.asarray(reader.get_tensor(name)) for name in names)
                used.update(names)
    except (tf.errors.OpError, ValueError, RuntimeError, IndexError) as error:
        raise UserError(str(path), "is damaged or truncated", "copy or download it again") from error
    # Variables of the optimizer and of moving averages are no weights.
    others = r"global_step|.*/(Momentum|Adam(_1)?|RMSProp(_1)?|ExponentialMovingAverage)"
    unused = sorted(name for name in variables - used if not re.fullmatch(others, name))
    return SourceWeights(str(path), weights, tuple(unused))


def head_scope(layer: str) -> str:
    """Return the scope of a layer of the head."""
    if layer == "logits":
        return "logits/semantic"
    if branch := re.fullmatch(r"logits_(\d+)", layer):
        # The first branch of v2 has no number there.
        return "logits/semantic" + (f"_{int(branch[1]) - 1}" if branch[1] != "1" else "")
    if layer in ("decoder_low_level", "logits_low"):
        return "decoder/feature_projection0"
    if layer == "logits_high":
        return "decoder/decoder_conv0"
    if conv := re.fullmatch(r"decoder_conv(\d)", layer):
        # slim.repeat creates these layers; it counts from 1 within a scope named like the first.
        return f"decoder/decoder_conv0/decoder_conv0_{int(conv[1]) + 1}"
    return f"decoder/{layer}" if layer.startswith("decoder_") else layer


def mobilenet_v2_scope(layer: str) -> str | None:
    """Return the scope of a MobileNetV2 layer: "backbone_block3_expand" is "MobilenetV2/expanded_conv_3/expand"."""
    if layer == "backbone_stem":
        return "MobilenetV2/Conv"
    match = re.fullmatch(r"backbone_block(\d+)_(expand|depthwise|project)", layer)
    if match is None:
        return None
    return f"MobilenetV2/expanded_conv{'' if match[1] == '0' else f'_{match[1]}'}/{match[2]}"


def mobilenet_v3_scope(layer: str) -> str | None:
    """Return the scope of a layer of either MobileNetV3.

    "backbone_block3_excite" is "MobilenetV3/expanded_conv_3/squeeze_excite/Conv_1".
    """
    if layer in ("backbone_stem", "backbone_last"):
        return "MobilenetV3/Conv" if layer == "backbone_stem" else "MobilenetV3/Conv_1"
    match = re.fullmatch(r"backbone_block(\d+)_(expand|depthwise|project|squeeze|excite)", layer)
    if match is None:
        return None
    part = {"squeeze": "squeeze_excite/Conv", "excite": "squeeze_excite/Conv_1"}.get(match[2], match[2])
    return f"MobilenetV3/expanded_conv{'' if match[1] == '0' else f'_{match[1]}'}/{part}"


def resnet_scope(root: str, layer: str) -> str | None:
    """Return the scope of a ResNet-beta layer: "backbone_stage0_unit1_conv2" is ROOT/block1/unit_2/bottleneck_v1/conv3.

    The plain ResNet of the checkpoints places its strides differently from ours. Its 7x7 stem has no scope here, so
    that such a checkpoint is refused.
    """
    if stem := re.fullmatch(r"backbone_stem(\d)", layer):
        return f"{root}/conv1_{int(stem[1]) + 1}"
    match = re.fullmatch(r"backbone_stage(\d)_unit(\d+)_(?:conv(\d)|shortcut)", layer)
    if match is None:
        return None
    part = "shortcut" if match[3] is None else f"conv{int(match[3]) + 1}"
    return f"{root}/block{int(match[1]) + 1}/unit_{int(match[2]) + 1}/bottleneck_v1/{part}"


def xception_scope(root: str, entry_blocks: int, middle_blocks: int, layer: str) -> str | None:
    """Return the scope of a layer of an Xception with these numbers of blocks in its entry and middle flow."""
    if stem := re.fullmatch(r"backbone_stem(\d)", layer):
        return f"{root}/entry_flow/conv1_{int(stem[1]) + 1}"
    match = re.fullmatch(r"backbone_block(\d+)_(?:conv(\d)_(depthwise|pointwise)|shortcut)", layer)
    if match is None:
        return None
    number = int(match[1])
    if number < entry_blocks:
        block = f"entry_flow/block{number + 1}/unit_1"
    elif number < entry_blocks + middle_blocks:
        block = f"middle_flow/block1/unit_{number - entry_blocks + 1}"
    else:
        block = f"exit_flow/block{number - entry_blocks - middle_blocks + 1}/unit_1"
    part = "shortcut" if match[2] is None else f"separable_conv{int(match[2]) + 1}_{match[3]}"
    return f"{root}/{block}/xception_module/{part}"


BACKBONE_SCOPES: dict[str, Callable[[str], str | None]] = {
    "MobilenetV2/": mobilenet_v2_scope,
    "MobilenetV3/": mobilenet_v3_scope,
    "resnet_v1_50/": partial(resnet_scope, "resnet_v1_50"),
    "resnet_v1_101/": partial(resnet_scope, "resnet_v1_101"),
    "xception_41/": partial(xception_scope, "xception_41", 3, 8),
    "xception_65/": partial(xception_scope, "xception_65", 3, 16),
    "xception_71/": partial(xception_scope, "xception_71", 5, 16),
}
"""By root scope of the backbone: the function from our layer name to the scope."""


def _variable_names(layer: keras.layers.Layer) -> tuple[str, ...]:
    """Return the names of a layer's variables within its scope, in the order of its `weights`."""
    if not layer.weights:
        return ()
    if isinstance(layer, keras.layers.BatchNormalization):
        return tuple(f"BatchNorm/{name}" for name in ("gamma", "beta", "moving_mean", "moving_variance"))
    kernel = "depthwise_weights" if isinstance(layer, keras.layers.DepthwiseConv2D) else "weights"
    return (kernel, "biases") if len(layer.weights) > 1 else (kernel,)
