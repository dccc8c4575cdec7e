"""What can be told of a file without running it: operators, shapes, types, metadata."""

from dataclasses import dataclass

from deeplab.config import ExportOutput, Quantization
from deeplab.conversion.export_report import Check, check, not_checked
from deeplab.conversion.float_layers import CONVERSIONS, float_operators, layer_of
from deeplab.tflite.flatbuffer import Tensor, TfliteGraph
from deeplab.tflite.interpreter import TfliteModel, accepts_raw_pixels
from deeplab.tflite.metadata import Activation, Metadata

OPERATORS = frozenset(
    {
        "CONV_2D",
        "DEPTHWISE_CONV_2D",
        "ADD",
        "MUL",
        "MEAN",
        "AVERAGE_POOL_2D",
        "MAX_POOL_2D",
        "CONCATENATION",
        "RESIZE_BILINEAR",
        "PAD",
        "PADV2",
        "STRIDED_SLICE",
        "SLICE",
        "RELU",
        "RELU6",
        "HARD_SWISH",
        "LOGISTIC",
        "SOFTMAX",
        "ARG_MAX",
        "QUANTIZE",
        "DEQUANTIZE",
    }
)
"""All that a DeepLab network needs, each with a kernel in XNNPACK or at the end of the graph.

What is left out on purpose: SPACE_TO_BATCH_ND and BATCH_TO_SPACE_ND (a dilation that was not folded into its
convolution, several times slower), variables and custom or Flex operators (no plain runtime has them).
"""

ENTRANCE = frozenset({"QUANTIZE", "DEQUANTIZE", "PAD", "PADV2", "CONV_2D"})
"""What may take the image itself; arithmetic here would be normalization paid for on the device."""

SOFTMAX_GRID = (1 / 256, -128)
"""Of what SOFTMAX gives in every int8 file."""

SAME_SCALE = 1e-5
"""Relative difference of two scales that are one, written in float32."""

MAX_CHANNELS = 256
"""Of the Task Library, whose category mask is one byte."""


@dataclass(frozen=True)
class Expected:
    """What a file was meant to be.

    Attributes:
        image_size: (height, width).
        mask_size: (height, width) of its output.
        labels: names of the classes by id.
        output: what it gives for each pixel.
        quantization: how it computes.
        input_type: of the input.
        output_type: of the output.
        float_layers: Keras layers that stay float in an int8 file.
        grids: (scale, zero point) of all tensors between the operators of an int8 file whose ranges were trained; none
            where calibration chooses them.
    """

    image_size: tuple[int, int]
    mask_size: tuple[int, int]
    labels: tuple[str, ...]
    output: ExportOutput
    quantization: Quantization
    input_type: str
    output_type: str
    float_layers: tuple[str, ...] = ()
    grids: tuple[tuple[float, int], ...] = ()


def structure_checks(model: TfliteModel, expected: Expected | None) -> list[Check]:
    """Operators, the two ends, the labels and the normalization of a file.

    Args:
        model: the open file.
        expected: what it was meant to be; None for a file that somebody else made.
    """
    checks = [*_operator_checks(model.graph), *_contract_checks(model), *_metadata_checks(model, expected)]
    if expected is not None:
        checks += [
            _equal("input as ordered", _ends_text(model.input), _text(expected.input_type, (*expected.image_size, 3))),
            _equal("output as ordered", _ends_text(model.output), _ordered_output(expected)),
            *_quantization_checks(model.graph, expected),
        ]
    return checks


def activation_for(output: ExportOutput) -> Activation:
    """What MediaPipe has to apply to the scores of a file."""
    return "softmax" if output == "logits" else "none"


def _operator_checks(graph: TfliteGraph) -> list[Check]:
    """Only builtin operators that belong to the network, and no arithmetic on the image itself."""
    strange = sorted(set(graph.operator_counts()) - OPERATORS)
    entrance = _entrance(graph)
    paid = not entrance <= ENTRANCE and not _subtracts_a_mean(graph)
    return [
        check("operators", not strange, ", ".join(strange) or "all known", "those of a DeepLab network, all builtin"),
        check("normalization costs nothing", not paid, ", ".join(sorted(entrance)), "no arithmetic"),
    ]


def _entrance(graph: TfliteGraph) -> set[str]:
    """Names of the operators between the image and the first convolution."""
    names, reached = set(), set(graph.inputs)
    for op in graph.operators:
        if reached & set(op.inputs):
            names.add(op.name)
            if op.name != "CONV_2D":
                reached |= set(op.outputs)
    return names


def _subtracts_a_mean(graph: TfliteGraph) -> bool:
    """Whether arithmetic on the image has a value of its own for each channel.

    ResNet takes the mean color of ImageNet away behind the padding. That is the network's own: one scale and one zero
    point for all channels cannot say it.
    """
    for op in graph.operators:
        if op.name == "CONV_2D":
            return False
        if op.name in ("ADD", "SUB"):
            constants = [_constant(graph, i) for i in op.inputs]
            return any(t is not None and len(set(t.values().ravel().tolist())) > 1 for t in constants)
    return False


def _constant(graph: TfliteGraph, index: int) -> Tensor | None:
    """The constant behind an input, which float16 files keep in half the bytes and convert first; None if computed."""
    producer = graph.producer(index)
    source = graph.tensors[producer.inputs[0] if producer and producer.name == "DEQUANTIZE" else index]
    return None if source.data is None else source


def _contract_checks(model: TfliteModel) -> list[Check]:
    """What the Task Library and MediaPipe accept at the two ends."""
    given, result = model.input, model.output
    if given.dtype == "uint8":
        pixels = check("raw bytes are pixels", accepts_raw_pixels(given), _scale_text(given), "bytes 0..255 are -1..1")
    elif given.dtype == "int8":
        pixels = check("raw bytes are pixels", accepts_raw_pixels(given), _scale_text(given), "bytes - 128 are -1..1")
    else:
        pixels = not_checked("raw bytes are pixels", f"the input is {given.dtype}")
    name = "output type of the clients"
    if model.returns_labels:
        return [pixels, not_checked(name, "class ids are outside the clients' contract")]
    holds = result.dtype in ("float32", "uint8") and len(result.shape) == 4 and result.shape[3] <= MAX_CHANNELS
    limit = f"float32 or uint8 [1, h, w, c], c <= {MAX_CHANNELS}"
    if given.dtype not in ("float32", "uint8"):
        return [pixels, check("input type of the clients", False, given.dtype, "float32 or uint8"),
                check(name, holds, _ends_text(result), limit)]  # fmt: skip
    return [pixels, check(name, holds, _ends_text(result), limit)]


def _metadata_checks(model: TfliteModel, expected: Expected | None) -> list[Check]:
    """Labels as many as channels, a normalization, and all of it as it was written."""
    metadata = model.metadata
    if metadata is None:
        return [check("metadata", False, "none", "labels and normalization")]
    labels = metadata.labels or ()
    checks = [check("labels = channels", len(labels) == model.classes, len(labels), model.classes)]
    if expected is None:
        stated = metadata.mean is not None and metadata.std is not None and min(metadata.std) > 0
        checks.append(check("normalization", stated, _normalization_text(metadata), "a mean, and a std above 0"))
        return checks
    first = next((f"{a!r} for {b!r}" for a, b in zip(labels, expected.labels, strict=False) if a != b), "equal")
    return [
        *checks,
        check("labels read back", labels == expected.labels, first, "equal"),
        _equal("normalization", _normalization_text(metadata), "mean 127.5, std 127.5"),
        _equal("activation", str(metadata.activation), activation_for(expected.output)),
    ]


def _quantization_checks(graph: TfliteGraph, expected: Expected) -> list[Check]:
    """Whether a file is quantized but where it was ordered in float, and pays for no conversion beyond those needed."""
    counts = graph.operator_counts()
    conversions = counts.get("QUANTIZE", 0) + counts.get("DEQUANTIZE", 0)
    if expected.quantization == "int8":
        found = float_operators(graph)
        ordered = tuple(layer_of(graph, op) for op in graph.operators if layer_of(graph, op) in expected.float_layers)
        most = 2 + _ends_of_float_operators(graph)
        return [
            *_grid_checks(graph, expected),
            check("float operators", found == ordered, ", ".join(found) or "none", ", ".join(ordered) or "none"),
            check("conversions", conversions <= most, conversions, most),
        ]
    if expected.quantization == "int16x8":
        # The converter adds conversions of its own where branches meet.
        floats = float_operators(graph)
        return [check("float operators", not floats, ", ".join(floats) or "none", "none")]
    if expected.quantization == "float32":
        return [check("conversions", conversions == 0, conversions, 0)]
    return []


def _grid_checks(graph: TfliteGraph, expected: Expected) -> list[Check]:
    """Whether every tensor of a quantization-aware network has one of the ranges that it was trained in."""
    if not expected.grids:
        return []
    known = [*expected.grids, SOFTMAX_GRID] if expected.output == "probabilities" else [*expected.grids]
    strange = []
    for tensor in (graph.tensors[i] for op in graph.operators for i in op.outputs):
        if tensor.quantization is None or tensor.dtype not in ("int8", "uint8"):
            continue
        scale, zero = tensor.quantization.scale[0], tensor.quantization.zero_point[0]
        zero -= 128 if tensor.dtype == "uint8" else 0
        if not any(abs(scale / s - 1) < SAME_SCALE and zero == z for s, z in known):
            strange.append(tensor.name)
    return [check("ranges other than those trained", not strange, ", ".join(strange[:3]) or "none", "none")]


def _ends_of_float_operators(graph: TfliteGraph) -> int:
    """How many conversions float operators can need: one for each thing that they take or give."""
    computed = [op for op in graph.operators if op.name not in CONVERSIONS]
    floats = [i for op in computed for i in (*op.inputs, *op.outputs) if i >= 0 and graph.tensors[i].data is None]
    return sum(graph.tensors[i].dtype == "float32" for i in floats)


def _ordered_output(expected: Expected) -> str:
    """Type and shape of the output that was ordered."""
    if expected.output == "labels":
        return _text("int32", expected.mask_size)
    return _text(expected.output_type, (*expected.mask_size, len(expected.labels)))


def _equal(name: str, found: str, wanted: str) -> Check:
    return check(name, found == wanted, found, wanted)


def _ends_text(tensor: Tensor) -> str:
    return _text(tensor.dtype, tensor.shape[1:])


def _text(dtype: str, shape: tuple[int, ...]) -> str:
    return f"{dtype} {[1, *shape]}"


def _scale_text(tensor: Tensor) -> str:
    if tensor.quantization is None:
        return "no scale"
    return f"scale {tensor.quantization.scale[0]:.6f}, zero point {tensor.quantization.zero_point[0]}"


def _normalization_text(metadata: Metadata) -> str:
    if metadata.mean is None or metadata.std is None:
        return "none"
    return f"mean {', '.join(f'{v:g}' for v in metadata.mean)}, std {', '.join(f'{v:g}' for v in metadata.std)}"
