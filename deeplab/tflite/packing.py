"""Compact serialization of .tflite files."""

from typing import Any

import flatbuffers
import numpy as np


def serialize(model: Any) -> bytes:
    """Return the bytes of a ModelT of the schema in compact form; all values stay equal.

    The converter writes a scale and a zero point for each channel of each kernel and of each bias, 24 bytes per channel
    in total. All zero points are 0, so one list of them serves all tensors with the same number of channels. Equal
    shapes, strings and constants are written once in the same way.
    """
    builder = _SharingBuilder(1024)
    builder.Finish(model.Pack(builder), b"TFL3")
    return bytes(builder.Output())


class _SharingBuilder(flatbuffers.Builder):
    """Writes each distinct vector and string once, and aligns byte vectors for kernels."""

    def __init__(self, size: int) -> None:
        super().__init__(size)
        self._written: dict[tuple[str, bytes], int] = {}

    def CreateNumpyVector(self, x: np.ndarray) -> int:  # noqa: N802
        key = (x.dtype.str, x.tobytes())
        if key not in self._written:
            if x.dtype == np.uint8:
                # The schema requires an alignment of 16 bytes, because kernels read constants in place.
                self.StartVector(1, x.size, 16)
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
