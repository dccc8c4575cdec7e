"""The rules of the delegates, held against small files, and those of XNNPACK against LiteRT itself."""

import numpy as np
import pytest

from deeplab.compatibility.delegates import DelegateVerdict, OperatorVerdict, delegate_verdicts, operator_verdict
from deeplab.compatibility.host import xnnpack_operators
from deeplab.compatibility.rules import delegates
from deeplab.tflite.flatbuffer import read_graph
from deeplab.tflite.tflite_file import open_tflite
from tests.compatibility.small_files import bytes8, constant, floats, operator_file

X = (1, 8, 8, 8)
F32, I8 = floats(*X), bytes8(*X)
PROBABILITIES = bytes8(*X, scale=(1 / 256,), zero_point=-128)
RELU, RELU6, SIGN_BIT = 1, 3, 5


def kernel(*shape, dtype="float32", scales=1, axis=0):
    return constant(np.ones(shape), dtype, scale=(0.1,) * scales if dtype == "int8" else (), axis=axis)


def conv(image=F32, weights=None, bias="constant", version=1, name="CONV_2D", **options):
    """A 3x3 convolution of 8 channels."""
    depthwise = name == "DEPTHWISE_CONV_2D"
    quantized = image.dtype == "int8"
    if weights is None:
        weights = kernel(*((1, 3, 3, 8) if depthwise else (8, 3, 3, 8)), dtype=image.dtype)
    channels = weights.shape[3] if depthwise else weights.shape[0]
    scales = tuple(0.1 * s for s in weights.scale) if quantized else ()
    biases = constant(np.zeros(channels), "int32" if quantized else "float32", scale=scales)
    settings = {"strideH": 1, "strideW": 1, **({"depthMultiplier": 1} if depthwise else {}), **options}
    strides = (settings["strideH"], settings["strideW"])
    size = [-(-side // stride) for side, stride in zip(image.shape[1:3], strides, strict=True)]
    output = type(image)(image.dtype, (1, *size, channels), dynamic=image.dynamic)
    inputs = [image, weights, *([biases] if bias == "constant" else ())]
    return operator_file(name, inputs, output, version, **settings)


def depthwise(image=F32, weights=None, version=1, **options):
    return conv(image, weights, version=version, name="DEPTHWISE_CONV_2D", **options)


def mean(image=F32, axes=(1, 2), version=1, keep=True, dtype="int32", computed=False):
    given = type(image)(dtype, (len(axes),)) if computed else constant(axes, dtype)
    reduced = {axis % len(image.shape) for axis in axes}
    shape = [1 if i in reduced else n for i, n in enumerate(image.shape)]
    shape = shape if keep else [n for i, n in enumerate(image.shape) if i not in reduced]
    return operator_file("MEAN", [image, given], type(image)(image.dtype, tuple(shape)), version, keepDims=keep)


def pad(image=F32, paddings=((0, 0), (1, 1), (1, 1), (0, 0)), version=1, name="PAD", computed=False):
    shape = tuple(n + a + b for n, (a, b) in zip(image.shape, paddings, strict=True))
    given = type(image)("int32", np.shape(paddings)) if computed else constant(paddings)
    values = [constant(0.0, image.dtype)] if name == "PADV2" else []
    return operator_file(name, [image, given, *values], type(image)(image.dtype, shape), version)


def resize(image=F32, side=16, version=1, method="BILINEAR", **options):
    output = type(image)(image.dtype, (*image.shape[:1], side, side, *image.shape[3:]))
    return operator_file(f"RESIZE_{method}", [image, constant([side, side])], output, version, **options)


def to_batch(image=F32, version=1):
    """Four images of half the height and width."""
    given = [constant([2, 2]), constant(np.zeros((2, 2)))]
    return operator_file("SPACE_TO_BATCH_ND", [image, *given], type(image)(image.dtype, (4, 4, 4, 8)), version)


def from_batch(image, version=1):
    """One image of twice the height and width."""
    given = [constant([2, 2]), constant(np.zeros((2, 2)))]
    return operator_file("BATCH_TO_SPACE_ND", [image, *given], type(image)(image.dtype, (1, 16, 16, 8)), version)


def crop(image=F32, strides=None, shape=None, version=1, **options):
    rank = len(image.shape)
    shape = shape or (*image.shape[:1], *[4] * (rank - 2), *image.shape[-1:])
    ends = [n * s for n, s in zip((*shape, *[1] * rank), strides or [1] * rank, strict=False)][:rank]
    given = [constant(v) for v in ([0] * rank, ends, strides or [1] * rank)]
    return operator_file("STRIDED_SLICE", [image, *given], type(image)(image.dtype, shape), version, **options)


def argmax(image=F32, dtype="int32", axis=-1, computed=False):
    given = type(image)("int32", ()) if computed else constant(axis)
    code = {"int32": 2, "int64": 4}[dtype]
    return operator_file("ARG_MAX", [image, given], type(image)(dtype, image.shape[:-1]), outputType=code)


def unary(name, image, output=None, version=1, **options):
    return operator_file(name, [image], output or type(image)(image.dtype, image.shape), version, **options)


def join(count, image=F32, axis=3, **options):
    shape = tuple(n * count if i == axis else n for i, n in enumerate(image.shape))
    return operator_file("CONCATENATION", [image] * count, type(image)(image.dtype, shape), axis=axis, **options)


def add(image, version=1, name="ADD", **options):
    return operator_file(name, [image, image], image, version, **options)


def cut(image):
    shape = (1, 4, 4, image.shape[3])
    return operator_file("SLICE", [image, constant([0] * 4), constant(shape)], type(image)(image.dtype, shape))


def pool(image, name="AVERAGE_POOL_2D", **options):
    return unary(name, image, filterWidth=2, filterHeight=2, strideW=1, strideH=1, **options)


ORDER = ("gpu_classic", "gpu_ml_drift", "xnnpack", "nnapi", "hexagon", "qnn", "mediatek", "st_npu", "edgetpu", "coreml")
LETTERS = {"D": "delegated", "F": "falls back", "U": "unknown"}
I8_CHANNELS = kernel(8, 3, 3, 8, dtype="int8", scales=8)
I8_DEPTHWISE = kernel(1, 3, 3, 8, dtype="int8", scales=8, axis=3)
ALIGNED, HALF = {"alignCorners": True}, {"halfPixelCenters": True}

CASES = {
    # Verdicts in the order of ORDER, read from the sources that rules.toml names; "." is not asserted.
    "convolution": (conv(), "DDDDFDDFFD"),
    "int8": (conv(I8, version=3), "DDDDDDDUDF"),
    "int8 per channel": (conv(I8, I8_CHANNELS, version=3), "DDDDDDUFDF"),
    "stride 4": (conv(I8, version=3, strideH=4, strideW=4), "DDDDFDDUDF"),
    "dilated": (conv(I8, version=3, dilationHFactor=2, dilationWFactor=2), "DDDDFDDUDF"),
    "unequal dilation": (conv(I8, version=3, dilationHFactor=2, dilationWFactor=1), "DDDDFDDUFF"),
    "no bias": (conv(bias=None), "DDFFFDDFF."),
    "computed kernel": (conv(weights=floats(8, 3, 3, 8)), "DDF.FDDFFF"),
    "int8 kernel of one scale, float image": (conv(weights=kernel(8, 3, 3, 8, dtype="int8")), "UU.UFUUFFU"),
    "int8 kernel, float image": (conv(weights=I8_CHANNELS), "UUDUFUUFFU"),
    "free batch size": (conv(bytes8(*X, dynamic=True), version=3), "..." + "DDFDFFF"),
    "version 7": (conv(version=7), "FFDFFDDFFF"),
    "depthwise": (depthwise(version=2, dilationHFactor=2, dilationWFactor=2), "DDDDFDDFFD"),
    "depthwise, int8 kernel": (depthwise(weights=I8_DEPTHWISE), "UUFUFUUFFU"),
    "depthwise, per channel": (depthwise(I8, I8_DEPTHWISE, version=3), "DDDDDDUFDF"),
    "depthwise, dilated and strided": (
        depthwise(I8, version=3, dilationHFactor=2, dilationWFactor=2, strideH=2, strideW=2),
        "DD.DFDDUDF",
    ),
    "depth multiplier 2": (
        depthwise(bytes8(1, 8, 8, 4), kernel(1, 3, 3, 8, dtype="int8"), version=3, depthMultiplier=2),
        "FFDDFDDUDF",
    ),
    "one kernel row": (depthwise(I8, kernel(1, 1, 3, 8, dtype="int8"), version=3), "DDDDFDDUDF"),
    "softmax": (unary("SOFTMAX", F32, beta=1.0), "DDDDFDDFFD"),
    "softmax, beta 2": (unary("SOFTMAX", F32, beta=2.0), "FFFDFDDFFF"),
    "softmax, int8": (unary("SOFTMAX", I8, PROBABILITIES, version=2, beta=1.0), "DDFDDDDUFF"),
    "softmax, int8, one pixel": (
        unary("SOFTMAX", bytes8(1, 7), bytes8(1, 7, scale=(1 / 256,), zero_point=-128), version=2, beta=1.0),
        "DDFDDDDUDF",
    ),
    "mean": (mean(), "DDDDFDDFFD"),
    "mean without the dimensions": (mean(keep=False), "DDDDFDDFFF"),
    "mean of the batch": (mean(axes=(0,)), "DDDDFDDFFF"),
    "mean of the batch, int8": (mean(I8, axes=(0,), version=2), "DDDDDDDUFF"),
    "mean of 6 channels": (mean(bytes8(1, 8, 8, 6), axes=(3,), version=2), "DDDDDDDUFF"),
    "mean of the last axis, 6 channels": (mean(bytes8(1, 8, 8, 6), axes=(-1,), version=2), "DDDDDDDUFF"),
    "mean of 8 channels": (mean(I8, axes=(3,), version=2), "DDDDDDDUDF"),
    "mean, computed axes": (mean(computed=True), "FFFDFDDFF."),
    "mean, int64 axes": (mean(dtype="int64"), "FF..FDDFF."),
    "mean, computed axes, int8": (mean(I8, computed=True, version=2), "FFFDFDDU.F"),
    "pad": (pad(), "DDDDFDDFFD"),
    "pad, rank 3": (pad(floats(8, 8, 8), ((1, 1), (1, 1), (0, 0))), "DDDDFDDFFF"),
    "pad, rank 3, height only": (pad(floats(8, 8, 8), ((0, 0), (1, 1), (0, 0))), "DDDDFDDFFF"),
    "pad, rank 2": (pad(floats(8, 8), ((1, 1), (0, 0))), "FFDDFDDFFF"),
    "pad the batch": (pad(paddings=((1, 0), (0, 0), (0, 0), (0, 0))), "DDDDFDDFFF"),
    "pad the batch, int8": (pad(I8, ((1, 0), (0, 0), (0, 0), (0, 0)), version=2), "DDDDDDDUFF"),
    "pad, computed": (pad(computed=True), "FFFDFDDFF."),
    "pad with a value": (pad(name="PADV2"), "DDFDFDDFFD"),
    "resize, aligned": (resize(**ALIGNED), "DDDUFDDFFD"),
    "resize, half pixels": (resize(version=3, **HALF), "DDDUFDDFFF"),
    "resize, both": (resize(version=3, **ALIGNED, **HALF), "FF.UFDDFFF"),
    "resize to 100, int8": (resize(I8, 100, version=2, **ALIGNED), "DDDUUDDUUF"),
    "resize, rank 3": (resize(floats(1, 8, 8)), "..F......."),
    "resize, nearest": (resize(method="NEAREST_NEIGHBOR"), "DDFUFDDFFF"),
    "resize, nearest, int8": (resize(I8, version=2, method="NEAREST_NEIGHBOR"), "DDFUUDDUUF"),
    "to batch": (to_batch(), "FFFUFDFFFF"),
    "to batch, int8": (to_batch(I8, version=2), "FFFUFDFUFF"),
    "from batch": (from_batch(floats(4, 8, 8, 8)), "FFFUFDFFFF"),
    "from batch, int8": (from_batch(bytes8(4, 8, 8, 8), version=2), "FFFUFDFUFF"),
    "crop": (crop(), "DDDDFDDFFF"),
    "crop, int8": (crop(I8, version=2), "DDDDDDDUDF"),
    "crop, shrunk": (crop(shape=(4, 4, 8), shrinkAxisMask=1), "FFFDFDDFFF"),
    "crop with stride 2": (crop(strides=[1, 2, 2, 1]), "DDFDFDDFFF"),
    "crop with stride 2, int8": (crop(I8, strides=[1, 2, 2, 1], version=2), "DDFDDDDUFF"),
    "crop, rank 2": (crop(floats(8, 8), shape=(8, 4)), "FFDDFDDFFF"),
    "argmax": (argmax(), "FDFDFDFFFF"),
    "argmax to int64": (argmax(dtype="int64"), "FFFFFDFFFF"),
    "argmax, int8": (argmax(I8), "FDFDDDFUFF"),
    "argmax, computed axis": (argmax(computed=True), "FFF.FDFFFF"),
    "argmax, rank 5": (argmax(floats(1, 2, 2, 2, 3)), "FFF.FDFFFF"),
    "uint8 to int8": (unary("QUANTIZE", bytes8(*X, dtype="uint8"), I8, version=2), "DDFUDDDUDF"),
    "float to uint8": (unary("QUANTIZE", F32, bytes8(*X, dtype="uint8")), "DDDDFDDFFF"),
    "float16 weights": (unary("DEQUANTIZE", constant(np.ones(X), "float16"), F32, version=3), "DDDUFDDFFD"),
    "join": (join(2), "DDDDFDDFFD"),
    "join 6": (join(6), "DDFDFDDFFD"),
    "join rows": (join(2, axis=1), "DDDDFDDFFF"),
    "join, fused": (join(2, fusedActivationFunction=RELU), "DD.FFDDFFF"),
    "join, fused, int8": (join(2, I8, fusedActivationFunction=RELU), "DD.FDDDUFF"),
    "pool, int8": (pool(I8), "DDFDDDDUDF"),
    "pool, fused": (pool(F32, fusedActivationFunction=RELU6), "DDDDFDDFFF"),
    "pool, fused, int8": (pool(I8, fusedActivationFunction=RELU6), "DDFDFDDUFF"),
    "add": (add(F32), "DDDDFDDFFD"),
    "add, int8": (add(I8), "DDDDDDDUDF"),
    "subtract": (add(F32, name="SUB"), "..DDFDDFFF"),
    "subtract, int8": (add(I8, name="SUB"), "..DDDDDUDF"),
    "multiply": (add(F32, name="MUL"), "DDDDFDDFFD"),
    "multiply, int8": (add(I8, name="MUL"), "DDDDDDDUDF"),
    "largest": (pool(F32, "MAX_POOL_2D"), "DDDDFDDFFD"),
    "largest, int8": (pool(I8, "MAX_POOL_2D"), "DDDDDDDUDF"),
    "ReLU": (unary("RELU", F32), "DDDDFDDFFD"),
    "ReLU, int8": (unary("RELU", I8, version=2), "DDFDDDDUDF"),
    "ReLU6": (unary("RELU6", F32), "DDDDFD.FFD"),
    "ReLU6, int8": (unary("RELU6", I8, version=2), "DDFDDD.UDF"),
    "hard swish": (unary("HARD_SWISH", F32), "DDDDFDDFFD"),
    "hard swish, int8": (unary("HARD_SWISH", I8), "DDFDDDDUFF"),
    "logistic": (unary("LOGISTIC", F32), "DDDDFDDFFD"),
    "logistic, int8": (unary("LOGISTIC", I8, PROBABILITIES), "DDDDDDDUDF"),
    "slice": (cut(F32), "DDDDFDDFFF"),
    "slice, int8": (cut(I8), "DDDDDDDUDF"),
    "join, int8": (join(2, I8), "DDDDDDDUDF"),
    "pad, int8": (pad(I8), "DDDDDDDUDF"),
    "pool": (pool(F32), "DDDDFDDFFD"),
    "add, int16": (add(bytes8(*X, dtype="int16")), "FFFFFDDFFF"),
    "add, int64": (add(bytes8(*X, dtype="int64")), "FFFFFDF.FF"),
    "add, sign bit": (add(F32, fusedActivationFunction=SIGN_BIT), "F" + "." * 9),
    "tanh": (unary("TANH", F32), "UUUUFUUFFU"),
    "an operator of no list": (unary("ZEROS_LIKE", F32), "FFFFFFF" + ".FF"),
}
"""Small files by name, with the verdicts of all delegates."""

NOT_RUN = {
    "mean, int64 axes",
    "no bias",
    "resize, both",
    "resize, rank 3",
    "add, int64",
    "add, sign bit",
    "join, fused",
    "join, fused, int8",
    "argmax, computed axis",
}
"""Files that no runtime accepts; only the rules see them."""


def verdicts(content):
    graph = read_graph(content)
    return {name: operator_verdict(delegate, graph, graph.operators[0]) for name, delegate in delegates().items()}


@pytest.mark.parametrize("name", CASES)
def test_operators_are_judged_as_the_sources_of_the_delegates_say(name):
    content, letters = CASES[name]
    actual = {delegate: verdict for delegate, (verdict, _) in verdicts(content).items()}
    expected = {d: LETTERS[letter] for d, letter in zip(ORDER, letters, strict=True) if letter != "."}
    assert {d: actual[d] for d in expected} == expected


@pytest.mark.parametrize("name", sorted(set(CASES) - NOT_RUN))
def test_the_rules_of_xnnpack_are_those_of_litert_on_this_machine(name):
    content, _ = CASES[name]
    delegated = xnnpack_operators(open_tflite(content)) == {0}
    verdict, reason = verdicts(content)["xnnpack"]
    if verdict != "unknown":
        assert delegated == (verdict == "delegated"), reason


@pytest.mark.parametrize("delegate", ORDER)
def test_every_rule_of_a_delegate_decides_in_a_small_file(delegate):
    decided = {verdicts(content)[delegate] for content, _ in CASES.values()}
    stated = {(rule.verdict, rule.because) for rule in delegates()[delegate].rule if rule.verdict != "delegated"}
    assert stated <= decided


@pytest.mark.slow
def test_kernels_of_float16_files_are_constant(workshop):
    """They are stored as float16, and DEQUANTIZE reads them."""
    graph = read_graph(workshop.bare("float16"))
    kinds = {(op.name, operator_verdict(delegates()["coreml"], graph, op)[0]) for op in graph.operators}
    assert {("CONV_2D", "delegated"), ("DEPTHWISE_CONV_2D", "delegated"), ("DEQUANTIZE", "delegated")} <= kinds
    assert not {"CONV_2D", "DEPTHWISE_CONV_2D"} & {name for name, verdict in kinds if verdict != "delegated"}


def test_verdicts_of_a_file_are_counted_by_operator_and_reason():
    by_id = {verdict.delegate: verdict for verdict in delegate_verdicts(read_graph(CASES["argmax"][0]))}
    assert tuple(by_id) == ORDER
    assert by_id["gpu_ml_drift"].summary == "all 1 operators delegated"
    assert by_id["xnnpack"].summary == "all 1 operators fall back: not in its list of operators"
    assert by_id["xnnpack"].counts == {"delegated": 0, "falls back": 1, "unknown": 0}


def test_a_summary_counts_all_three_verdicts_and_groups_the_reasons():
    operators = (
        OperatorVerdict("CONV_2D", 36, "delegated", ""),
        OperatorVerdict("ADD", 10, "falls back", "a"),
        OperatorVerdict("PAD", 2, "falls back", "b"),
        OperatorVerdict("MEAN", 1, "falls back", "a"),
    )
    assert DelegateVerdict("x", "X", "source", "", operators).summary == (
        "of 49 operators 36 delegated, 13 fall back, 0 unknown; falls back: ADD 10, MEAN 1 (a); falls back: PAD 2 (b)"
    )


def test_a_delegate_without_a_list_of_operators_is_unknown_rather_than_refusing():
    by_id = {verdict.delegate: verdict for verdict in delegate_verdicts(read_graph(CASES["int8"][0]))}
    assert by_id["st_npu"].summary == "all 1 operators unknown: the source does not list the operators that it takes"
    assert by_id["st_npu"].counts == {"delegated": 0, "falls back": 0, "unknown": 1}
