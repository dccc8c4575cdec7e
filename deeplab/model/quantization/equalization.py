"""Cross-layer equalization: brings the channels of each kernel to similar ranges without changing the network.

A per-tensor kernel has one scale, so a channel with small values keeps few of the 255 integers. Dividing an output
channel by s and multiplying the same input channel of the next kernels by s cancels if the operators in between commute
with a positive factor (Nagel et al., arXiv:1906.04721, sec. 4.1). ReLU, bilinear resizing, average and maximum pooling,
zero padding and concatenation do. ReLU6 does not, because it clips at 6: the paper replaces it by ReLU. Here it stays.
A channel that stays clearly below 6 on the calibration images is scaled as far as it remains so, and the others keep
their scale.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

import keras
import numpy as np
from keras import layers, ops

from deeplab.model.quantization.plan import CONVOLUTIONS, fused_with_next, inputs_of
from deeplab.model.resize import CropTo, PadToGrid, ResizeBilinear

RELU6_MARGIN = 1.25
"""A channel is scaled up to 6 divided by this factor: other images can have larger values than those measured."""
ROUNDS = 20
"""Number of passes over all groups."""

_UNCHANGED = (
    layers.MaxPooling2D, layers.GlobalAveragePooling2D, layers.Dropout, ResizeBilinear, PadToGrid, CropTo
)  # fmt: skip
"""Layers whose output has the channels of their first input, and scales with it."""


@dataclass(eq=False)
class _Group:
    """Channels that one vector of factors scales wherever they occur.

    Attributes:
        channels: number of channels.
        producers: the convolutions that compute them; several if their outputs are added.
        consumers: the convolutions that read them, with the position of their first channel in the input.
        fixed: whether they cannot be scaled.
        tensors: the tensors with these channels that a file stores, with the limit 6 of ReLU6 or None.
        scale: the factors `[channels]` by which activations were divided so far.
    """

    channels: int
    producers: list[keras.layers.Layer] = field(default_factory=list)
    consumers: list[tuple[keras.layers.Layer, int]] = field(default_factory=list)
    fixed: bool = False
    tensors: list[tuple[keras.KerasTensor, float | None]] = field(default_factory=list)
    scale: np.ndarray = field(init=False)

    def __post_init__(self) -> None:
        self.scale = np.ones(self.channels)


def equalized(model: keras.Model, images: Iterable[np.ndarray]) -> keras.Model:
    """Return a copy with equalized kernels of a float network; its output on the images is equal but for rounding.

    Args:
        model: from `build_model`, weights loaded.
        images: calibration images, `[h, w, 3]` 0..255 each, at the input size of the model.
    """
    original, model = model, keras.models.clone_model(model)
    model.set_weights(original.get_weights())
    graph = _Graph(model)
    groups = [group for group in graph.groups if not group.fixed]
    lowest = _lowest_scales(model, groups, images)
    kernels = {name: _folded(conv, graph.norms.get(name)) for name, conv in graph.convolutions.items()}
    for _ in range(ROUNDS):
        for group in groups:
            factor = np.maximum(_balancing_factors(group, kernels), lowest[group] / group.scale)
            factor = np.where(lowest[group] == np.inf, 1.0, factor)
            group.scale = group.scale * factor
            for conv in group.producers:
                kernels[conv.name] /= _output_shape(conv, factor)
            for conv, start in group.consumers:
                part = kernels[conv.name][:, :, start : start + group.channels]
                part *= factor[:, None]
    _apply_scales(graph, groups)
    return model


def shrink_large_channels(model: keras.Model, limits: Mapping[str, float]) -> None:
    """Scale channels with a kernel value above the limit of its kernel down to it; the output of the model stays equal.

    Channels that pass a ReLU6 stay unchanged.

    Args:
        model: from `build_model`, weights loaded. Changed in place.
        limits: largest magnitude of a folded kernel, by the name of the convolution.
    """
    graph = _Graph(model)
    groups = [g for g in graph.groups if not g.fixed and all(limit is None for _, limit in g.tensors)]
    for group in groups:
        for conv in group.producers:
            axes = (0, 1, 3) if isinstance(conv, layers.DepthwiseConv2D) else (0, 1, 2)
            largest = np.abs(_folded(conv, graph.norms.get(conv.name))).max(axes)
            group.scale = np.maximum(group.scale, largest / limits[conv.name])
    _apply_scales(graph, groups)


class _Graph:
    """The convolutions of a network and the groups of channels between them."""

    def __init__(self, model: keras.Model) -> None:
        self.convolutions: dict[str, keras.layers.Layer] = {}
        self.norms: dict[str, keras.layers.BatchNormalization] = {}
        self._segments: dict[int, tuple[_Group, ...]] = {}
        self._producer = {id(layer.output): layer for layer in model.layers}
        consumers: dict[int, list[keras.layers.Layer]] = {}
        for layer in model.layers:
            for tensor in [] if isinstance(layer, layers.InputLayer) else inputs_of(layer):
                consumers.setdefault(id(tensor), []).append(layer)
        for layer in model.layers:
            segments = self._segments_of(layer)
            self._segments[id(layer.output)] = segments
            fused = fused_with_next(layer, consumers.get(id(layer.output), []))
            if len(segments) == 1 and isinstance(layer, _COMPUTED) and not fused:
                relu6 = isinstance(layer, layers.Activation) and layer.activation is keras.activations.relu6
                segments[0].tensors.append((layer.output, 6.0 if relu6 else None))
        _fix(self._segments[id(model.output)])

    @property
    def groups(self) -> tuple[_Group, ...]:
        """All groups, in the order of the network."""
        return tuple(dict.fromkeys(group for segments in self._segments.values() for group in segments))

    def _segments_of(self, layer: keras.layers.Layer) -> tuple[_Group, ...]:
        """Return the groups of the output channels of a layer, whose inputs have theirs."""
        if isinstance(layer, layers.InputLayer):
            return (_Group(layer.output.shape[-1], fixed=True),)
        inputs = [self._segments[id(tensor)] for tensor in inputs_of(layer)]
        if isinstance(layer, CONVOLUTIONS):
            return self._convolution(layer, inputs[0])
        if isinstance(layer, layers.BatchNormalization):
            previous = self._producer[id(layer.input)]
            if isinstance(previous, CONVOLUTIONS) and layer.scale and layer.center:
                self.norms[previous.name] = layer
                return inputs[0]
        elif isinstance(layer, layers.Activation):
            if layer.activation in (keras.activations.relu, keras.activations.relu6):
                return inputs[0]
        elif isinstance(layer, _UNCHANGED):
            return inputs[0]
        elif isinstance(layer, layers.Concatenate):
            return tuple(group for segments in inputs for group in segments)
        elif isinstance(layer, layers.Add) and len({tuple(g.channels for g in s) for s in inputs}) == 1:
            for other in inputs[1:]:
                for group, merged in zip(inputs[0], other, strict=True):
                    self._merge(group, merged)
            return self._segments[id(inputs_of(layer)[0])]
        _fix(group for segments in inputs for group in segments)
        return (_Group(layer.output.shape[-1], fixed=True),)

    def _convolution(self, conv: keras.layers.Layer, inputs: tuple[_Group, ...]) -> tuple[_Group, ...]:
        """Record a convolution as the consumer of its inputs; return the group of its outputs."""
        self.convolutions[conv.name] = conv
        start = 0
        for group in inputs:
            group.consumers.append((conv, start))
            start += group.channels
        if isinstance(conv, layers.DepthwiseConv2D) and conv.depth_multiplier != 1:
            _fix(inputs)
        fixed = conv.activation is not keras.activations.linear or (
            isinstance(conv, layers.DepthwiseConv2D) and conv.depth_multiplier != 1
        )
        return (_Group(conv.output.shape[-1], [conv], fixed=fixed),)

    def _merge(self, group: _Group, other: _Group) -> None:
        """Make two groups one."""
        if group is other:
            return
        group.producers += other.producers
        group.consumers += other.consumers
        group.tensors += other.tensors
        group.fixed |= other.fixed
        for key, segments in self._segments.items():
            self._segments[key] = tuple(group if each is other else each for each in segments)


_COMPUTED = (*CONVOLUTIONS, layers.BatchNormalization, layers.Add, layers.Activation)


def _fix(groups: Iterable[_Group]) -> None:
    for group in groups:
        group.fixed = True


def _lowest_scales(model: keras.Model, groups: list[_Group], images: Iterable[np.ndarray]) -> dict[_Group, np.ndarray]:
    """Return the lower limit `[channels]` of the scale of each group; infinity for channels that must keep scale 1.

    Dividing a channel by a smaller scale would enlarge it beyond the range that its tensor has already, which would
    make the activations less exact, or beyond the limit of ReLU6.
    """
    tensors = [tensor for group in groups for tensor, _ in group.tensors]
    extremes = keras.Model(model.input, [ops.max(ops.abs(tensor), axis=(0, 1, 2)) for tensor in tensors])
    largest = [np.zeros(tensor.shape[-1]) for tensor in tensors]
    for image in images:
        values = keras.tree.flatten(extremes(np.asarray(image, np.float32)[None], training=False))
        largest = [np.maximum(a, np.asarray(b, np.float64)) for a, b in zip(largest, values, strict=True)]
    measured = iter(largest)
    result = {}
    for group in groups:
        lowest = np.full(group.channels, 1e-3)
        for _, limit in group.tensors:
            values = next(measured)
            share = values / (values.max() or 1.0) if limit is None else values * (RELU6_MARGIN / limit)
            lowest = np.maximum(lowest, np.where(share > 1.0, np.inf, share) if limit is not None else share)
        result[group] = lowest
    return result


def _balancing_factors(group: _Group, kernels: dict[str, np.ndarray]) -> np.ndarray:
    """Return the factors `[channels]` after which a channel has the same share of the range in and out.

    The share is its largest value in a kernel, divided by the largest value of that kernel; of several kernels it is
    the geometric mean. The factors are sqrt(share of the producers / share of the consumers), as eq. 11 of the paper.
    """
    written = [_shares(np.abs(kernels[conv.name]), conv, output=True) for conv in group.producers]
    read = [
        _shares(np.abs(kernels[conv.name]), conv, output=False)[start : start + group.channels]
        for conv, start in group.consumers
    ]
    if not read:
        return np.ones(group.channels)
    ratio = np.mean([np.log(x) for x in written], axis=0) - np.mean([np.log(x) for x in read], axis=0)
    return np.asarray(np.exp(ratio / 2))


def _shares(absolute: np.ndarray, conv: keras.layers.Layer, output: bool) -> np.ndarray:
    """Return the largest value of each output or input channel of a kernel as a share of the kernel's largest."""
    depthwise = isinstance(conv, layers.DepthwiseConv2D)
    largest = absolute.max((0, 1, 3) if depthwise or not output else (0, 1, 2))
    # A channel of zeros has no range to balance.
    return np.asarray(np.maximum(largest / largest.max(), 1e-6))


def _folded(conv: keras.layers.Layer, norm: keras.layers.BatchNormalization | None) -> np.ndarray:
    """Return the kernel with its batch norm, as a file stores it, float64."""
    kernel = np.asarray(conv.kernel).astype(np.float64)
    if norm is None:
        return kernel
    slope = np.asarray(norm.gamma, np.float64) / np.sqrt(np.asarray(norm.moving_variance, np.float64) + norm.epsilon)
    return kernel * _output_shape(conv, slope)


def _output_shape(conv: keras.layers.Layer, values: np.ndarray) -> np.ndarray:
    """Return one value per output channel in the shape that broadcasts with the kernel."""
    return values[:, None] if isinstance(conv, layers.DepthwiseConv2D) else values


def _apply_scales(graph: _Graph, groups: list[_Group]) -> None:
    """Divide the outputs of the producers of each group by its scale, and multiply the inputs of the consumers."""
    for group in groups:
        for conv in group.producers:
            norm = graph.norms.get(conv.name)
            if norm is None:
                conv.kernel.assign(np.asarray(conv.kernel) / _output_shape(conv, group.scale))
            outputs = (conv.bias,) if norm is None else (norm.gamma, norm.beta)
            for variable in (variable for variable in outputs if variable is not None):
                variable.assign(np.asarray(variable) / group.scale)
        for conv, start in group.consumers:
            kernel = np.asarray(conv.kernel).copy()
            kernel[:, :, start : start + group.channels] *= group.scale[:, None]
            conv.kernel.assign(kernel)
