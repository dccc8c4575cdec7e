"""The variable scopes of our backbones' layers in official TensorFlow 1 checkpoints.

The scopes are those of tensorflow/models research/deeplab, core/, and of slim's MobileNetV2. They count from 1, our
layers from 0.
"""

import re
from collections.abc import Callable
from functools import partial


def mobilenet_v2_scope(layer: str) -> str | None:
    """Return the scope of a MobileNetV2 layer: "backbone_block3_expand" is "MobilenetV2/expanded_conv_3/expand"."""
    if layer == "backbone_stem":
        return "MobilenetV2/Conv"
    match = re.fullmatch(r"backbone_block(\d+)_(expand|depthwise|project)", layer)
    if match is None:
        return None
    number, part = int(match[1]), match[2]
    return f"MobilenetV2/expanded_conv{f'_{number}' if number else ''}/{part}"


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
    "resnet_v1_50/": partial(resnet_scope, "resnet_v1_50"),
    "resnet_v1_101/": partial(resnet_scope, "resnet_v1_101"),
    "xception_41/": partial(xception_scope, "xception_41", 3, 8),
    "xception_65/": partial(xception_scope, "xception_65", 3, 16),
    "xception_71/": partial(xception_scope, "xception_71", 5, 16),
}
"""By root scope of the backbone: the function from our layer name to the scope."""
