"""Whether the runtimes that apps use open a file and give the same mask."""

import math
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

ROUNDING = 1e-5
"""Of the largest score of a picture: within it two scores of a float output are equal, for the clients carry kernels of
other versions, which add up in another order. Scores of a quantized output are equal where their bytes are."""


def client_checks(content: bytes, pictures: Sequence[np.ndarray], threads: int) -> list[Check]:
    """Runs a file by LiteRT's two sets of kernels, the Task Library and MediaPipe.

    Args:
        content: of the file.
        pictures: `[h, w, 3]` uint8 at the model's own size, so that no client resizes.
        threads: of the interpreter.
    """
    if not pictures:
        return [not_checked("clients", "no pictures")]
    models = {kernels: TfliteModel(content, threads, kernels) for kernels in ("xnnpack", "builtin")}
    model = models["xnnpack"]
    scores = {_TITLES[k]: [m.run(m.prepare(p))[0] for p in pictures] for k, m in models.items()}
    share = (_equal_share if model.gives_labels else _kernel_agreement)(*scores.values())
    quantized = any(t.dtype in ("int8", "uint8", "int16") for t in model.graph.tensors)
    least = QUANTIZED_KERNEL_AGREEMENT if quantized else KERNEL_AGREEMENT
    checks = [check("XNNPACK and builtin kernels agree", share >= least, share, least)]
    if model.gives_labels:
        why = "class ids are outside its contract"
        return [*checks, not_checked("Task Library", why), not_checked("MediaPipe", why)]
    checks.append(_client_check("Task Library", task_library.segment, content, pictures, scores))
    if model.output.dtype != "float32":
        # MediaPipe 0.10 reads any output as float32 and dies of one that is not.
        why = f"{model.output.dtype} outputs are outside its contract; output_type=float32 suits both clients"
        return [*checks, not_checked("MediaPipe", why)]
    if model.map_size != model.image_size:
        # It enlarges scores to the picture, bilinearly with half-pixel centres, before it looks for the winner.
        scores = {}
    return [*checks, _client_check("MediaPipe", mediapipe.segment, content, pictures, scores)]


def winners_share(mask: np.ndarray, scores: np.ndarray) -> float:
    """Share of the pixels whose class in `mask` has the highest score, alone or with others.

    Args:
        mask: class ids `[h, w]`.
        scores: as the file gives them, `[h, w, classes]` float32, uint8 or int8.
    """
    if mask.shape != scores.shape[:2] or mask.max() >= scores.shape[2]:
        return 0.0
    scores = scores.astype(np.float32) if scores.dtype == np.float32 else scores.astype(np.int32)
    chosen = np.take_along_axis(scores, mask[..., None].astype(np.intp), -1)[..., 0]
    allowed = ROUNDING * float(np.abs(scores).max()) if scores.dtype == np.float32 else 0
    return float(np.mean(chosen >= scores.max(-1) - allowed))


_Segment = Callable[[bytes, Sequence[np.ndarray]], list[np.ndarray]]


_TITLES = {"xnnpack": "XNNPACK", "builtin": "the builtin kernels"}


def _client_check(
    name: str, segment: _Segment, content: bytes, pictures: Sequence[np.ndarray], scores: dict[str, list[np.ndarray]]
) -> Check:
    """Whether a client opens the file and gives each pixel a class that wins by one of LiteRT's sets of kernels.

    It has to be the same set for all pixels: clients run float files by the builtin kernels and quantized ones by
    XNNPACK, or the other way round, as their version has it.
    """
    try:
        masks = segment(content, pictures)
    except ImportError as e:
        return not_checked(name, str(e))
    except UserError as e:
        return check(name, False, str(e).removeprefix("the model: "), "opens the file")
    if not scores:
        return check(name, len(masks) == len(pictures), f"{len(masks)} masks", f"{len(pictures)} masks")
    shares = {
        title: float(np.mean([winners_share(m, s) for m, s in zip(masks, maps, strict=True)]))
        for title, maps in scores.items()
    }
    title = max(shares, key=lambda t: shares[t])
    # Down, so that a single pixel in a million is not rounded away.
    measured = f"{math.floor(1e6 * shares[title]) / 1e4:g} % of the pixels as by {title}"
    return check(name, shares[title] == 1.0, measured, "100 % of the pixels")


def _kernel_agreement(maps: Sequence[np.ndarray], others: Sequence[np.ndarray]) -> float:
    """Share of the pixels that two sets of kernels give one class; ties count as equal."""
    return float(np.mean([winners_share(a.argmax(-1), b) for a, b in zip(maps, others, strict=True)]))


def _equal_share(ids: Sequence[np.ndarray], others: Sequence[np.ndarray]) -> float:
    """Share of equal class ids."""
    return float(np.mean([np.mean(a == b) for a, b in zip(ids, others, strict=True)]))
