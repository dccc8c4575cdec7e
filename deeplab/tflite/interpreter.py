"""Runs .tflite segmentation models with LiteRT, the runtime that apps use."""

from typing import Any, Literal

import numpy as np
from ai_edge_litert import interpreter as litert

from deeplab.errors import UserError
from deeplab.pixels import GRAY, PIXEL_MEAN, PIXEL_STD, Pixel, mean_pixel
from deeplab.quiet import quiet
from deeplab.tflite.flatbuffer import QuantizationParameters, Tensor, TfliteGraph
from deeplab.tflite.metadata import Metadata
from deeplab.tflite.tflite_file import TfliteSource, open_tflite

Kernels = Literal["xnnpack", "builtin"]
"""The CPU kernels: those of the XNNPACK delegate, which apps use by default, or the builtin kernels."""

_RESOLVERS = {
    "xnnpack": litert.OpResolverType.AUTO,
    "builtin": litert.OpResolverType.BUILTIN_WITHOUT_DEFAULT_DELEGATES,
}


class TfliteModel:
    """A .tflite segmentation model, called with one image at a time.

    Bytes 0..255 become the input as clients on devices do it: unchanged for uint8; minus 128 for int8, or by scale and
    zero point if these do not fit raw pixels; normalized by the metadata for float32.

    Args:
        source: the .tflite file.
        threads: threads of the interpreter.
        kernels: "xnnpack" or "builtin". They round differently in quantized files.

    Attributes:
        name, graph, metadata, origin, fit: those of the file.
        input, output: the tensors.
        image_size: (height, width) of the input in pixels.
        mask_size: (height, width) of the output.
        returns_labels: whether the output is class ids instead of scores.
        classes: number of classes; None if the output is class ids and the file does not state it.
        labels: class names by id, or None.

    Raises:
        UserError: the file is damaged, cannot run, or is not a segmentation model of fixed size.
    """

    def __init__(self, source: TfliteSource, threads: int = 2, kernels: Kernels = "xnnpack") -> None:
        file = open_tflite(source)
        self.name, self.graph, self.metadata, self.origin = file.name, file.graph, file.metadata, file.origin
        self.fit = file.fit
        self.input, self.output = _input_and_output(self.name, self.graph)
        self.image_size = (self.input.shape[1], self.input.shape[2])
        self.mask_size = (self.output.shape[1], self.output.shape[2])
        self.returns_labels = _holds_labels(self.output)
        stated = self.metadata or Metadata()
        self.labels = stated.labels
        self.classes = _classes(self.graph, self.output) or len(self.labels or ()) or None
        self._table = _input_table(self.input, stated.mean or (PIXEL_MEAN,), stated.std or (PIXEL_STD,))
        try:
            with quiet():
                self._interpreter: Any = litert.Interpreter(
                    model_content=file.content, num_threads=threads, experimental_op_resolver_type=_RESOLVERS[kernels]
                )
                self._interpreter.allocate_tensors()
        except (ValueError, RuntimeError) as error:
            raise UserError(self.name, f"LiteRT cannot run it: {error}", "export it again") from error

    @property
    def mean_pixel(self) -> Pixel:
        """The pixel of padding (`pixels.mean_pixel`); gray if the file does not state its backbone."""
        network = self.origin.get("model")
        return mean_pixel(str(network.get("backbone"))) if isinstance(network, dict) else GRAY

    @property
    def padding(self) -> np.ndarray:
        """The stored value of the input, `[3]` in its dtype, for `mean_pixel`; for gray that of the real number 0."""
        real = (np.array(self.mean_pixel, np.float32) - PIXEL_MEAN) / PIXEL_STD
        if (quantization := self.input.quantization) is not None:
            real = np.rint(real / quantization.scale[0]) + quantization.zero_point[0]
        return real.astype(self.input.dtype)

    def __call__(self, image: np.ndarray) -> np.ndarray:
        """Segment an image of the model's input size.

        Args:
            image: `[h, w, 3]` uint8, RGB.

        Returns:
            Scores `[h', w', classes]` float32, or class ids `[h', w']` int64 if the file returns labels.

        Raises:
            UserError: the image has another size or dtype.
        """
        stored = self.run(self.prepare(image))
        if self.returns_labels:
            return stored.reshape(self.mask_size).astype(np.int64)
        return np.asarray(dequantize(stored, self.output.quantization)[0])

    def prepare(self, image: np.ndarray) -> np.ndarray:
        """Return the input tensor `[1, h, w, 3]` for an image `[h, w, 3]` uint8; raises UserError as a call does."""
        if image.shape != (*self.image_size, 3) or image.dtype != np.uint8:
            height, width = self.image_size
            problem = f"expected an image uint8 [{height}, {width}, 3], got {image.dtype} {list(image.shape)}"
            raise UserError(self.name, problem, "resize or pad the image first")
        if self.input.dtype == "uint8":
            return image[None]
        if self._table.shape[0] == 1:
            return self._table[0][image][None]
        return np.stack([self._table[c][image[..., c]] for c in range(3)], axis=-1)[None]

    def run(self, tensor: np.ndarray) -> np.ndarray:
        """Return the stored values of the output for stored values of the input."""
        self._interpreter.set_tensor(self.input.index, tensor)
        self._interpreter.invoke()
        return np.asarray(self._interpreter.get_tensor(self.output.index))


def dequantize(stored: np.ndarray, quantization: QuantizationParameters | None) -> np.ndarray:
    """Return the stored values of a tensor as real numbers, float32."""
    if quantization is None:
        return stored.astype(np.float32)
    return (stored.astype(np.float32) - np.float32(quantization.zero_point[0])) * np.float32(quantization.scale[0])


def accepts_raw_pixels(tensor: Tensor) -> bool:
    """Return whether clients can feed raw pixels to a quantized input: bytes 0..255 represent -1..1 within 1.5 scales.

    The scale is then 2/255 (1/128 in older files) and the zero point is the middle of the range. uint8 inputs take the
    bytes unchanged, int8 inputs the bytes minus 128.
    """
    if tensor.quantization is None or tensor.dtype not in ("uint8", "int8"):
        return False
    stored = np.array([0, 255]) - (128 if tensor.dtype == "int8" else 0)
    scale = tensor.quantization.scale[0]
    real = (stored - tensor.quantization.zero_point[0]) * scale
    return bool(np.abs(real - (-1.0, 1.0)).max() <= 1.5 * scale)


def _input_and_output(name: str, graph: TfliteGraph) -> tuple[Tensor, Tensor]:
    """Return the input and the output of a segmentation model of fixed size; raises UserError for any other model."""
    inputs, outputs = ([graph.tensors[i] for i in indices] for indices in (graph.inputs, graph.outputs))
    actual = ", ".join(f"{t.dtype} {list(t.signature)}" for t in (*inputs, *outputs))
    remedy = "give a model with one input [1, h, w, 3] and one output [1, h, w, classes] or [1, h, w]"
    if len(inputs) != 1 or len(outputs) != 1:
        problem = f"is not a segmentation model: inputs: {len(inputs)}, outputs: {len(outputs)} ({actual})"
        raise UserError(name, problem, remedy)
    image, result = inputs[0], outputs[0]
    fits = len(image.shape) == 4 and image.shape[0] == 1 and image.shape[3] == 3
    fits = fits and image.dtype in ("float32", "uint8", "int8", "int16")
    fits = fits and len(result.shape) in (3, 4) and result.shape[0] == 1
    if not fits or (len(result.shape) == 3 and not _holds_labels(result)):
        raise UserError(name, f"is not a segmentation model (input and output: {actual})", remedy)
    if min(image.signature) < 0:
        raise UserError(name, f"has no fixed input size ({actual})", "export it at a fixed size")
    return image, result


def _holds_labels(output: Tensor) -> bool:
    """Return whether an output is class ids: integers without a scale, `[1, h, w]` or `[1, h, w, 1]`."""
    integers = output.dtype in ("int64", "int32", "uint8", "int8") and output.quantization is None
    return integers and (len(output.shape) == 3 or output.shape[3] == 1)


def _classes(graph: TfliteGraph, output: Tensor) -> int | None:
    """Return the channels of the scores; for class ids, those of the input of ARG_MAX, or None without one."""
    if not _holds_labels(output):
        return output.shape[3]
    operator = graph.producer(output.index)
    while operator is not None and operator.name != "ARG_MAX":
        operator = graph.producer(operator.inputs[0])
    return graph.tensors[operator.inputs[0]].shape[-1] if operator else None


def _input_table(tensor: Tensor, mean: tuple[float, ...], std: tuple[float, ...]) -> np.ndarray:
    """Return the input value of each byte, `[1 or 3, 256]` in the input's dtype."""
    byte = np.arange(256, dtype=np.float32)
    real = (byte - np.array(mean, np.float32)[:, None]) / np.array(std, np.float32)[:, None]
    if tensor.dtype == "float32":
        return real
    if tensor.dtype == "int8" and accepts_raw_pixels(tensor):
        return (byte - 128).astype(np.int8)[None]
    if tensor.quantization is None:
        raise UserError("input", f"{tensor.dtype} without scale and zero point", "export it again")
    limits = np.iinfo(tensor.dtype)
    stored = np.round(real / tensor.quantization.scale[0]) + tensor.quantization.zero_point[0]
    return np.clip(stored, limits.min, limits.max).astype(tensor.dtype)
