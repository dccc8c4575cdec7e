"""Writing a .tflite file without saying anything twice."""

import io
import re
import zipfile
from collections.abc import Callable
from typing import Any

import flatbuffers
import numpy as np
from ai_edge_litert import schema_py_generated as schema

_BUFFER_ALIGNMENT = 16
"""Bytes; the schema asks for it, and kernels read constants where they lie."""

_SCOPE = re.compile(r"^functional(_\d+)*/")
_CONVOLUTION = re.compile(r"(convolution|depthwise)\d*$")
_TIMES_USED = re.compile(r"_\d+$")


def pack(content: bytes) -> bytes:
    """The same model in fewer bytes; not one value differs.

    The converter writes a scale and a zero point for each channel of each kernel and of each bias, 24 bytes a channel
    in all. The zero points are all 0, so one list of them serves all tensors of as many channels. Equal shapes,
    strings and constants are written once in the same way.

    Args:
        content: of a .tflite file, files attached to it included.
    """
    model = schema.ModelT.InitFromPackedBuf(content, 0)
    return with_files(serialize(model), attached_files(content))


def rename_tensors(content: bytes, name: Callable[[str], str]) -> bytes:
    """The model with other names of its tensors, which no runtime goes by but those of the two ends.

    Args:
        content: of a .tflite file without attached files.
        name: gives the new name for an old one; a number is added where it has been taken.
    """
    model = schema.ModelT.InitFromPackedBuf(content, 0)
    for graph in model.subgraphs:
        ends = {*map(int, graph.inputs), *map(int, graph.outputs)}
        taken: set[str] = {graph.tensors[i].name.decode() for i in ends}
        # A kernel may be called like its layer; what the layer computes comes first.
        constant = [model.buffers[t.buffer].data is not None for t in graph.tensors]
        for i in sorted(range(len(graph.tensors)), key=lambda i: constant[i]):
            if i not in ends:
                tensor = graph.tensors[i]
                tensor.name = _free(name(tensor.name.decode("utf-8", "replace")), taken)
    return serialize(model)


def layer_name(tensor: str) -> str:
    """The Keras layer whose kernel an operator has, by the name that the converter gave to what it computes.

    "functional_1/aspp0_relu_1/Relu;functional_1/aspp0_bn_1/batchnorm/add_1;functional_1/aspp0_1/convolution" is what
    three layers became one operator for, in any order; "aspp0" is the one with the convolution.
    """
    parts = tensor.split(";")
    part = next((p for p in parts if _CONVOLUTION.match(p.split("/")[-1])), parts[-1])
    scope = _SCOPE.match(part)
    return _TIMES_USED.sub("", part[scope.end() :].split("/")[0]) if scope else part


def attached_files(content: bytes) -> dict[str, bytes]:
    """The files of the zip archive behind a model, by name; none where there is no archive."""
    if not zipfile.is_zipfile(io.BytesIO(content)):
        return {}
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        return {name: archive.read(name) for name in archive.namelist()}


def with_files(model: bytes, files: dict[str, bytes]) -> bytes:
    """The model with files attached, stored as they are: the runtimes map them into memory."""
    if not files:
        return model
    whole = io.BytesIO(model)
    with zipfile.ZipFile(whole, "a", zipfile.ZIP_STORED) as archive:
        for name, data in files.items():
            # A fixed date: the same model gives the same bytes.
            archive.writestr(zipfile.ZipInfo(name), data)
    return whole.getvalue()


def _free(name: str, taken: set[str]) -> str:
    """The name, with a number if there is one like it; it is taken from now on."""
    found, number = name, 1
    while found in taken:
        found, number = f"{name}:{number}", number + 1
    taken.add(found)
    return found


def serialize(model: Any) -> bytes:
    """The bytes of the schema's own object, nothing said twice."""
    builder = _SharingBuilder(1024)
    builder.Finish(model.Pack(builder), b"TFL3")
    return bytes(builder.Output())


class _SharingBuilder(flatbuffers.Builder):
    """Writes each vector and string once, and byte vectors where kernels may read them."""

    def __init__(self, size: int) -> None:
        super().__init__(size)
        self._written: dict[tuple[str, bytes], int] = {}

    def CreateNumpyVector(self, x: np.ndarray) -> int:  # noqa: N802
        key = (x.dtype.str, x.tobytes())
        if key not in self._written:
            if x.dtype == np.uint8:
                self.StartVector(1, x.size, _BUFFER_ALIGNMENT)
                self.head -= x.size
                self.Bytes[self.head : self.head + x.size] = key[1]
                self.vectorNumElems = x.size
                self._written[key] = self.EndVector()
            else:
                self._written[key] = super().CreateNumpyVector(x)
        return self._written[key]

    def CreateString(self, s: Any, *settings: Any) -> int:  # noqa: N802
        key = ("string", s if isinstance(s, bytes) else s.encode())
        if key not in self._written:
            self._written[key] = super().CreateString(s, *settings)
        return self._written[key]
