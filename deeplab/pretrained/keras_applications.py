"""ImageNet weights of keras.applications for our backbones; their graphs choose the padding by the input size.

Their MobileNets normalize pixels as ours do. Their ResNet and VGG-16 subtract the mean color, as ours do, and take blue
first.
"""

import re
from collections.abc import Callable

import keras
import numpy as np

from deeplab.config import ModelConfig
from deeplab.errors import UserError
from deeplab.model.build import DeepLab
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


def vgg16_layer(name: str) -> str | None:
    """Return our name of a layer of keras.applications' VGG16; None for the last layer of its classifier."""
    if name in ("fc1", "fc2"):
        return "fc6" if name == "fc1" else "fc7"
    match = re.fullmatch(r"block(\d)_conv(\d)", name)
    return f"backbone_conv{match[1]}_{match[2]}" if match else None


_FIRST_LAYERS: dict[Callable[[str], str | None], set[str]] = {
    mobilenet_v2_layer: {"backbone_stem", "backbone_stem_bn"},
    mobilenet_v3_layer: {"backbone_stem", "backbone_stem_bn"},
    resnet_layer: {"backbone_stem", "backbone_stem_bn"},
    vgg16_layer: {"backbone_conv1_1"},
}
"""By function of names: the layers, by our names, that tell its network from the others."""


def convert_layers(source: str, layers: LayerWeights, model: DeepLab) -> SourceWeights | None:
    """Convert the layers of a keras.applications network to ours; its classifier is unused, except in VGG-16.

    Args:
        source: name of the source, for messages.
        layers: arrays by the layer names of keras.applications.
        model: the model that the weights are for.

    Returns:
        The weights, or None if the layers are not those of a MobileNetV2, MobileNetV3, ResNet or VGG-16.
    """
    for layer_name, first in _FIRST_LAYERS.items():
        renamed = {name: layer_name(name) for name in layers}
        if first <= set(renamed.values()):
            break
    else:
        return None
    weights = {ours: layers[name] for name, ours in renamed.items() if ours is not None}
    unused = tuple(name for name, ours in renamed.items() if ours is None)
    if layer_name is resnet_layer:
        note = "biases of convolutions were moved into the means of their batch norms; the first kernel takes red first"
        return SourceWeights(source, _convert_resnet(weights), unused, (note,))
    if layer_name is vgg16_layer:
        return _convert_vgg16(source, weights, unused, model)
    return SourceWeights(source, weights, unused)


def _convert_vgg16(source: str, weights: LayerWeights, unused: tuple[str, ...], model: DeepLab) -> SourceWeights:
    """Convert VGG-16 weights to a kernel that takes red first and, if the model has them, to atrous fc6 and fc7.

    fc6 keeps every third row and column of 7x7 and every n-th of the 4096 channels, so that there are as many as in the
    model; fc7 keeps the same channels. DeepLabv1 subsamples fc6 in this way (arXiv:1412.7062, sec. 3.2). In v2 all
    branches start from the same values.
    """
    kernel, bias = weights["backbone_conv1_1"]
    full = {name: values for name, values in weights.items() if name in ("fc6", "fc7")}
    converted = {name: values for name, values in weights.items() if name not in full}
    converted["backbone_conv1_1"] = (kernel[:, :, ::-1], bias)
    note, hidden = "the first kernel takes red first", _hidden_layers(model)
    if not hidden or len(full) < 2:
        return SourceWeights(source, converted, (*unused, *full), (note,))
    (fc6, fc6_bias), (fc7, fc7_bias) = full["fc6"], full["fc7"]
    every = max(1, fc6_bias.size // model.config.aspp_channels)
    taps = fc6.reshape(7, 7, -1, fc6_bias.size)[::3, ::3]
    kept = {
        "fc6": (taps[..., ::every], fc6_bias[::every]),
        "fc7": (fc7[None, None, ::every, ::every], fc7_bias[::every]),
    }
    converted |= {name: kept[name.partition("_")[0]] for name in hidden}
    note += f"; fc6 keeps 3x3 of 7x7 pixels, fc6 and fc7 keep 1 of {every} channels"
    return SourceWeights(source, converted, unused, (note,))


def _hidden_layers(model: DeepLab) -> list[str]:
    """Return the names of the layers of a model that are made from the fully connected layers of VGG-16."""
    return [layer.name for layer in model.layers if re.fullmatch(r"fc[67](_\d+)?", layer.name)]


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
    "vgg16": ("VGG16", (1.0,)),
}
"""By backbone: the name in keras.applications and the published depth multipliers."""


def has_imagenet_weights(config: ModelConfig) -> bool:
    """Return whether `download_imagenet` has weights for the whole backbone of a network."""
    return _unpublished(config) is None and not config.reduced_tail


def download_imagenet(model: DeepLab) -> SourceWeights:
    """Download ImageNet weights for the backbone of a model; Keras caches them.

    For fc6 and fc7 of VGG-16, the classifier comes along: 528 MB instead of 56 MB.

    Raises:
        UserError: no weights are published for this backbone or depth multiplier, or the download fails.
    """
    config = model.config
    refusal = _unpublished(config)
    if refusal is not None:
        raise refusal
    network, multipliers = _PUBLISHED[config.backbone]
    multiplier = config.depth_multiplier
    width = {"alpha": multiplier} if len(multipliers) > 1 else {}
    source = f"keras.applications {f'{network} {multiplier}' if width else network} (imagenet)"
    try:
        top = bool(_hidden_layers(model))
        published = getattr(keras.applications, network)(include_top=top, weights="imagenet", **width)
    except Exception as error:
        # Keras raises a plain Exception for every failure of a download.
        reason = str(error).splitlines()[0]
        raise UserError(source, f"cannot be downloaded: {reason}", "download the .h5 file and give its path") from error
    layers = {layer.name: tuple(layer.get_weights()) for layer in published.layers if layer.weights}
    weights = convert_layers(source, layers, model)
    assert weights is not None
    return weights


def _unpublished(config: ModelConfig) -> UserError | None:
    """Return the error that states that no ImageNet weights are published for a backbone; None if they are."""
    if config.backbone not in _PUBLISHED:
        problem = f"no weights are published for backbone {config.backbone}"
        return UserError("imagenet", problem, f"use one of {', '.join(_PUBLISHED)}, or give a file of weights")
    _, multipliers = _PUBLISHED[config.backbone]
    # At 1.0 all channels are multiples of 8 already.
    if config.depth_multiplier in multipliers and (config.round_channels or config.depth_multiplier == 1.0):
        return None
    rounding = str(config.round_channels).lower()
    problem = f"no weights are published for depth_multiplier={config.depth_multiplier} with round_channels={rounding}"
    published = ", ".join(map(str, multipliers))
    return UserError("imagenet", problem, f"use depth_multiplier {published} and set round_channels")
