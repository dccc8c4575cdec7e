"""Whether the runtimes that apps use open a file and give the same mask."""

from collections.abc import Callable, Sequence

import numpy as np

from deeplab.conversion.report import Check, check, not_checked
from deeplab.errors import UserError
from deeplab.tflite import mediapipe, task_library
from deeplab.tflite.interpreter import TfliteModel

KERNEL_AGREEMENT = 0.999
"""Least share of pixels that XNNPACK and the builtin kernels agree on in a float file."""

QUANTIZED_KERNEL_AGREEMENT = 0.8
"""The same in a quantized file. The kernels round differently: 1.3 % of an official file, more in unsure networks."""

CLIENT_AGREEMENT = 0.99
"""Least share of pixels that a client agrees on with the interpreter."""


def client_checks(content: bytes, pictures: Sequence[np.ndarray], threads: int) -> list[Check]:
    """Runs a file by LiteRT's two sets of kernels, the Task Library and MediaPipe.

    Args:
        content: of the file.
        pictures: `[h, w, 3]` uint8 at the model's own size, so that no client resizes.
        threads: of the interpreter.
    """
    if not pictures:
        return [not_checked("clients", "no pictures")]
    xnnpack = TfliteModel(content, threads, "xnnpack")
    masks = _masks(xnnpack, pictures)
    plain = _masks(TfliteModel(content, threads, "builtin"), pictures)
    share = _agreement(masks, plain)
    quantized = any(t.dtype in ("int8", "uint8", "int16") for t in xnnpack.graph.tensors)
    least = QUANTIZED_KERNEL_AGREEMENT if quantized else KERNEL_AGREEMENT
    checks = [check("XNNPACK and builtin kernels agree", share >= least, share, least)]
    if xnnpack.gives_labels:
        why = "class ids are outside its contract"
        return [*checks, not_checked("Task Library", why), not_checked("MediaPipe", why)]
    wanted: tuple[list[np.ndarray], ...] = (masks, plain)
    checks.append(_client_check("Task Library", task_library.segment, content, pictures, wanted))
    if xnnpack.output.dtype != "float32":
        # MediaPipe 0.10 reads any output as float32 and dies of one that is not.
        why = f"{xnnpack.output.dtype} outputs are outside its contract; output_type=float32 suits both clients"
        return [*checks, not_checked("MediaPipe", why)]
    if xnnpack.map_size != xnnpack.image_size:
        # It enlarges scores to the picture, bilinearly with half-pixel centres, before it looks for the winner.
        wanted = ()
    return [*checks, _client_check("MediaPipe", mediapipe.segment, content, pictures, wanted)]


_Segment = Callable[[bytes, Sequence[np.ndarray]], list[np.ndarray]]


def _client_check(
    name: str, segment: _Segment, content: bytes, pictures: Sequence[np.ndarray], wanted: tuple[list[np.ndarray], ...]
) -> Check:
    """Whether a client opens the file and gives the masks of one of LiteRT's sets of kernels, if there are any."""
    try:
        masks = segment(content, pictures)
    except ImportError as e:
        return not_checked(name, str(e))
    except UserError as e:
        return check(name, False, str(e).removeprefix("the model: "), "opens the file")
    if not wanted:
        return check(name, len(masks) == len(pictures), f"{len(masks)} masks", f"{len(pictures)} masks")
    share = max(_agreement(masks, other) for other in wanted)
    return check(name, share >= CLIENT_AGREEMENT, share, CLIENT_AGREEMENT)


def _masks(model: TfliteModel, pictures: Sequence[np.ndarray]) -> list[np.ndarray]:
    """The class of each pixel, by the interpreter."""
    found = [model(picture) for picture in pictures]
    return [f if model.gives_labels else f.argmax(-1) for f in found]


def _agreement(masks: Sequence[np.ndarray], others: Sequence[np.ndarray]) -> float:
    """Share of equal pixels; 0 where the sizes differ."""
    if [m.shape for m in masks] != [o.shape for o in others]:
        return 0.0
    return float(np.mean([np.mean(a == b) for a, b in zip(masks, others, strict=True)]))
