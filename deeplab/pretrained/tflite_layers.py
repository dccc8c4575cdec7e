"""Match the operators of a .tflite file to the layers of our MobileNetV2 DeepLab.

The graph is followed from operator to operator, because names and the order of parallel branches differ between files.
"""

from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np

from deeplab.model.atrous import REFERENCE_OUTPUT_STRIDE, StrideRate, stride_plan
from deeplab.model.backbones.mobilenet_v2 import BLOCKS, LOW_BLOCK
from deeplab.tflite.flatbuffer import CONVOLUTIONS, Operator, TfliteGraph

TRANSPARENT = ("QUANTIZE", "DEQUANTIZE", "RESIZE_BILINEAR", "PAD", "PADV2", "CAST")
"""Operators between two layers that are not layers themselves."""


class UnsupportedNetworkError(Exception):
    """The file contains another network than ours; the message states the first difference."""


@dataclass(frozen=True, eq=False)
class TfliteConvolution:
    """A convolution of the file, with its folded batch norm.

    Attributes:
        kernel: `[h, w, in, out]`, or `[h, w, c, 1]` if depthwise, float32.
        bias: `[out]` float32.
        stride_rate: stride and rate.
        output: index of the output tensor.
        scale: scales of the stored kernel, `[out]`; 0 if it is not quantized.
    """

    kernel: np.ndarray
    bias: np.ndarray
    stride_rate: StrideRate
    output: int
    scale: np.ndarray


@dataclass(frozen=True, eq=False)
class TfliteLayers:
    """The layers of our network in a .tflite file.

    Attributes:
        convolutions: by layer name, from the stem to "logits".
        merges: indices of the output tensors of shortcuts and image pooling, by layer name.
        output_stride: output stride of the file.
        aspp_rates: atrous rates of the head at output stride 16.
    """

    convolutions: dict[str, TfliteConvolution]
    merges: dict[str, int]
    output_stride: int
    aspp_rates: tuple[int, ...]


def match_layers(graph: TfliteGraph) -> TfliteLayers:
    """Match the operators of a MobileNetV2 DeepLab with head "v3" or "v3plus" to our layers.

    Raises:
        UnsupportedNetworkError: the graph is another network.
    """
    matcher = _Matcher(graph)
    features, low_level = matcher.match_backbone()
    output_stride = _output_stride(matcher.convolutions)
    encoded, rates = matcher.match_aspp(features)
    consumers = list(matcher.consumers(encoded))
    if [op.name for op in consumers] == ["CONCATENATION"]:
        encoded = matcher.match_decoder(encoded, low_level, consumers[0])
    matcher.match("logits", encoded, "CONV_2D", 1, "NONE")
    total, matched = sum(op.name in CONVOLUTIONS for op in graph.operators), len(matcher.convolutions)
    if total != matched:
        raise UnsupportedNetworkError(f"expected {matched} convolutions, got {total}")
    rates = tuple(rate * output_stride // REFERENCE_OUTPUT_STRIDE for rate in rates)
    return TfliteLayers(matcher.convolutions, matcher.merges, output_stride, rates)


def _output_stride(convolutions: dict[str, TfliteConvolution]) -> int:
    """Return the output stride after checking that all strides and rates are those of our network at it."""
    layers = {name: c.stride_rate for name, c in convolutions.items() if name.endswith(("_stem", "_depthwise"))}
    output_stride = int(np.prod([layer.stride for layer in layers.values()]))
    try:
        plan = stride_plan([2, *(stride for _, _, stride in BLOCKS)], output_stride)
    except ValueError as error:
        raise UnsupportedNetworkError(str(error)) from error
    for (name, layer), expected in zip(layers.items(), plan, strict=True):
        if layer != expected:
            required, actual = (f"stride {step.stride} and rate {step.rate}" for step in (expected, layer))
            raise UnsupportedNetworkError(f"{name}: expected {required} at output stride {output_stride}, got {actual}")
    return output_stride


@dataclass(frozen=True)
class _Branch:
    """A branch of ASPP: its kind (one of `_KINDS`), its rate, and its convolutions by the suffix of their names."""

    kind: str
    rate: int
    convolutions: dict[str, Operator]


_KINDS = ("image_pooling", "aspp0", "atrous")
"""Kinds of branches, in the order in which our network concatenates them."""


class _Matcher:
    """Follows a graph and collects the convolutions and merges that match our layers."""

    def __init__(self, graph: TfliteGraph) -> None:
        self.graph = graph
        self.convolutions: dict[str, TfliteConvolution] = {}
        self.merges: dict[str, int] = {}

    def match_backbone(self) -> tuple[int, int]:
        """Match the backbone; return the tensors of the features and the low-level features."""
        x = low_level = self.match("backbone_stem", self.graph.inputs[0], "CONV_2D", 3, "RELU6")
        for number, (expansion, _, stride) in enumerate(BLOCKS):
            name, shortcut = f"backbone_block{number}", x
            if expansion > 1:
                x = self.match(f"{name}_expand", x, "CONV_2D", 1, "RELU6")
            x = self.match(f"{name}_depthwise", x, "DEPTHWISE_CONV_2D", 3, "RELU6")
            low_level = x if number == LOW_BLOCK else low_level
            x = self.match(f"{name}_project", x, "CONV_2D", 1, "NONE")
            if stride == 1 and self._channels(shortcut) == self._channels(x):
                adds = [op for op in self.consumers(x) if op.name == "ADD"]
                if len(adds) != 1 or set(map(self._origin, adds[0].inputs)) != {self._origin(shortcut), x}:
                    raise UnsupportedNetworkError(f"{name} has no shortcut")
                x = self.merges[f"{name}_add"] = adds[0].outputs[0]
        return x, low_level

    def match_aspp(self, features: int) -> tuple[int, tuple[int, ...]]:
        """Match ASPP and its projection; return the output tensor, and the atrous rates as they are in the file."""
        pointwise = [op for op in self.consumers(features) if op.name == "CONV_2D" and self._kernel_size(op) == 1]
        if len(pointwise) != 1:
            raise UnsupportedNetworkError(f"expected one 1x1 convolution of the features, got {len(pointwise)}")
        joins = [op for op in self.consumers(pointwise[0].outputs[0]) if op.name == "CONCATENATION"]
        if not joins:
            x = self.match("aspp0", features, "CONV_2D", 1, "RELU")
            return self.match("concat_projection", x, "CONV_2D", 1, "RELU"), ()
        branches = [self._branch(features, tensor) for tensor in joins[0].inputs]
        kinds = [branch.kind for branch in branches]
        if kinds.count("aspp0") != 1 or kinds.count("image_pooling") > 1:
            raise UnsupportedNetworkError(f"its head concatenates {', '.join(kinds)}")
        x = self.match("concat_projection", joins[0].outputs[0], "CONV_2D", 1, "RELU")
        # The input channels of the projection are in the file's order of branches; bring them into ours.
        projection = self.convolutions["concat_projection"]
        ends = np.cumsum([self._channels(tensor) for tensor in joins[0].inputs])
        parts = zip(branches, np.split(projection.kernel, ends[:-1], axis=2), strict=True)
        ordered = sorted(parts, key=lambda part: (_KINDS.index(part[0].kind), part[0].rate))
        kernel = np.concatenate([part for _, part in ordered], axis=2)
        self.convolutions["concat_projection"] = replace(projection, kernel=kernel)
        for number, (branch, _) in enumerate(ordered, start=-kinds.count("image_pooling")):
            name = "image_pooling" if number < 0 else f"aspp{number}"
            if number < 0:
                self.merges["image_pooling_mean"] = branch.convolutions[""].inputs[0]
            for suffix, op in branch.convolutions.items():
                if _activation(op) != "RELU":
                    raise UnsupportedNetworkError(f"{name}{suffix}: expected activation RELU, got {_activation(op)}")
                self.convolutions[name + suffix] = self._read_convolution(op)
        return x, tuple(branch.rate for branch, _ in ordered if branch.kind == "atrous")

    def _branch(self, features: int, tensor: int) -> _Branch:
        """Return the branch of ASPP that computes `tensor`, an input of the concatenation."""
        convolution = self.graph.producer(self._origin(tensor))
        if convolution is None or convolution.name != "CONV_2D":
            raise UnsupportedNetworkError("a branch of its head does not end in a convolution")
        first, features = self._origin(convolution.inputs[0]), self._origin(features)
        size = self._kernel_size(convolution)
        if first == features and size in (1, 3):
            return _Branch("aspp0" if size == 1 else "atrous", _rate(convolution), {"": convolution})
        before = self.graph.producer(first)
        if before is not None and size == 1 and self._origin(before.inputs[0]) == features:
            if before.name in ("AVERAGE_POOL_2D", "MEAN") and self.graph.tensors[first].shape[1:3] == (1, 1):
                return _Branch("image_pooling", 1, {"": convolution})
            if before.name == "DEPTHWISE_CONV_2D" and self._kernel_size(before) == 3:
                return _Branch("atrous", _rate(before), {"_depthwise": before, "_pointwise": convolution})
        raise UnsupportedNetworkError(f"unknown branch of its head at {self.graph.tensors[tensor].name!r}")

    def match_decoder(self, encoded: int, low_level: int, join: Operator) -> int:
        """Match the decoder; return its output tensor."""
        low = self.match("decoder_low_level", low_level, "CONV_2D", 1, "RELU")
        if [self._origin(t) for t in join.inputs] != [self._origin(encoded), low]:
            raise UnsupportedNetworkError("its decoder does not concatenate ASPP and low-level features in this order")
        x = join.outputs[0]
        for number in range(2):
            name = f"decoder_conv{number}"
            if any(op.name == "DEPTHWISE_CONV_2D" for op in self.consumers(x)):
                x = self.match(f"{name}_depthwise", x, "DEPTHWISE_CONV_2D", 3, "RELU")
                x = self.match(f"{name}_pointwise", x, "CONV_2D", 1, "RELU")
            else:
                x = self.match(name, x, "CONV_2D", 3, "RELU")
        return x

    def match(self, layer: str, tensor: int, kind: str, size: int, activation: str) -> int:
        """Record the one convolution of this kind and size that reads `tensor` as `layer`; return its output tensor."""
        consumers = list(self.consumers(tensor))
        matches = [op for op in consumers if op.name == kind and self._kernel_size(op) == size]
        matches = [op for op in matches if _activation(op) == activation]
        if len(matches) != 1:
            expected = f"expected a {size}x{size} {kind} with activation {activation}"
            actual = ", ".join(sorted({op.name for op in consumers})) or "nothing"
            raise UnsupportedNetworkError(f"{layer}: {expected}, got {actual}")
        self.convolutions[layer] = self._read_convolution(matches[0])
        return self.convolutions[layer].output

    def consumers(self, tensor: int) -> Iterator[Operator]:
        """Yield the operators that read `tensor`, directly or through transparent ones."""
        for op in self.graph.operators:
            if tensor in op.inputs:
                yield from self.consumers(op.outputs[0]) if op.name in TRANSPARENT else [op]

    def _origin(self, tensor: int) -> int:
        """Return the tensor from which transparent operators computed `tensor`."""
        producer = self.graph.producer(tensor)
        return self._origin(producer.inputs[0]) if producer is not None and producer.name in TRANSPARENT else tensor

    def _read_convolution(self, op: Operator) -> TfliteConvolution:
        """Read the constants of a convolution in the layout of Keras."""
        output = op.outputs[0]
        if op.options["padding"] != "SAME" and self._kernel_size(op) > 1:
            raise UnsupportedNetworkError(f"{self.graph.tensors[output].name!r} does not use SAME padding")
        kernel = self._constant(op.inputs[1]).transpose(1, 2, 3, 0)
        has_bias = len(op.inputs) > 2 and op.inputs[2] >= 0
        bias = self._constant(op.inputs[2]) if has_bias else np.zeros(self._channels(output), np.float32)
        quantization = self.graph.tensors[op.inputs[1]].quantization
        scale = np.broadcast_to(np.array(quantization.scale if quantization else 0.0), self._channels(output))
        return TfliteConvolution(kernel, bias, StrideRate(op.options["stride_h"], _rate(op)), output, scale)

    def _constant(self, tensor: int) -> np.ndarray:
        """Return a constant as float32. In files with float16 weights a DEQUANTIZE operator widens it."""
        if self.graph.tensors[tensor].data is None:
            producer = self.graph.producer(tensor)
            if producer is None or producer.name != "DEQUANTIZE":
                raise UnsupportedNetworkError(f"the weights {self.graph.tensors[tensor].name!r} are not constant")
            tensor = producer.inputs[0]
        return self.graph.tensors[tensor].values()

    def _kernel_size(self, op: Operator) -> int:
        return self.graph.tensors[op.inputs[1]].shape[1]

    def _channels(self, tensor: int) -> int:
        return self.graph.tensors[tensor].shape[-1]


def _activation(op: Operator) -> str:
    return op.options["fused_activation_function"]


def _rate(op: Operator) -> int:
    return op.options["dilation_h_factor"]
