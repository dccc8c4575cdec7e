"""Moving a conversion to where it is cheap."""

from typing import Any

from ai_edge_litert import schema_py_generated as schema

from deeplab.tflite.packing import serialize

_CONVERSIONS = (schema.BuiltinOperator.QUANTIZE, schema.BuiltinOperator.DEQUANTIZE)
_CROPS = (schema.BuiltinOperator.STRIDED_SLICE, schema.BuiltinOperator.SLICE)


def move_conversion_before_resize(content: bytes) -> bytes:
    """The model with its last conversion ahead of the resize that it followed.

    A quantized network ends with scores that are enlarged, cropped perhaps, and then brought to the type that clients
    take. Converting first, on a map a hundred times smaller, gives the same bytes under XNNPACK, and finer scores
    where that type is float; it was a fifth of the time of a small network.

    Args:
        content: of a .tflite file without attached files; one that does not end so comes back as it is.
    """
    model = schema.ModelT.InitFromPackedBuf(content, 0)
    graph = model.subgraphs[0]
    *before, last = graph.operators
    tail = _tail(model, before, last.inputs[0])
    if _kind(model, last) not in _CONVERSIONS or not any(_kind(model, op) == _RESIZE for op in tail):
        return content
    result, small = graph.tensors[last.outputs[0]], graph.tensors[tail[0].inputs[0]]
    # The tensor that was converted is left over; it becomes what is converted now.
    left_over = int(last.inputs[0])
    _retype(graph.tensors[left_over], result)
    graph.tensors[left_over].shape = small.shape
    graph.tensors[left_over].shapeSignature = small.shapeSignature
    for op in tail[:-1]:
        _retype(graph.tensors[op.outputs[0]], result)
    last.inputs, tail[-1].outputs, last.outputs = [tail[0].inputs[0]], last.outputs, [left_over]
    tail[0].inputs = [left_over, *tail[0].inputs[1:]]
    graph.operators = [*(op for op in before if op not in tail), last, *tail]
    return serialize(model)


_RESIZE = schema.BuiltinOperator.RESIZE_BILINEAR


def _tail(model: Any, operators: list[Any], tensor: int) -> list[Any]:
    """The resize and crops that end in a tensor, in the order of execution; what else takes their results ends it."""
    tail: list[Any] = []
    users = [int(i) for op in operators for i in op.inputs]
    for op in reversed(operators):
        if tensor in op.outputs and _kind(model, op) in (_RESIZE, *_CROPS) and tensor not in users:
            tail.insert(0, op)
            users.remove(int(op.inputs[0]))
            tensor = int(op.inputs[0])
    return tail


def _retype(tensor: Any, like: Any) -> None:
    """Gives a tensor the type of another, and the scale."""
    tensor.type, tensor.quantization = like.type, like.quantization


def _kind(model: Any, op: Any) -> int:
    """The builtin operator."""
    code = model.operatorCodes[op.opcodeIndex]
    return max(code.builtinCode, code.deprecatedBuiltinCode)
