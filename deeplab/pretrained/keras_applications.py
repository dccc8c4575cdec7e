"""ImageNet weights of keras.applications for our backbones; their graphs choose the padding by the input size.

Their MobileNets normalize pixels as ours do. Their ResNet subtracts the mean color, as ours does, and takes blue first.
"""

import re

import keras
import numpy as np

from deeplab.config import ModelConfig
from deeplab.errors import UserError
from deeplab.pretrained.assignment import LayerWeights, SourceWeights


def mobilenet_v2_layer(name: str) -> str | None:
    """Return our name of a layer of keras.applications' MobileNetV2; None for layers after the features."""
    if name in ("Conv1", "bn_Conv1"):
        return "backbone_stem" if name == "Conv1" else "backbone_stem_bn"
    match = re.fullmatch(r"(?:block_(\d+)|expanded_conv)_(expand|depthwise|project)(_BN)?", name)
    return f"backbone_block{match[1] or 0}_{match[2]}{'_bn' if match[3] else ''}" if match else None


def mobilenet_v3_layer(name: str) -> str | None:
    """Return our name of a layer of keras.applications' MobileNetV3; None for layers after the features.

    The published files contain "Conv/BatchNorm" where Keras 3 names the layer "conv_bn".
    """
    name = name.lower().replace("/batchnorm", "_bn").replace("/", "_")
    name = name.replace("squeeze_excite_conv_1", "excite").replace("squeeze_excite_conv", "squeeze")
    if match := re.fullmatch(r"conv(_1)?(_bn)?", name):
        return f"backbone_{'last' if match[1] else 'stem'}{match[2] or ''}"
    match = re.fullmatch(r"expanded_conv(?:_(\d+))?_(expand|depthwise|project|squeeze|excite)(_bn)?", name)
    return f"backbone_block{match[1] or 0}_{match[2]}{match[3] or ''}" if match else None


def resnet_layer(name: str) -> str | None:
    """Return our name of a layer of keras.applications' ResNet; None for layers after the features."""
    if name in ("conv1_conv", "conv1_bn"):
        return "backbone_stem" if name == "conv1_conv" else "backbone_stem_bn"
    match = re.fullmatch(r"conv(\d)_block(\d+)_([0-3])_(conv|bn)", name)
    if match is None:
        return None
    stage, unit, part = (int(match[n]) for n in (1, 2, 3))
    layer = f"conv{part - 1}" if part else "shortcut"
    return f"backbone_stage{stage - 2}_unit{unit - 1}_{layer}{'_bn' if match[4] == 'bn' else ''}"


def convert_layers(source: str, layers: LayerWeights) -> SourceWeights | None:
    """Convert the layers of a keras.applications network to ours; its classifier is unused.

    Args:
        source: name of the source, for messages.
        layers: arrays by the layer names of keras.applications.

    Returns:
        The weights, or None if the layers are not those of a MobileNetV2, MobileNetV3 or ResNet.
    """
    for layer_name in (mobilenet_v2_layer, mobilenet_v3_layer, resnet_layer):
        renamed = {name: layer_name(name) for name in layers}
        if {"backbone_stem", "backbone_stem_bn"} <= set(renamed.values()):
            break
    else:
        return None
    weights = {ours: layers[name] for name, ours in renamed.items() if ours is not None}
    unused = tuple(name for name, ours in renamed.items() if ours is None)
    if layer_name is not resnet_layer:
        return SourceWeights(source, weights, unused)
    note = "biases of convolutions were moved into the means of their batch norms; the first kernel takes red first"
    return SourceWeights(source, _convert_resnet(weights), unused, (note,))


def _convert_resnet(weights: LayerWeights) -> LayerWeights:
    """Convert ResNet weights to layers without biases, with our epsilon and with red first; same function."""
    converted: dict[str, tuple[np.ndarray, ...]] = {}
    for name, values in weights.items():
        if name.endswith("_bn"):
            gamma, beta, mean, variance = values
            bias = weights[name.removesuffix("_bn")][1]
            # Their batch norms add 1.001e-5 to the variance, ours 1e-5.
            converted[name] = (gamma, beta, mean - bias, variance + np.float32(1.001e-5 - 1e-5))
        else:
            converted[name] = (values[0][:, :, ::-1] if name == "backbone_stem" else values[0],)
    return converted


_PUBLISHED: dict[str, tuple[str, tuple[float, ...]]] = {
    "mobilenet_v2": ("MobileNetV2", (0.35, 0.5, 0.75, 1.0, 1.3, 1.4)),
    "mobilenet_v3_large": ("MobileNetV3Large", (0.75, 1.0)),
    "mobilenet_v3_small": ("MobileNetV3Small", (0.75, 1.0)),
    "resnet50": ("ResNet50", (1.0,)),
    "resnet101": ("ResNet101", (1.0,)),
}
"""By backbone: the name in keras.applications and the published depth multipliers."""


def download_imagenet(config: ModelConfig) -> SourceWeights:
    """Download ImageNet weights for a backbone; Keras caches them.

    Raises:
        UserError: no weights are published for this backbone or depth multiplier, or the download fails.
    """
    if config.backbone not in _PUBLISHED:
        problem = f"no weights are published for backbone {config.backbone}"
        raise UserError("imagenet", problem, f"use one of {', '.join(_PUBLISHED)}, or give a file of weights")
    network, multipliers = _PUBLISHED[config.backbone]
    multiplier = config.depth_multiplier
    # At 1.0 all channels are multiples of 8 already.
    if multiplier not in multipliers or not (config.round_channels or multiplier == 1.0):
        rounding = str(config.round_channels).lower()
        problem = f"no weights are published for depth_multiplier={multiplier} with round_channels={rounding}"
        published = ", ".join(map(str, multipliers))
        raise UserError("imagenet", problem, f"set model.depth_multiplier to {published} and model.round_channels=true")
    width = {"alpha": multiplier} if len(multipliers) > 1 else {}
    source = f"keras.applications {f'{network} {multiplier}' if width else network} (imagenet)"
    try:
        model = getattr(keras.applications, network)(include_top=False, weights="imagenet", **width)
    except Exception as error:
        # Keras raises a plain Exception for every failure of a download.
        reason = str(error).splitlines()[0]
        raise UserError(source, f"cannot be downloaded: {reason}", "download the .h5 file and give its path") from error
    layers = {layer.name: tuple(layer.get_weights()) for layer in model.layers if layer.weights}
    weights = convert_layers(source, layers)
    assert weights is not None
    return weights
