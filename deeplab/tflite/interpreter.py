"""Running a segmentation model of any maker on the runtime that apps use."""

from typing import Any, Literal

import numpy as np
from ai_edge_litert import interpreter as litert

from deeplab.errors import UserError
from deeplab.quiet import quiet
from deeplab.tflite.flatbuffer import QuantizationParameters, Tensor, TfliteGraph
from deeplab.tflite.tflite_file import TfliteSource, open_tflite

Kernels = Literal["xnnpack", "builtin"]
"""The two sets of CPU kernels: the XNNPACK delegate, which apps get by default, or the plain builtin ones."""

_RESOLVERS = {
    "xnnpack": litert.OpResolverType.AUTO,
    "builtin": litert.OpResolverType.BUILTIN_WITHOUT_DEFAULT_DELEGATES,
}
_DEFAULT_NORMALIZATION = ((127.5,), (127.5,))


class TfliteModel:
    """A .tflite segmentation model, called on one picture at a time.

    Bytes 0..255 are brought into the input as the device runners do it: as they are for uint8, minus 128 for int8 (by
    scale and zero point where these mean something else), normalized as the metadata say for float32.

    Args:
        source: path of the file, or its bytes.
        threads: of the interpreter.
        kernels: "xnnpack" or "builtin"; they differ by rounding in quantized files, so pin one to compare with.

    Attributes:
        name: for messages.
        graph: what the file is made of.
        metadata: what it says about itself, or None.
        image_size: (height, width) of the input in pixels.
        mask_size: (height, width) of the output.
        returns_labels: whether the output is class ids, not scores.
        classes: number of classes; None if the file has an output of ids and does not tell.
        labels: names of the classes by id, or None.

    Raises:
        UserError: no .tflite file, damaged, not runnable, or no segmentation model with a fixed size.
    """

    def __init__(self, source: TfliteSource, threads: int = 2, kernels: Kernels = "xnnpack") -> None:
        file = open_tflite(source)
        self.name, content, self.graph, self.metadata = file.name, file.content, file.graph, file.metadata
        self.input, self.output = _ends(self.name, self.graph)
        self.image_size = (self.input.shape[1], self.input.shape[2])
        self.mask_size = (self.output.shape[1], self.output.shape[2])
        self.returns_labels = _gives_labels(self.output)
        self.classes = _classes(self.graph, self.output, self.returns_labels)
        self.labels = self.metadata.labels if self.metadata else None
        if self.classes is None and self.labels:
            self.classes = len(self.labels)
        self._table = _input_table(self.input, *self._normalization())
        try:
            with quiet():
                self._interpreter: Any = litert.Interpreter(
                    model_content=content, num_threads=threads, experimental_op_resolver_type=_RESOLVERS[kernels]
                )
                self._interpreter.allocate_tensors()
        except (ValueError, RuntimeError) as e:
            raise UserError(self.name, f"LiteRT cannot run it: {e}", "export it again") from e
        self._input = self._interpreter.get_input_details()[0]["index"]
        self._output = self._interpreter.get_output_details()[0]["index"]

    def __call__(self, image: np.ndarray) -> np.ndarray:
        """Segments one picture of the model's own size.

        Args:
            image: `[h, w, 3]` uint8, RGB.

        Returns:
            Scores `[h', w', classes]` float32, or ids `[h', w']` int64 where the file gives labels.

        Raises:
            UserError: another size or type of picture.
        """
        stored = self.run(self.prepare(image))
        if self.returns_labels:
            return stored.reshape(self.mask_size).astype(np.int64)
        return np.asarray(dequantize(stored, self.output.quantization)[0])

    def prepare(self, image: np.ndarray) -> np.ndarray:
        """The input tensor `[1, h, w, 3]` for a picture `[h, w, 3]` uint8; raises UserError as a call does."""
        if image.shape != (*self.image_size, 3) or image.dtype != np.uint8:
            height, width = self.image_size
            raise UserError(
                self.name,
                f"takes pictures of {height}x{width} pixels, uint8 RGB, not {image.dtype} {list(image.shape)}",
                "fit the picture first",
            )
        if self.input.dtype == "uint8":
            return image[None]
        channels = self._table.shape[0]
        if channels == 1:
            return self._table[0][image][None]
        return np.stack([self._table[c][image[..., c]] for c in range(3)], axis=-1)[None]

    def run(self, tensor: np.ndarray) -> np.ndarray:
        """The output as stored, for an input as stored."""
        self._interpreter.set_tensor(self._input, tensor)
        self._interpreter.invoke()
        return np.asarray(self._interpreter.get_tensor(self._output))

    def _normalization(self) -> tuple[tuple[float, ...], tuple[float, ...]]:
        """(mean, std) that the metadata give, or the usual ones."""
        if self.metadata is None or self.metadata.mean is None or self.metadata.std is None:
            return _DEFAULT_NORMALIZATION
        return self.metadata.mean, self.metadata.std


def dequantize(stored: np.ndarray, quantization: QuantizationParameters | None) -> np.ndarray:
    """Real numbers, float32, of a tensor as stored."""
    if quantization is None:
        return stored.astype(np.float32)
    return (stored.astype(np.float32) - np.float32(quantization.zero_point[0])) * np.float32(quantization.scale[0])


def accepts_raw_pixels(tensor: Tensor) -> bool:
    """Whether a quantized input takes the bytes 0..255 for the network's -1..1, to within one step.

    That is scale 2/255 (or the 1/128 of older files) with the zero point at the middle byte: uint8 takes the bytes as
    they are, int8 the bytes minus 128.
    """
    if tensor.quantization is None or tensor.dtype not in ("uint8", "int8"):
        return False
    offset = -128 if tensor.dtype == "int8" else 0
    stored = np.array([0, 255]) + offset
    real = (stored - tensor.quantization.zero_point[0]) * tensor.quantization.scale[0]
    return bool(np.abs(real - np.array([-1.0, 1.0])).max() <= 1.5 * tensor.quantization.scale[0])


def _ends(name: str, graph: TfliteGraph) -> tuple[Tensor, Tensor]:
    """Input and output, where the file is a segmentation model of fixed size."""
    inputs = [graph.tensors[i] for i in graph.inputs]
    outputs = [graph.tensors[i] for i in graph.outputs]
    found = "; ".join(f"{t.dtype} {list(t.signature)}" for t in (*inputs, *outputs))
    if len(inputs) != 1 or len(outputs) != 1:
        raise UserError(
            name, f"inputs: {len(inputs)}, outputs: {len(outputs)} ({found})", "a segmentation model has one of each"
        )
    given, result = inputs[0], outputs[0]
    image = len(given.shape) == 4 and given.shape[0] == 1 and given.shape[3] == 3
    maps = len(result.shape) in (3, 4) and result.shape[0] == 1
    if not image or not maps or given.dtype not in ("float32", "uint8", "int8", "int16"):
        raise UserError(name, f"no segmentation model (input and output: {found})", "input [1, h, w, 3] is needed")
    if len(result.shape) == 3 and not _gives_labels(result):
        raise UserError(name, f"no segmentation model (input and output: {found})", "output [1, h, w, c] is needed")
    if min(given.signature) < 0:
        raise UserError(name, f"its input size is free ({found})", "export it at a fixed size")
    return given, result


def _gives_labels(output: Tensor) -> bool:
    """Ids are whole numbers without a scale, `[1, h, w]` or `[1, h, w, 1]`."""
    whole = output.dtype in ("int64", "int32", "uint8", "int8") and output.quantization is None
    return whole and (len(output.shape) == 3 or output.shape[3] == 1)


def _classes(graph: TfliteGraph, output: Tensor, returns_labels: bool) -> int | None:
    """Channels of the scores, those behind the ARG_MAX where the output is ids."""
    if not returns_labels:
        return output.shape[3]
    index: int | None = output.index
    while index is not None:
        operator = graph.producer(index)
        if operator is None:
            return None
        if operator.name == "ARG_MAX":
            return graph.tensors[operator.inputs[0]].shape[-1]
        index = operator.inputs[0]
    return None


def _input_table(tensor: Tensor, mean: tuple[float, ...], std: tuple[float, ...]) -> np.ndarray:
    """What each byte becomes in the input, `[1 or 3, 256]` of the input's type."""
    byte = np.arange(256, dtype=np.float32)
    real = (byte - np.array(mean, np.float32)[:, None]) / np.array(std, np.float32)[:, None]
    if tensor.dtype == "float32":
        return real
    if tensor.dtype == "int8" and accepts_raw_pixels(tensor):
        return (byte - 128).astype(np.int8)[None]
    if tensor.quantization is None:
        raise UserError("the input", f"is {tensor.dtype} without scale and zero point", "export it again")
    limits = np.iinfo(tensor.dtype)
    stored = np.round(real / tensor.quantization.scale[0]) + tensor.quantization.zero_point[0]
    return np.clip(stored, limits.min, limits.max).astype(tensor.dtype)
