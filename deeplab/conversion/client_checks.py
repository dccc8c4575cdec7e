"""Checks that the runtimes of apps open a file and return the same mask as LiteRT."""

import math
from collections.abc import Callable, Sequence

import numpy as np

from deeplab.conversion.checks import Check, CheckId, check, not_checked
from deeplab.conversion.structure import convolution_dtypes
from deeplab.errors import UserError
from deeplab.prediction.image_fit import resize_and_crop
from deeplab.tflite.clients import segment_with_mediapipe, segment_with_task_library
from deeplab.tflite.interpreter import TfliteModel, dequantize
from deeplab.tflite.tflite_file import TfliteFile, TfliteSource, open_tflite

FLOAT_KERNEL_DIFFERENCE = 0.001
"""Maximum share of pixels with different classes under XNNPACK and under the builtin kernels, in a float file."""

QUANTIZED_KERNEL_DIFFERENCE = 0.1
"""The same in a quantized file, whose kernels round differently: 0.5 % with the official networks at 257, 2.5 % at 513.
In a single image without confident predictions, rounding decides a fifth of the pixels."""

DYNAMIC_CLIENT_AGREEMENT = 0.98
"""Minimum share of pixels with the same class in a client and in LiteRT, in a dynamic-range file; other files need all.

In such a file the kernels choose how activations are rounded, and the clients contain kernels that are years older:
with the official network of depth 0.5 at 257, 99.67 % of the pixels were equal in the Task Library, 99.55 % in
MediaPipe.
"""

RESIZED_AGREEMENT = 0.999
"""Minimum share of pixels with the same class in MediaPipe and in LiteRT, if MediaPipe enlarges the scores: it was 1
with a random network at 129 and mask_stride=4; the rest allows for ties between enlarged scores."""

FLOAT_TIE = 1e-5
"""Maximum difference between two tied float scores, relative to the largest score of the image: clients contain kernels
of other versions, which sum in another order. Scores of a quantized output are tied if their bytes are equal."""

_OPENS = "opens the file"


def client_checks(
    source: TfliteSource, images: Sequence[np.ndarray], threads: int, tolerance: float = 1.0
) -> list[Check]:
    """Run a file with both kernel sets of LiteRT, with the Task Library and with MediaPipe.

    Args:
        source: the file.
        images: `[h, w, 3]` uint8 at the input size of the file, so that no client resizes.
        threads: of the interpreter.
        tolerance: factor on the limits for rounding errors.
    """
    if not images:
        return [not_checked(CheckId.CLIENTS, "no images")]
    file = open_tflite(source)
    model = TfliteModel(file, threads)
    models = {"XNNPACK": model, "the builtin kernels": TfliteModel(file, threads, "builtin")}
    scores = {kernels: [m.run(m.prepare(image))[0] for image in images] for kernels, m in models.items()}
    # Tied scores count as equal.
    same = np.equal if model.returns_labels else lambda a, b: winners_share(a.argmax(-1), b)
    share = float(np.mean([np.mean(same(a, b)) for a, b in zip(*scores.values(), strict=True)]))
    quantized = any(t.dtype in ("int8", "uint8", "int16") for t in model.graph.tensors)
    limit = 1 - tolerance * (QUANTIZED_KERNEL_DIFFERENCE if quantized else FLOAT_KERNEL_DIFFERENCE)
    checks = [check(CheckId.KERNEL_AGREEMENT, share >= limit, share, limit)]
    if model.returns_labels:
        reason = "does not accept class ids"
        return [*checks, not_checked(CheckId.TASK_LIBRARY, reason), not_checked(CheckId.MEDIAPIPE, reason)]
    dynamic = ("float32", "int8") in convolution_dtypes(model.graph)
    limit = DYNAMIC_CLIENT_AGREEMENT if dynamic else 1.0
    checks.append(_client_check(CheckId.TASK_LIBRARY, segment_with_task_library, file, images, scores, limit))
    if model.mask_size != model.image_size:
        scores = {kernels: [_enlarged_scores(model, x) for x in maps] for kernels, maps in scores.items()}
        limit = min(limit, RESIZED_AGREEMENT)
    found = _client_check(CheckId.MEDIAPIPE, segment_with_mediapipe, file, images, scores, limit)
    if model.output.dtype != "float32" and found.state == "failed":
        # MediaPipe 0.10 reads quantized outputs as float32: it crashes, or returns what else is in memory. 1.2 reads
        # uint8. A mask that does not agree therefore says nothing about the file.
        reason = f"this version does not read {model.output.dtype} outputs; output_type=float32 suits all versions"
        found = not_checked(CheckId.MEDIAPIPE, reason)
    return [*checks, found]


def winners_share(mask: np.ndarray, scores: np.ndarray) -> float:
    """Return the share of pixels whose class in `mask` has the highest score, alone or tied with others.

    Args:
        mask: class ids `[h, w]`.
        scores: as stored in the file, `[h, w, classes]` float32, uint8 or int8.
    """
    if mask.shape != scores.shape[:2] or mask.max() >= scores.shape[2]:
        return 0.0
    scores = scores.astype(np.float32) if scores.dtype == np.float32 else scores.astype(np.int32)
    chosen = np.take_along_axis(scores, mask[..., None].astype(np.intp), -1)[..., 0]
    allowed = FLOAT_TIE * float(np.abs(scores).max()) if scores.dtype == np.float32 else 0
    return float(np.mean(chosen >= scores.max(-1) - allowed))


def _enlarged_scores(model: TfliteModel, stored: np.ndarray) -> np.ndarray:
    """Return scores `[h, w, classes]` enlarged as MediaPipe does before it takes the highest one: corners aligned."""
    scores = dequantize(stored, model.output.quantization)
    return resize_and_crop(scores, model.image_size, model.image_size)


def _client_check(
    check_id: CheckId,
    segment: Callable[[TfliteFile, Sequence[np.ndarray]], list[np.ndarray]],
    file: TfliteFile,
    images: Sequence[np.ndarray],
    scores: dict[str, list[np.ndarray]],
    limit: float,
) -> Check:
    """Check that a client opens the file and returns for each pixel a class that wins with one of LiteRT's kernel sets.

    It must be the same kernel set for all pixels: depending on their version, clients run float files with the builtin
    kernels and quantized ones with XNNPACK, or vice versa.
    """
    try:
        masks = segment(file, images)
    except ImportError as error:
        return not_checked(check_id, str(error))
    except UserError as error:
        return check(check_id, False, error.problem, _OPENS)
    sizes = {maps.shape[:2] for of_kernels in scores.values() for maps in of_kernels} or {images[0].shape[:2]}
    wrong = {mask.shape for mask in masks} - sizes
    if wrong or len(masks) != len(images):
        shapes = ", ".join(map(str, wrong)) or "masks"
        return check(check_id, False, f"{len(masks)} masks, {shapes}", f"{len(images)} masks, {sizes.pop()}")
    shares = {k: float(np.mean(list(map(winners_share, masks, maps)))) for k, maps in scores.items()}
    kernels, share = max(shares.items(), key=lambda item: item[1])
    # Rounded down, so that a single differing pixel in a million still shows.
    measured = f"{math.floor(1e6 * share) / 1e4:g} % of the pixels equal to {kernels}"
    return check(check_id, share >= limit, measured, "all pixels" if limit == 1 else f"{100 * limit:g} % or more")
