"""From the operators of a .tflite file to the layers of our network.

The names in a file depend on who converted it and say little in quantized ones, and the order of parallel branches
differs from file to file. So the graph is followed from operator to operator, and each step has to be what the network
has at that place.
"""

from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np

from deeplab.model.atrous import REFERENCE_OUTPUT_STRIDE, StrideRate, stride_plan
from deeplab.model.backbones.mobilenet_v2 import BLOCKS, LOW_BLOCK
from deeplab.tflite.flatbuffer import Operator, TfliteGraph

TRANSPARENT = ("QUANTIZE", "DEQUANTIZE", "RESIZE_BILINEAR", "PAD", "PADV2", "CAST")
"""Operators between two layers that are no layers themselves."""
POOLING = ("AVERAGE_POOL_2D", "MEAN")


class OtherNetworkError(Exception):
    """The file holds a network, but not one that we build; says where they part."""


@dataclass(frozen=True, eq=False)
class Convolution:
    """A convolution with its folded batch norm.

    Attributes:
        kernel: `[h, w, in, out]`, or `[h, w, c, 1]` of a depthwise one, float32.
        bias: `[out]` float32.
        step: its stride and rate.
        output: number of the tensor it computes.
        scale: of the stored kernel, `[out]`, 0 where it is stored as real numbers.
    """

    kernel: np.ndarray
    bias: np.ndarray
    stride_rate: StrideRate
    output: int
    scale: np.ndarray


@dataclass(frozen=True, eq=False)
class Layers:
    """What a file was found to be.

    Attributes:
        convolutions: by the name of our layer, from the stem to "logits".
        merges: numbers of the tensors that shortcuts and image pooling compute, by the name of our layer.
        output_stride: of the file.
        aspp_rates: at output stride 16.
    """

    convolutions: dict[str, Convolution]
    merges: dict[str, int]
    output_stride: int
    aspp_rates: tuple[int, ...]


def walk(graph: TfliteGraph) -> Layers:
    """The layers of a MobileNetV2 DeepLab with the head "v3" or "v3plus".

    Raises:
        OtherNetworkError: the graph is another network.
    """
    found: dict[str, Convolution] = {}
    merges: dict[str, int] = {}
    features, low_level = _backbone(graph, found, merges)
    output_stride = _check_strides(found)
    head, rates = _aspp(graph, found, merges, features)
    rates = tuple(rate * output_stride // REFERENCE_OUTPUT_STRIDE for rate in rates)
    following = list(_consumers(graph, head))
    if [op.name for op in following] == ["CONCATENATION"]:
        head = _decoder(graph, found, head, low_level, following[0])
    _take(graph, found, "logits", head, "CONV_2D", 1, "NONE")
    total = sum(op.name in ("CONV_2D", "DEPTHWISE_CONV_2D") for op in graph.operators)
    if total != len(found):
        raise OtherNetworkError(f"it has {total} convolutions where {len(found)} were looked for")
    return Layers(found, merges, output_stride, rates)


def _backbone(graph: TfliteGraph, found: dict[str, Convolution], merges: dict[str, int]) -> tuple[int, int]:
    """Tensors of the features and the low-level features."""
    x = _take(graph, found, "backbone_stem", graph.inputs[0], "CONV_2D", 3, "RELU6")
    low_level = x
    for number, (expansion, _, stride) in enumerate(BLOCKS):
        name, shortcut = f"backbone_block{number}", x
        if expansion > 1:
            x = _take(graph, found, f"{name}_expand", x, "CONV_2D", 1, "RELU6")
        x = _take(graph, found, f"{name}_depthwise", x, "DEPTHWISE_CONV_2D", 3, "RELU6")
        low_level = x if number == LOW_BLOCK else low_level
        x = _take(graph, found, f"{name}_project", x, "CONV_2D", 1, "NONE")
        if stride == 1 and graph.tensors[shortcut].shape[-1] == graph.tensors[x].shape[-1]:
            ends = {_base(graph, shortcut), x}
            adds = [
                op for op in _consumers(graph, x) if op.name == "ADD" and {_base(graph, t) for t in op.inputs} == ends
            ]
            if len(adds) != 1:
                raise OtherNetworkError(f"{name} has no shortcut")
            x = merges[f"{name}_add"] = adds[0].outputs[0]
    return x, low_level


def _check_strides(found: dict[str, Convolution]) -> int:
    """The output stride, once strides and rates are known to be what our network has at it."""
    steps = {name: c.stride_rate for name, c in found.items() if name.endswith(("_stem", "_depthwise"))}
    output_stride = int(np.prod([step.stride for step in steps.values()]))
    plan = stride_plan([2, *(stride for _, _, stride in BLOCKS)], output_stride) if output_stride >= 2 else ()
    for (name, step), wanted in zip(steps.items(), plan, strict=True):
        if step != wanted:
            raise OtherNetworkError(
                f"{name} has stride {step.stride} and rate {step.rate}; at output stride {output_stride} it should be "
                f"{wanted.stride} and {wanted.rate}"
            )
    return output_stride


def _aspp(
    graph: TfliteGraph, found: dict[str, Convolution], merges: dict[str, int], features: int
) -> tuple[int, tuple[int, ...]]:
    """Tensor of the projection, and the atrous rates as they are in the file."""
    first = [op for op in _consumers(graph, features) if op.name == "CONV_2D" and _size(graph, op) == 1]
    if len(first) != 1:
        raise OtherNetworkError(f"{len(first)} convolutions of 1x1 begin at the features, not one")
    joins = [op for op in _consumers(graph, first[0].outputs[0]) if op.name == "CONCATENATION"]
    if not joins:
        x = _take(graph, found, "aspp0", features, "CONV_2D", 1, "RELU")
        return _take(graph, found, "concat_projection", x, "CONV_2D", 1, "RELU"), ()
    branches = [_branch(graph, features, tensor) for tensor in joins[0].inputs]
    # By rate; names of one branch may be two, the depthwise and the pointwise half.
    atrous = sorted((b for b in branches if b.rate), key=lambda b: b.rate)
    numbers = {id(branch): number for number, branch in enumerate(atrous, start=1)}
    names = [b.kind if not b.rate else f"aspp{numbers[id(b)]}" for b in branches]
    ours = ["image_pooling", "aspp0", *(f"aspp{number}" for number in numbers.values())]
    ours = [name for name in ours if name in names]
    if sorted(ours) != sorted(names):
        raise OtherNetworkError(f"its head joins {', '.join(names)}")
    for name in ours:
        branch = branches[names.index(name)]
        if branch.depthwise is not None:
            found[f"{name}_depthwise"] = _convolution(graph, branch.depthwise)
            name = f"{name}_pointwise"
        found[name] = _convolution(graph, branch.convolution)
        if name == "image_pooling":
            merges["image_pooling_mean"] = branch.convolution.inputs[0]
    x = _take(graph, found, "concat_projection", joins[0].outputs[0], "CONV_2D", 1, "RELU")
    projection = found["concat_projection"]
    parts, begin = [], 0
    for branch in branches:
        width = graph.tensors[branch.convolution.outputs[0]].shape[-1]
        parts.append(projection.kernel[:, :, begin : begin + width])
        begin += width
    kernel = np.concatenate([parts[names.index(name)] for name in ours], axis=2)
    found["concat_projection"] = replace(projection, kernel=kernel)
    return x, tuple(branch.rate for branch in atrous)


@dataclass(frozen=True)
class _Branch:
    """One branch of ASPP: what it is, its atrous rate or 0, and its operators."""

    kind: str
    rate: int
    convolution: Operator
    depthwise: Operator | None = None


def _branch(graph: TfliteGraph, features: int, tensor: int) -> _Branch:
    """The branch that ends in `tensor`, an input of the concatenation."""
    convolution = graph.producer(_base(graph, tensor))
    if convolution is None or convolution.name != "CONV_2D":
        raise OtherNetworkError("a branch of its head ends in no convolution")
    _expect_activation(graph, convolution, "RELU")
    begin, size = _base(graph, convolution.inputs[0]), _size(graph, convolution)
    if begin == _base(graph, features):
        rate = convolution.options["dilation_h_factor"] if size == 3 else 0
        return _Branch("aspp0" if size == 1 else "atrous", rate, convolution)
    before = graph.producer(begin)
    if before is not None and size == 1 and _base(graph, before.inputs[0]) == _base(graph, features):
        if before.name in POOLING and graph.tensors[begin].shape[1:3] == (1, 1):
            return _Branch("image_pooling", 0, convolution)
        if before.name == "DEPTHWISE_CONV_2D" and _size(graph, before) == 3:
            _expect_activation(graph, before, "RELU")
            return _Branch("atrous", before.options["dilation_h_factor"], convolution, before)
    raise OtherNetworkError(f"the branch of its head at {graph.tensors[tensor].name!r} is none of ours")


def _decoder(graph: TfliteGraph, found: dict[str, Convolution], encoded: int, low_level: int, join: Operator) -> int:
    """Tensor behind the decoder."""
    low = _take(graph, found, "decoder_low_level", low_level, "CONV_2D", 1, "RELU")
    if [_base(graph, t) for t in join.inputs] != [_base(graph, encoded), low]:
        raise OtherNetworkError("its decoder does not join encoder and low-level features in this order")
    x = join.outputs[0]
    for number in range(2):
        name = f"decoder_conv{number}"
        if any(op.name == "DEPTHWISE_CONV_2D" for op in _consumers(graph, x)):
            x = _take(graph, found, f"{name}_depthwise", x, "DEPTHWISE_CONV_2D", 3, "RELU")
            x = _take(graph, found, f"{name}_pointwise", x, "CONV_2D", 1, "RELU")
        else:
            x = _take(graph, found, name, x, "CONV_2D", 3, "RELU")
    return x


def _take(
    graph: TfliteGraph, found: dict[str, Convolution], layer: str, tensor: int, kind: str, size: int, activation: str
) -> int:
    """Finds the convolution that reads `tensor`, files it as `layer` and gives its output."""
    readers = list(_consumers(graph, tensor))
    fitting = [
        op
        for op in readers
        if op.name == kind and _size(graph, op) == size and op.options["fused_activation_function"] == activation
    ]
    if len(fitting) != 1:
        there = ", ".join(sorted({op.name for op in readers})) or "nothing"
        raise OtherNetworkError(
            f"where {layer} should be, a {size}x{size} {kind} with activation {activation}, it has {there}"
        )
    found[layer] = _convolution(graph, fitting[0])
    return found[layer].output


def _convolution(graph: TfliteGraph, op: Operator) -> Convolution:
    """The constants of a convolution in Keras' layout."""
    if op.options["padding"] != "SAME" and _size(graph, op) > 1:
        raise OtherNetworkError(f"{graph.tensors[op.outputs[0]].name!r} does not pad")
    kernel = _constant(graph, op.inputs[1]).transpose(1, 2, 3, 0)
    outputs = graph.tensors[op.outputs[0]].shape[-1]
    has_bias = len(op.inputs) > 2 and op.inputs[2] >= 0
    bias = _constant(graph, op.inputs[2]) if has_bias else np.zeros(outputs, np.float32)
    stored = graph.tensors[op.inputs[1]].quantization
    scale = np.broadcast_to(np.array(stored.scale if stored else 0.0), outputs)
    return Convolution(
        kernel, bias, StrideRate(op.options["stride_h"], op.options["dilation_h_factor"]), op.outputs[0], scale
    )


def _constant(graph: TfliteGraph, tensor: int) -> np.ndarray:
    """A constant as real numbers; files with float16 weights widen them by an operator."""
    if graph.tensors[tensor].data is None:
        producer = graph.producer(tensor)
        if producer is None or producer.name != "DEQUANTIZE":
            raise OtherNetworkError(f"the weights {graph.tensors[tensor].name!r} are computed, not stored")
        tensor = producer.inputs[0]
    return graph.tensors[tensor].values()


def _consumers(graph: TfliteGraph, tensor: int) -> Iterator[Operator]:
    """The operators that read `tensor`, through the transparent ones."""
    for op in graph.operators:
        if tensor in op.inputs:
            if op.name in TRANSPARENT:
                yield from _consumers(graph, op.outputs[0])
            else:
                yield op


def _base(graph: TfliteGraph, tensor: int) -> int:
    """The tensor that `tensor` is a resized or requantized form of."""
    producer = graph.producer(tensor)
    return _base(graph, producer.inputs[0]) if producer is not None and producer.name in TRANSPARENT else tensor


def _size(graph: TfliteGraph, op: Operator) -> int:
    """Side of a convolution's kernel."""
    return graph.tensors[op.inputs[1]].shape[1]


def _expect_activation(graph: TfliteGraph, op: Operator, activation: str) -> None:
    """Raises OtherNetworkError where a convolution ends in another activation."""
    if op.options["fused_activation_function"] != activation:
        raise OtherNetworkError(f"{graph.tensors[op.outputs[0]].name!r} does not end in {activation}")
