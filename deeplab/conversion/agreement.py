"""Whether a file computes what the Keras model computes, pixel by pixel and in mIoU."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from deeplab.config import ExportOutput, Quantization
from deeplab.conversion.export_report import Check, check, not_checked
from deeplab.datasets.source import Example
from deeplab.evaluation.evaluate import evaluate
from deeplab.evaluation.scores import Scores
from deeplab.model.quantization.transform import activation_ranges, round_as_builtin_kernels
from deeplab.pixels import PADDING_BYTE
from deeplab.prediction.image_fit import fit_image
from deeplab.prediction.predictor import keras_predictor, tflite_predictor
from deeplab.tflite.interpreter import Kernels, TfliteModel

SCORE_ERROR: dict[Quantization, float] = {
    "float32": 1e-4,
    "float16": 0.03,
    "dynamic": 0.25,
    "int16x8": 0.35,
    "int8": 0.4,
}
"""Limit of rms(file - Keras) / standard deviation of Keras, mean over the pictures.

About twice what the official networks gave on the worse of 8 pictures of VOC val at 257 and of 12 at 513, depth 0.5 and
1.0: 5e-6 in float32 (the limit leaves room for sums in another order over deeper networks), 0.014 in float16, 0.13
dynamic, 0.13 in int16x8 (257 alone), 0.19 in int8; single pictures of much background reach 0.32. A zeroed layer gives
about 1, another alignment of the last resize 0.2 in float32.
"""

CLEAR_LEAD: dict[Quantization, float] = {
    "float32": 1e-3,
    "float16": 0.05,
    "dynamic": 0.6,
    "int16x8": 1.0,
    "int8": 1.0,
}
"""A pixel is clear where the winner's logit in Keras leads by more than this many standard deviations of all logits.

Somewhat above the largest lead that rounding overcame on those pictures: below 0.001, 0.008, 0.55, 0.19 (257 alone) and
0.86. Half of the pixels are clear at 1.0. Which class wins the others is a matter of rounding, and mIoU is their gate.
"""

CLEAR_AGREEMENT = 0.999
"""Least share of the clear pixels with the same class; on those pictures it was 1."""


SIMULATED_AGREEMENT = 0.98
"""Least share of the settled pixels in which a quantization-aware file gives the class simulated for its kernels.

Of all pixels it was above 0.99 with the official networks at 513 on 50 pictures of VOC val. What is left are sums that
a float rounds to the other side. On pictures that a network is unsure of they decide many pixels that are nearly tied.
"""

SETTLED_LEAD = 0.05
"""Standard deviations of all logits by which the winner leads in a settled pixel: about a step of the logits."""


@dataclass(frozen=True)
class Reference:
    """What the Keras model gives, computed once for all files made from it.

    Attributes:
        pictures: `[h, w, 3]` uint8 each, at the model's size.
        logits: `[h, w, classes]` float32 for each of them.
        examples: labeled pictures of any size; none where there are none to measure on.
        scores: of the Keras model on `examples`.
        builtin_logits: as `logits`, as the builtin kernels round; none but of a quantization-aware model.
    """

    pictures: tuple[np.ndarray, ...]
    logits: tuple[np.ndarray, ...]
    examples: tuple[Example, ...] = ()
    scores: Scores | None = None
    builtin_logits: tuple[np.ndarray, ...] = ()


def make_reference(
    model: Any, pictures: Sequence[np.ndarray], examples: Sequence[Example], classes: Sequence[str]
) -> Reference:
    """Runs the Keras model, built at a fixed size, on pictures and labeled examples.

    Args:
        model: from `build_model`.
        pictures: `[h, w, 3]` uint8 of any size.
        examples: to measure on, or none.
        classes: names by id.
    """
    predictor = keras_predictor(model)
    fitted = tuple(fit_image(p, predictor.image_size, padding_value=PADDING_BYTE).image for p in pictures)
    logits = tuple(predictor.run(image) for image in fitted)
    scores = evaluate(predictor, examples, classes) if examples else None
    return Reference(fitted, logits, tuple(examples), scores, _builtin_logits(model, fitted))


def agreement_checks(
    model: TfliteModel,
    reference: Reference,
    output: ExportOutput,
    quantization: Quantization,
    max_miou_drop: float,
    logit_offset: float = 0.0,
    tolerance: float = 1.0,
) -> list[Check]:
    """Compares a file with the Keras model it was made from.

    Args:
        model: the open file.
        reference: what the Keras model gives.
        output: what the file gives for each pixel.
        quantization: how it computes, which sets the limits.
        max_miou_drop: in points, 0..100.
        logit_offset: what was added to all logits of the file.
        tolerance: factor on the limits that rounding sets.
    """
    rows, columns = (_stride(a, b) for a, b in zip(model.image_size, model.mask_size, strict=True))
    wanted = [logits[::rows, ::columns] for logits in reference.logits]
    if any(w.shape[:2] != model.mask_size for w in wanted):
        return [check("mask size", False, f"{list(model.mask_size)}", f"{list(wanted[0].shape[:2])}")]
    found = [model(picture) for picture in reference.pictures]
    ids = [f if model.returns_labels else f.argmax(-1) for f in found]
    wanted_ids = [w.argmax(-1) for w in wanted]
    clear = [_lead(w) > tolerance * CLEAR_LEAD[quantization] * w.std() for w in wanted]
    equal = [a == b for a, b in zip(ids, wanted_ids, strict=True)]
    checks = [*_pixel_checks(np.stack(equal), np.stack(clear)), _place_check(ids, wanted_ids)]
    if not model.returns_labels:
        wanted = [_as_output(w, output, logit_offset) for w in wanted]
        error = float(np.mean([relative_error(f, w) for f, w in zip(found, wanted, strict=True)]))
        most = tolerance * SCORE_ERROR[quantization]
        checks.insert(0, check("error of the scores", error <= most, error, most))
    return [*checks, miou_check(model, reference, max_miou_drop)]


def simulation_checks(content: bytes, threads: int, reference: Reference, tolerance: float = 1.0) -> list[Check]:
    """Whether a file computes what was simulated in its training, under either set of kernels.

    Args:
        content: of the file.
        threads: of the interpreter.
        reference: what the quantization-aware Keras model gives.
        tolerance: factor on the share of pixels that may differ.
    """
    least = 1.0 - tolerance * (1.0 - SIMULATED_AGREEMENT)
    checks = []
    kinds: tuple[tuple[Kernels, str, tuple[np.ndarray, ...]], ...] = (
        ("xnnpack", "XNNPACK", reference.logits),
        ("builtin", "builtin kernels", reference.builtin_logits),
    )
    for kernels, title, logits in kinds:
        model = TfliteModel(content, threads, kernels)
        rows, columns = (_stride(a, b) for a, b in zip(model.image_size, model.mask_size, strict=True))
        found = [ids if model.returns_labels else ids.argmax(-1) for ids in map(model, reference.pictures)]
        wanted = [x[::rows, ::columns] for x in logits]
        settled = np.stack([_lead(w) > SETTLED_LEAD * w.std() for w in wanted])
        equal = np.stack([a == w.argmax(-1) for a, w in zip(found, wanted, strict=True)])
        name = f"pixels as simulated, {title}"
        if not settled.any():
            checks.append(not_checked(name, "all pixels are tied"))
            continue
        share = float(equal[settled].mean())
        checks.append(check(name, share >= least, share, least))
    return checks


def _builtin_logits(model: Any, pictures: Sequence[np.ndarray]) -> tuple[np.ndarray, ...]:
    """The logits of a quantization-aware model as the builtin kernels round; none of any other."""
    if not activation_ranges(model):
        return ()
    round_as_builtin_kernels(model)
    try:
        predictor = keras_predictor(model)
        return tuple(predictor.run(picture) for picture in pictures)
    finally:
        round_as_builtin_kernels(model, False)


def miou_check(model: TfliteModel, reference: Reference, max_miou_drop: float) -> Check:
    """The gate: points of mIoU that the file loses on the validation sample."""
    name = "mIoU drop in points"
    if reference.scores is None:
        return not_checked(name, "no labeled pictures")
    classes = reference.scores.classes
    scores = evaluate(tflite_predictor(model), reference.examples, classes)
    drop = 100 * (reference.scores.miou - scores.miou)
    return check(name, bool(drop <= max_miou_drop), float(drop), max_miou_drop)


def lowest_winner(logits: Sequence[np.ndarray], mask_stride: int) -> tuple[float, float, float]:
    """(lowest winning logit, lowest logit, highest logit) over all pixels of the masks."""
    maps = [x[::mask_stride, ::mask_stride] for x in logits]
    return (
        float(min(x.max(-1).min() for x in maps)),
        float(min(x.min() for x in maps)),
        float(max(x.max() for x in maps)),
    )


def needed_logit_offset(logits: Sequence[np.ndarray], mask_stride: int) -> float:
    """What to add to all logits so that the Task Library finds the winner of every pixel.

    Its category mask starts from a confidence of 0.0 and takes what is strictly above: where all logits are negative
    the pixel becomes class 0. A constant added to all of them changes neither softmax nor argmax and costs nothing.
    Networks whose winners are clear of zero are left alone; the official ones are.

    Args:
        logits: `[h, w, classes]` of the Keras model on a few pictures.
        mask_stride: of the file.

    Returns:
        0.0, or as much as makes the lowest of all logits zero. A quantized range holds zero in any case, so this costs
        no resolution.
    """
    winner, low, high = lowest_winner(logits, mask_stride)
    return 0.0 if winner > _CLEAR_OF_ZERO * (high - low) else -low


_CLEAR_OF_ZERO = 0.02
"""Of the range of the logits; quantization may move a winner by as much."""

_BY_CHANCE = 0.1
"""Share of the differing pixels that a shift must mend to count as one."""

_DEVIATIONS = 4.0
"""Of the net number of pixels that a shift mends by chance, and must exceed: some shift always suits a small mask."""

_ENOUGH_CLEAR = 0.01
"""Share of clear pixels below which 99.9 % of them says nothing: they are outliers, whose rounding is large too."""


def _stride(image: int, mask: int) -> int:
    """Pixels of the image for each of the mask."""
    return max(1, round((image - 1) / max(mask - 1, 1)))


def _as_output(logits: np.ndarray, output: ExportOutput, logit_offset: float) -> np.ndarray:
    """The scores that the file should give."""
    if output == "probabilities":
        e = np.exp(logits - logits.max(-1, keepdims=True))
        return np.asarray(e / e.sum(-1, keepdims=True))
    return logits + np.float32(logit_offset)


def _lead(logits: np.ndarray) -> np.ndarray:
    """How far the winner of each pixel is ahead, `[h, w]`."""
    second, first = np.moveaxis(np.partition(logits, -2, axis=-1)[..., -2:], -1, 0)
    return np.asarray(first - second)


def _pixel_checks(equal: np.ndarray, clear: np.ndarray) -> list[Check]:
    """Whether the pixels with a clear winner have it, and how many of all pixels do.

    Args:
        equal: where the file gives the class that Keras gives, boolean `[pictures, h, w]`.
        clear: where Keras has a clear winner, in the same way.
    """
    share, least = float(equal.mean()), CLEAR_AGREEMENT * float(clear.mean())
    checks = [check("pixels that agree with Keras", share >= least, share, least)]
    name = "clear pixels that agree with Keras"
    if clear.mean() < _ENOUGH_CLEAR:
        return [*checks, not_checked(name, f"{clear.mean():.2%} of the pixels have a clear winner")]
    agreement = float(equal[clear].mean())
    return [*checks, check(name, agreement >= CLEAR_AGREEMENT, agreement, CLEAR_AGREEMENT)]


def relative_error(actual: np.ndarray, expected: np.ndarray) -> float:
    """Return rms(actual - expected) / standard deviation of `expected`; infinite if `actual` has NaN or infinities."""
    if not np.isfinite(actual).all():
        return float("inf")
    return float(np.sqrt(np.mean(np.square(actual - expected))) / max(float(expected.std()), 1e-12))


def _place_check(ids: Sequence[np.ndarray], wanted: Sequence[np.ndarray]) -> Check:
    """Whether a mask fits best where it is, and not one pixel beside it."""
    name = "shift at which the masks fit best"
    if all((w == w.flat[0]).all() for w in wanted):
        return not_checked(name, "the Keras masks have one class each")
    moves = [(dy, dx) for dy in (-1, 0, 1) for dx in (-1, 0, 1)]
    fits = {m: np.stack([_fit(a, b, *m) for a, b in zip(ids, wanted, strict=True)]) for m in moves}
    here = fits[0, 0]
    best = max(moves, key=lambda move: fits[move].sum())
    mended, broken = int((fits[best] & ~here).sum()), int((here & ~fits[best]).sum())
    # A mask beside its place loses pixels by that; rounding alone makes some shift better by a pixel or two.
    if mended - broken <= max(_BY_CHANCE * (~here).sum(), _DEVIATIONS * np.sqrt(mended + broken)):
        best = (0, 0)
    return check(name, best == (0, 0), str(best), "(0, 0)")


def _fit(ids: np.ndarray, wanted: np.ndarray, dy: int, dx: int) -> np.ndarray:
    """Where pixels are equal with `ids` moved by (dy, dx), one pixel of border left out."""
    height, width = wanted.shape
    moved = ids[1 + dy : height - 1 + dy, 1 + dx : width - 1 + dx]
    return np.asarray(moved == wanted[1:-1, 1:-1])
