"""ImageNet weights of keras.applications for our backbones.

Their graphs are not used: they choose paddings by the size they are made for. The preprocessing of the MobileNets is
ours, x / 127.5 - 1; ResNet's, the mean taken off and blue first, is half in our graph and half in the first kernel.
"""

import re
from collections.abc import Mapping

import keras
import numpy as np

from deeplab.errors import UserError
from deeplab.model.backbones.features import rounded
from deeplab.pretrained.import_report import Found

_STEMS = {
    "mobilenet_v2": {"Conv1": "backbone_stem", "bn_Conv1": "backbone_stem_bn"},
    "mobilenet_v3": {"conv": "backbone_stem", "conv_bn": "backbone_stem_bn"},
    "resnet": {"conv1_conv": "backbone_stem", "conv1_bn": "backbone_stem_bn"},
}
"""By family: the layers that tell it, and our names of them."""
_MOBILENET_V2_BLOCK = re.compile(r"(?:block_(\d+)|expanded_conv)_(expand|depthwise|project)(_BN)?")
_MOBILENET_V3_BLOCK = re.compile(
    r"expanded_conv(?:_(\d+))?_(expand|depthwise|project|squeeze_excite_conv|squeeze_excite_conv_1)(_bn)?"
)
_RESNET_UNIT = re.compile(r"conv(\d)_block(\d+)_([0-3])_(conv|bn)")
RESNET_EPSILON = 1.001e-5
"""Added to the variance in their ResNet; ours adds 1e-5."""


def is_keras_applications(layers: Mapping[str, tuple[np.ndarray, ...]]) -> bool:
    """Whether these layers of an .h5 file are those of a network in keras.applications that we can read."""
    return _family(layers) is not None


def from_layers(source: str, layers: Mapping[str, tuple[np.ndarray, ...]]) -> Found:
    """Their layers' weights under the names of ours; their classifier is not used."""
    family = _family(layers)
    ours_of = {"mobilenet_v3": mobilenet_v3_layer, "resnet": resnet_layer}.get(family or "", mobilenet_v2_layer)
    renamed = {name: ours_of(name) for name in layers}
    weights = {ours: layers[theirs] for theirs, ours in renamed.items() if ours is not None}
    notes: tuple[str, ...] = ()
    if family == "resnet":
        weights = _without_biases(weights)
        notes = ("biases of convolutions went into the means behind them, and blue first became red first",)
    unused = tuple(theirs for theirs, ours in renamed.items() if ours is None)
    return Found(source, weights, unused=unused, notes=notes)


def mobilenet_v2_layer(theirs: str) -> str | None:
    """Our name of one of their MobileNetV2's layers; None for those behind the features."""
    if theirs in _STEMS["mobilenet_v2"]:
        return _STEMS["mobilenet_v2"][theirs]
    match = _MOBILENET_V2_BLOCK.fullmatch(theirs)
    if match is None:
        return None
    number, part, norm = match.groups()
    return f"backbone_block{number or 0}_{part}{'_bn' if norm else ''}"


def mobilenet_v3_layer(theirs: str) -> str | None:
    """Our name of one of their MobileNetV3's layers; None for those behind the features."""
    plain = _plain(theirs)
    if plain in _STEMS["mobilenet_v3"]:
        return _STEMS["mobilenet_v3"][plain]
    if plain in ("conv_1", "conv_1_bn"):
        return plain.replace("conv_1", "backbone_last")
    match = _MOBILENET_V3_BLOCK.fullmatch(plain)
    if match is None:
        return None
    number, part, norm = match.groups()
    part = {"squeeze_excite_conv": "squeeze", "squeeze_excite_conv_1": "excite"}.get(part, part)
    return f"backbone_block{number or 0}_{part}{norm or ''}"


def resnet_layer(theirs: str) -> str | None:
    """Our name of one of their ResNet's layers; None for those behind the features."""
    if theirs in _STEMS["resnet"]:
        return _STEMS["resnet"][theirs]
    match = _RESNET_UNIT.fullmatch(theirs)
    if match is None:
        return None
    stage, unit, part = (int(match[n]) for n in (1, 2, 3))
    layer = f"conv{part - 1}" if part else "shortcut"
    return f"backbone_stage{stage - 2}_unit{unit - 1}_{layer}{'_bn' if match[4] == 'bn' else ''}"


def _without_biases(weights: Mapping[str, tuple[np.ndarray, ...]]) -> dict[str, tuple[np.ndarray, ...]]:
    """Their ResNet for our layers: no biases, our epsilon, red first; the function is the same."""
    changed: dict[str, tuple[np.ndarray, ...]] = {}
    for name, values in weights.items():
        if name.endswith("_bn"):
            gamma, beta, mean, variance = values
            bias = weights[name.removesuffix("_bn")][1]
            changed[name] = (gamma, beta, mean - bias, variance + np.float32(RESNET_EPSILON - 1e-5))
        else:
            changed[name] = (values[0][:, :, ::-1] if name == "backbone_stem" else values[0],)
    return changed


def _family(layers: Mapping[str, tuple[np.ndarray, ...]]) -> str | None:
    """The family whose stem is among these layers."""
    names = {*layers, *map(_plain, layers)}
    return next((family for family, stem in _STEMS.items() if stem.keys() <= names), None)


def _plain(name: str) -> str:
    """A layer's name as Keras 3 spells it; the published MobileNetV3 files have "Conv/BatchNorm" for "conv_bn"."""
    return name.lower().replace("/batchnorm", "_bn").replace("/", "_")


def download_imagenet(model: keras.Model) -> Found:
    """ImageNet weights for the backbone of `model`, fetched by Keras into its own cache.

    Raises:
        UserError: no weights are published for this backbone and width, or they cannot be fetched.
    """
    known = [network for network in _NETWORKS if model.name.endswith(network)]
    if not known:
        raise UserError("imagenet", f"no weights for the backbone of {model.name}", "give a file of weights")
    kind, features, channels, multipliers = _NETWORKS[known[0]]
    alpha = _alpha(model.get_layer(features).filters, channels, multipliers)
    source = f"keras.applications {kind}{f' {alpha}' if len(multipliers) > 1 else ''} (imagenet)"
    arguments: dict[str, object] = {"include_top": False, "weights": "imagenet"}
    if len(multipliers) > 1:
        arguments["alpha"] = alpha
    try:
        theirs = getattr(keras.applications, kind)(**arguments)
    except Exception as e:
        # Keras wraps all that a network can do wrong in a plain Exception.
        raise UserError(
            source, f"cannot be downloaded: {str(e).splitlines()[0]}", "fetch the .h5 elsewhere and give its path"
        ) from e
    return from_layers(source, {layer.name: tuple(layer.get_weights()) for layer in theirs.layers if layer.weights})


_NETWORKS = {
    "mobilenet_v2": ("MobileNetV2", "backbone_block16_project", 320, (0.35, 0.5, 0.75, 1.0, 1.3, 1.4)),
    "mobilenet_v3_large": ("MobileNetV3Large", "backbone_block5_project", 40, (0.75, 1.0)),
    "mobilenet_v3_small": ("MobileNetV3Small", "backbone_block5_project", 40, (0.75, 1.0)),
    "resnet50": ("ResNet50", "backbone_stage3_unit2_conv2", 2048, (1.0,)),
    "resnet101": ("ResNet101", "backbone_stage3_unit2_conv2", 2048, (1.0,)),
}
"""By backbone: their name, a convolution of ours that tells the width, its channels, the published multipliers."""


def _alpha(filters: int, channels: int, multipliers: tuple[float, ...]) -> float:
    """The published depth multiplier that makes `filters` of `channels`."""
    for alpha in multipliers:
        if filters == rounded(channels * alpha, 8):
            return alpha
    raise UserError(
        "imagenet",
        f"no weights are published for {filters} channels of features",
        f"choose model.depth_multiplier of {', '.join(map(str, multipliers))}, and round_channels=true",
    )
