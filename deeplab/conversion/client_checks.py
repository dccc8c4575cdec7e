"""Whether the runtimes that apps use open a file and give the same mask."""

import math
from collections.abc import Callable, Sequence

import numpy as np

from deeplab.conversion.export_report import Check, check, not_checked
from deeplab.errors import UserError
from deeplab.tflite import mediapipe, task_library
from deeplab.tflite.flatbuffer import TfliteGraph
from deeplab.tflite.interpreter import TfliteModel

KERNELS_DIFFER = 0.001
"""Largest share of pixels that XNNPACK and the builtin kernels give other classes in a float file."""

QUANTIZED_KERNELS_DIFFER = 0.1
"""The same in a quantized file, whose kernels round differently: 0.5 % with the official networks at 257, 2.5 % at 513.
In a single picture that a network is unsure of rounding decides a fifth of the pixels."""

DYNAMIC_CLIENT_AGREEMENT = 0.98
"""Least share of the pixels of a dynamic-range file that a client gives the interpreter's class; others take all.

Such a file leaves it to the kernels how they round activations, and the clients' kernels are years older: with the
official network of depth 0.5 at 257 the Task Library gave 99.67 % of the pixels its class, MediaPipe 99.55 %.
"""

ROUNDING = 1e-5
"""Of the largest score of a picture: within it two scores of a float output are equal, for the clients carry kernels of
other versions, which add up in another order. Scores of a quantized output are equal where their bytes are."""


def client_checks(content: bytes, pictures: Sequence[np.ndarray], threads: int, tolerance: float = 1.0) -> list[Check]:
    """Runs a file by LiteRT's two sets of kernels, the Task Library and MediaPipe.

    Args:
        content: of the file.
        pictures: `[h, w, 3]` uint8 at the model's own size, so that no client resizes.
        threads: of the interpreter.
        tolerance: factor on how much the kernels of one version may differ.
    """
    if not pictures:
        return [not_checked("clients", "no pictures")]
    models = {kernels: TfliteModel(content, threads, kernels) for kernels in ("xnnpack", "builtin")}
    model = models["xnnpack"]
    scores = {_TITLES[k]: [m.run(m.prepare(p))[0] for p in pictures] for k, m in models.items()}
    share = (_equal_share if model.returns_labels else _kernel_agreement)(*scores.values())
    quantized = any(t.dtype in ("int8", "uint8", "int16") for t in model.graph.tensors)
    least = 1 - tolerance * (QUANTIZED_KERNELS_DIFFER if quantized else KERNELS_DIFFER)
    checks = [check("XNNPACK and builtin kernels agree", share >= least, share, least)]
    if model.returns_labels:
        why = "class ids are outside its contract"
        return [*checks, not_checked("Task Library", why), not_checked("MediaPipe", why)]
    least = DYNAMIC_CLIENT_AGREEMENT if _rounds_in_kernels(model.graph) else 1.0
    checks.append(_client_check("Task Library", task_library.segment, content, pictures, scores, least))
    if model.output.dtype != "float32":
        # MediaPipe 0.10 reads any output as float32 and dies of one that is not.
        why = f"{model.output.dtype} outputs are outside its contract; output_type=float32 suits both clients"
        return [*checks, not_checked("MediaPipe", why)]
    if model.mask_size != model.image_size:
        # It enlarges scores to the picture, bilinearly with half-pixel centers, before it looks for the winner.
        scores = {}
    return [*checks, _client_check("MediaPipe", mediapipe.segment, content, pictures, scores, least)]


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


def _rounds_in_kernels(graph: TfliteGraph) -> bool:
    """Whether float activations meet int8 kernels, as in dynamic-range files."""
    return any(
        graph.tensors[op.inputs[0]].dtype == "float32" and graph.tensors[op.inputs[1]].dtype == "int8"
        for op in graph.operators
        if op.name in ("CONV_2D", "DEPTHWISE_CONV_2D")
    )


def _client_check(
    name: str,
    segment: _Segment,
    content: bytes,
    pictures: Sequence[np.ndarray],
    scores: dict[str, list[np.ndarray]],
    least: float,
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
        return check(name, len(masks) == len(pictures), f"{len(masks)} of {len(pictures)} pictures", "all")
    shares = {
        title: float(np.mean([winners_share(m, s) for m, s in zip(masks, maps, strict=True)]))
        for title, maps in scores.items()
    }
    title = max(shares, key=lambda t: shares[t])
    # Down, so that a single pixel in a million is not rounded away.
    measured = f"{math.floor(1e6 * shares[title]) / 1e4:g} % of the pixels as by {title}"
    return check(name, shares[title] >= least, measured, f"{100 * least:g} % of the pixels")


def _kernel_agreement(maps: Sequence[np.ndarray], others: Sequence[np.ndarray]) -> float:
    """Share of the pixels that two sets of kernels give one class; ties count as equal."""
    return float(np.mean([winners_share(a.argmax(-1), b) for a, b in zip(maps, others, strict=True)]))


def _equal_share(ids: Sequence[np.ndarray], others: Sequence[np.ndarray]) -> float:
    """Share of equal class ids."""
    return float(np.mean([np.mean(a == b) for a, b in zip(ids, others, strict=True)]))
