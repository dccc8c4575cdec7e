"""Checks that need no inference: operators, input and output, metadata, quantization."""

from dataclasses import dataclass

from deeplab.config import ExportOutput, Quantization
from deeplab.conversion.checks import Check, CheckId, check, check_equal, not_checked
from deeplab.conversion.float_layers import float_operators, layer_of
from deeplab.model.resize import feature_size
from deeplab.pixels import PIXEL_MEAN, PIXEL_STD
from deeplab.tflite.flatbuffer import CONVOLUTIONS, DTYPE_CONVERSIONS, Tensor, TfliteGraph
from deeplab.tflite.interpreter import TfliteModel, accepts_raw_pixels
from deeplab.tflite.metadata import Activation

OPERATORS = frozenset((
    "CONV_2D", "DEPTHWISE_CONV_2D", "ADD", "MUL", "MEAN", "AVERAGE_POOL_2D", "MAX_POOL_2D", "MAXIMUM",
    "CONCATENATION", "RESIZE_BILINEAR", "PAD", "PADV2", "STRIDED_SLICE", "SLICE", "RELU", "RELU6", "HARD_SWISH",
    "LOGISTIC", "SOFTMAX", "ARG_MAX", "QUANTIZE", "DEQUANTIZE",
))  # fmt: skip
"""The operators that DeepLab networks need. XNNPACK has a kernel for each, except for PADV2, for ARG_MAX at the end of
the graph, and for AVERAGE_POOL_2D, HARD_SWISH, RELU and SOFTMAX in int8 (see compatibility/rules.toml).

SPACE_TO_BATCH_ND and BATCH_TO_SPACE_ND are excluded: they show that a dilation was not folded into its convolution,
which is several times slower. So are variables, custom operators and Flex operators, which plain runtimes lack.
"""

FIRST_OPERATORS = frozenset({"QUANTIZE", "DEQUANTIZE", "PAD", "PADV2", "CONV_2D"})
"""The operators that may process the image itself; arithmetic is a normalization that costs time on the device."""

MAX_CHANNELS = 256
"""Maximum number of classes of the Task Library, whose category mask has one byte per pixel."""


@dataclass(frozen=True)
class ExpectedFile:
    """The properties that a .tflite file must have.

    Attributes:
        image_size: (height, width) of the input in pixels.
        mask_stride: image pixels per pixel of the output.
        labels: class names by id.
        output: what the file returns for each pixel.
        quantization: how the file stores weights and computes.
        input_type: dtype of the input.
        output_type: dtype of the output; class ids are int32 regardless.
        float_layers: Keras layers that stay in float in an int8 file.
        logit_offset: constant that was added to all logits.
        quantization_parameters: (scale, zero point) of all tensors between the operators of an int8 file with trained
            ranges; empty if calibration chooses them.
        per_tensor: whether each tensor of the file has at most one scale.
    """

    image_size: tuple[int, int]
    mask_stride: int
    labels: tuple[str, ...]
    output: ExportOutput
    quantization: Quantization
    input_type: str
    output_type: str
    float_layers: tuple[str, ...] = ()
    logit_offset: float = 0.0
    quantization_parameters: tuple[tuple[float, int], ...] = ()
    per_tensor: bool = False

    @property
    def mask_size(self) -> tuple[int, int]:
        """(height, width) of the output."""
        height, width = self.image_size
        return feature_size(height, self.mask_stride), feature_size(width, self.mask_stride)

    @property
    def activation(self) -> Activation:
        """The activation that MediaPipe has to apply to the scores."""
        return "softmax" if self.output == "logits" else "none"


def structure_checks(model: TfliteModel, expected: ExpectedFile | None) -> list[Check]:
    """Check the operators, input and output, metadata and quantization of a file.

    Args:
        model: the opened file.
        expected: the properties that it must have; None if they are unknown.
    """
    checks = [*_operator_checks(model.graph), *_client_type_checks(model), *_metadata_checks(model, expected)]
    if expected is None:
        return checks
    image = _type_text(expected.input_type, (*expected.image_size, 3))
    scores = _type_text(expected.output_type, (*expected.mask_size, len(expected.labels)))
    output = _type_text("int32", expected.mask_size) if expected.output == "labels" else scores
    return [
        *checks,
        check_equal(CheckId.INPUT_MATCHES, _tensor_type(model.input), image),
        check_equal(CheckId.OUTPUT_MATCHES, _tensor_type(model.output), output),
        *_quantization_checks(model.graph, expected),
    ]


def convolution_dtypes(graph: TfliteGraph) -> set[tuple[str, str]]:
    """Return the (input dtype, kernel dtype) pairs of all convolutions."""
    convolutions = [op for op in graph.operators if op.name in CONVOLUTIONS]
    return {(graph.tensors[op.inputs[0]].dtype, graph.tensors[op.inputs[1]].dtype) for op in convolutions}


def _operator_checks(graph: TfliteGraph) -> list[Check]:
    """Check that the network has known builtin operators only, and no arithmetic on the image itself."""
    unknown = sorted(set(graph.operator_counts()) - OPERATORS)
    first = _first_operators(graph)
    free = first <= FIRST_OPERATORS or _subtracts_channel_means(graph)
    names, limit = ", ".join(unknown) or "all known", "builtin operators of DeepLab networks"
    return [
        check(CheckId.OPERATORS, not unknown, names, limit),
        check(CheckId.FIRST_OPERATORS, free, ", ".join(sorted(first)), "no arithmetic"),
    ]


def _first_operators(graph: TfliteGraph) -> set[str]:
    """Return the names of the operators from the image to the first convolution."""
    names, reached = set(), set(graph.inputs)
    for op in graph.operators:
        if reached & set(op.inputs):
            names.add(op.name)
            if op.name != "CONV_2D":
                reached |= set(op.outputs)
    return names


def _subtracts_channel_means(graph: TfliteGraph) -> bool:
    """Return whether the operators before the first convolution add different values to the channels.

    Plain ResNet and VGG-16 subtract the mean color of ImageNet (`SubtractMean`). This belongs to the network: a single
    scale and zero point for all channels cannot express it.
    """
    for op in graph.operators:
        if op.name == "CONV_2D":
            return False
        if op.name in ("ADD", "SUB", "DEPTHWISE_CONV_2D"):
            # The last input of a convolution is its bias.
            constants = [_constant(graph, i) for i in (op.inputs[-1:] if op.name == "DEPTHWISE_CONV_2D" else op.inputs)]
            return any(t is not None and len(set(t.values().ravel().tolist())) > 1 for t in constants)
    return False


def _constant(graph: TfliteGraph, index: int) -> Tensor | None:
    """Return the constant that an input reads, also through the DEQUANTIZE of float16 files; None if computed."""
    producer = graph.producer(index)
    source = graph.tensors[producer.inputs[0] if producer and producer.name == "DEQUANTIZE" else index]
    return None if source.data is None else source


def _client_type_checks(model: TfliteModel) -> list[Check]:
    """Check the input and output that the Task Library and MediaPipe accept."""
    image, output = model.input, model.output
    if image.dtype in ("uint8", "int8"):
        limit = "bytes 0..255 are -1..1" if image.dtype == "uint8" else "bytes - 128 are -1..1"
        checks = [check(CheckId.RAW_PIXELS, accepts_raw_pixels(image), _scale_text(image), limit)]
    else:
        checks = [not_checked(CheckId.RAW_PIXELS, f"the input is {image.dtype}")]
    if model.returns_labels:
        return [*checks, not_checked(CheckId.CLIENT_OUTPUT_TYPE, "no client accepts class ids")]
    if image.dtype not in ("float32", "uint8"):
        checks.append(check(CheckId.CLIENT_INPUT_TYPE, False, image.dtype, "float32 or uint8"))
    suits = output.dtype in ("float32", "uint8") and len(output.shape) == 4 and output.shape[3] <= MAX_CHANNELS
    limit = f"float32 or uint8 [1, h, w, c], c <= {MAX_CHANNELS}"
    return [*checks, check(CheckId.CLIENT_OUTPUT_TYPE, suits, _tensor_type(output), limit)]


def _metadata_checks(model: TfliteModel, expected: ExpectedFile | None) -> list[Check]:
    """Check that labels, normalization and activation are present and, if known, as expected."""
    metadata = model.metadata
    if metadata is None:
        return [check(CheckId.METADATA, False, "none", "labels and normalization")]
    labels = metadata.labels or ()
    normalization = _normalization_text(metadata.mean, metadata.std)
    checks = [check(CheckId.LABEL_COUNT, len(labels) == model.classes, len(labels), model.classes)]
    if expected is None:
        valid = metadata.mean is not None and metadata.std is not None and min(metadata.std) > 0
        return [*checks, check(CheckId.NORMALIZATION, valid, normalization, "a mean, and a std above 0")]
    pairs = zip(labels, expected.labels, strict=False)
    difference = next((f"{a!r} instead of {b!r}" for a, b in pairs if a != b), "equal")
    return [
        *checks,
        check(CheckId.LABELS, labels == expected.labels, difference, "equal"),
        check_equal(CheckId.NORMALIZATION, normalization, _normalization_text((PIXEL_MEAN,), (PIXEL_STD,))),
        check_equal(CheckId.ACTIVATION, str(metadata.activation), expected.activation),
    ]


def _quantization_checks(graph: TfliteGraph, expected: ExpectedFile) -> list[Check]:
    """Check that all layers except the requested ones are quantized, with no more dtype conversions than needed."""
    counts = graph.operator_counts()
    conversions = counts.get("QUANTIZE", 0) + counts.get("DEQUANTIZE", 0)
    checks = _range_checks(graph, expected) if expected.quantization == "int8" else []
    if expected.per_tensor:
        count = sum(t.quantization is not None and t.quantization.per_channel for t in graph.tensors)
        checks.append(check(CheckId.SEVERAL_SCALES, count == 0, count, 0))
    if expected.quantization in ("int8", "int16x8"):
        layers = [layer_of(graph, op) for op in graph.operators]
        requested = ", ".join(layer for layer in layers if layer in expected.float_layers) or "none"
        checks.append(check_equal(CheckId.FLOAT_OPERATORS, ", ".join(float_operators(graph)) or "none", requested))
    # Not counted in int16x8, where the converter adds some where branches meet.
    # Each use of a computed float tensor can need a conversion, so can the input and the output.
    computed = [op for op in graph.operators if op.name not in DTYPE_CONVERSIONS]
    used = [graph.tensors[i] for op in computed for i in (*op.inputs, *op.outputs) if i >= 0]
    float_uses = sum(t.dtype == "float32" and t.data is None for t in used)
    limit = {"float32": 0, "int8": 2 + float_uses}.get(expected.quantization)
    if limit is not None:
        checks.append(check(CheckId.CONVERSIONS, conversions <= limit, conversions, limit))
    return checks


def _range_checks(graph: TfliteGraph, expected: ExpectedFile) -> list[Check]:
    """Check that every tensor of a file with trained ranges has the scale and zero point of one of them."""
    if not expected.quantization_parameters:
        return []
    # The output of SOFTMAX has the same scale and zero point in every int8 file.
    softmax = ((1 / 256, -128),) if expected.output == "probabilities" else ()
    known = (*expected.quantization_parameters, *softmax)
    unknown = []
    for tensor in (graph.tensors[i] for op in graph.operators for i in op.outputs):
        if tensor.quantization is None or tensor.dtype not in ("int8", "uint8"):
            continue
        scale, zero_point = tensor.quantization.scale[0], tensor.quantization.zero_point[0]
        zero_point -= 128 if tensor.dtype == "uint8" else 0
        # The file stores scales in float32.
        if not any(abs(scale / s - 1) < 1e-5 and zero_point == z for s, z in known):
            unknown.append(tensor.name)
    return [check(CheckId.TRAINED_RANGES, not unknown, ", ".join(unknown[:3]) or "none", "none")]


def _tensor_type(tensor: Tensor) -> str:
    return _type_text(tensor.dtype, tensor.shape[1:])


def _type_text(dtype: str, shape: tuple[int, ...]) -> str:
    return f"{dtype} {[1, *shape]}"


def _scale_text(tensor: Tensor) -> str:
    if tensor.quantization is None:
        return "no scale"
    return f"scale {tensor.quantization.scale[0]:.6f}, zero point {tensor.quantization.zero_point[0]}"


def _normalization_text(mean: tuple[float, ...] | None, std: tuple[float, ...] | None) -> str:
    if mean is None or std is None:
        return "none"
    return f"mean {', '.join(f'{v:g}' for v in mean)}, std {', '.join(f'{v:g}' for v in std)}"
