"""The expanded channels of MobileNetV2's blocks, which can be removed without changing other layers."""

import dataclasses
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import keras
import numpy as np
from keras import layers

from deeplab.config.mapping import require
from deeplab.model.build import DeepLab, build_model
from deeplab.model.cost import multiply_adds


@dataclass(frozen=True)
class Block:
    """The expanded channels of one inverted residual block (MobileNetV2, arXiv:1801.04381, sec. 3.3).

    Attributes:
        name: prefix of the names of its layers.
        channels: number of expanded channels.
        output: the expanded channels after the depthwise convolution, a symbolic tensor.
        consumers: names of the convolutions that take `output`: the projection, and that of a decoder.
    """

    name: str
    channels: int
    output: keras.KerasTensor
    consumers: tuple[str, ...]


def expanded_blocks(network: DeepLab) -> list[Block]:
    """Return the blocks that have an expansion, in order.

    Raises:
        UserError: the backbone is not MobileNetV2.
    """
    backbone = network.config.backbone
    require("model.backbone", backbone, backbone == "mobilenet_v2", "mobilenet_v2, the only one that can be pruned")
    convolutions = [layer for layer in network.layers if isinstance(layer, layers.Conv2D)]
    blocks = []
    for layer in convolutions:
        if not (match := re.fullmatch(r"(backbone_block\d+)_expand", layer.name)):
            continue
        output = network.get_layer(f"{match[1]}_depthwise_relu6").output
        consumers = [other for other in convolutions if other.input is output]
        blocks.append(Block(match[1], layer.filters, output, tuple(x.name for x in consumers)))
    return blocks


def channel_costs(network: DeepLab) -> list[float]:
    """Return how many multiply-adds an expanded channel of each block causes, in a network of fixed input size."""
    costs = []
    for block in expanded_blocks(network):
        names = (f"{block.name}_expand", f"{block.name}_depthwise", *block.consumers)
        costs.append(sum(multiply_adds(network.get_layer(name)) for name in names) / block.channels)
    return costs


def without_channels(
    network: DeepLab, kept: Sequence[np.ndarray], means: Sequence[np.ndarray], output_stride: int
) -> DeepLab:
    """Return a network that has only some of the expanded channels.

    The means of the removed channels are constants that the consumers lose; the moving means of their batch norms, or
    their biases, take them over. Without fine-tuning this preserves most of the accuracy of a light pruning.

    Args:
        network: the trained network.
        kept: for each of `expanded_blocks(network)`, the indices of the channels to keep, ascending.
        means: for each block, the mean of each expanded channel over images, `[channels]`.
        output_stride: output stride of the new network.
    """
    config = dataclasses.replace(network.config, expanded_channels=tuple(len(indices) for indices in kept))
    pruned = build_model(config, output_stride)
    changed: dict[str, list[np.ndarray]] = {}
    for block, indices, mean in zip(expanded_blocks(network), kept, means, strict=True):
        for name in (f"{block.name}_expand", f"{block.name}_depthwise"):
            kernel = network.get_layer(name).get_weights()[0]
            # A depthwise kernel is [3, 3, channels, 1], any other [h, w, inputs, outputs].
            changed[name] = [kernel.take(indices, axis=2 if name.endswith("depthwise") else 3)]
            norm = f"{name}_bn"
            changed[norm] = [values[indices] for values in network.get_layer(norm).get_weights()]
        removed = np.setdiff1d(np.arange(block.channels), indices)
        for name in block.consumers:
            kernel, *bias = network.get_layer(name).get_weights()
            lost = mean[removed] @ kernel[0, 0, removed]
            changed[name] = [kernel[:, :, indices], *(values + lost for values in bias)]
            if not bias:
                gamma, beta, moving_mean, variance = network.get_layer(f"{name}_bn").get_weights()
                changed[f"{name}_bn"] = [gamma, beta, moving_mean - lost, variance]
    _set_weights(network, pruned, changed)
    return pruned


def _set_weights(network: DeepLab, pruned: DeepLab, changed: Mapping[str, list[np.ndarray]]) -> None:
    """Set the weights of every layer of `pruned`: the `changed` ones by layer name, else those of `network`."""
    for layer in pruned.layers:
        if layer.weights:
            layer.set_weights(changed.get(layer.name) or network.get_layer(layer.name).get_weights())
