"""ImageNet weights of keras.applications for our backbones.

Their preprocessing is ours, x / 127.5 - 1. Their graphs are not used: they choose paddings by the size they are made
for.
"""

import re
from collections.abc import Mapping

import keras
import numpy as np

from deeplab.errors import UserError
from deeplab.model.pretrained.report import Found

PUBLISHED_MULTIPLIERS = (0.35, 0.5, 0.75, 1.0, 1.3, 1.4)
"""Depth multipliers with which keras.applications has MobileNetV2 on ImageNet."""
MOBILENET_V2_FEATURES = "block_16_project_BN"
"""Their layer that gives what our backbone gives."""
_MOBILENET_V2_STEM = {"Conv1": "backbone_stem", "bn_Conv1": "backbone_stem_bn"}
_MOBILENET_V2_BLOCK = re.compile(r"(?:block_(\d+)|expanded_conv)_(expand|depthwise|project)(_BN)?")


def is_keras_applications(layers: Mapping[str, tuple[np.ndarray, ...]]) -> bool:
    """Whether these layers of an .h5 file are those of a network in keras.applications that we can read."""
    return _MOBILENET_V2_STEM.keys() <= layers.keys()


def from_layers(source: str, layers: Mapping[str, tuple[np.ndarray, ...]]) -> Found:
    """Their layers' weights under the names of ours; their classifier is not used."""
    renamed = {name: mobilenet_v2_layer(name) for name in layers}
    return Found(
        source,
        {ours: layers[theirs] for theirs, ours in renamed.items() if ours is not None},
        unused=tuple(theirs for theirs, ours in renamed.items() if ours is None),
    )


def mobilenet_v2_layer(theirs: str) -> str | None:
    """Our name of one of their MobileNetV2's layers; None for those behind the features."""
    if theirs in _MOBILENET_V2_STEM:
        return _MOBILENET_V2_STEM[theirs]
    match = _MOBILENET_V2_BLOCK.fullmatch(theirs)
    if match is None:
        return None
    number, part, norm = match.groups()
    return f"backbone_block{number or 0}_{part}{'_bn' if norm else ''}"


def download_imagenet(model: keras.Model) -> Found:
    """ImageNet weights for the backbone of `model`, fetched by Keras into its own cache.

    Raises:
        UserError: no weights are published for this backbone and width, or they cannot be fetched.
    """
    alpha = _alpha(model)
    source = f"keras.applications MobileNetV2 {alpha} (imagenet)"
    try:
        theirs = keras.applications.MobileNetV2(alpha=alpha, include_top=False, weights="imagenet")
    except Exception as e:
        # Keras wraps all that a network can do wrong in a plain Exception.
        raise UserError(
            source, f"cannot be downloaded: {str(e).splitlines()[0]}", "fetch the .h5 elsewhere and give its path"
        ) from e
    return from_layers(source, {layer.name: tuple(layer.get_weights()) for layer in theirs.layers if layer.weights})


def _alpha(model: keras.Model) -> float:
    """Their depth multiplier for this model, by the channels of its features."""
    try:
        channels = model.get_layer("backbone_block16_project").filters
    except ValueError as e:
        raise UserError("imagenet", f"no weights for the backbone of {model.name}", "give a file of weights") from e
    for alpha in PUBLISHED_MULTIPLIERS:
        if channels == int(320 * alpha):
            return alpha
    raise UserError(
        "imagenet",
        f"no weights are published for {channels} channels of features",
        f"choose model.depth_multiplier of {', '.join(map(str, PUBLISHED_MULTIPLIERS))}, and round_channels=true",
    )
