"""Compares the outputs of a .tflite file with those of the Keras model, pixel by pixel and in mIoU."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from deeplab.config import ExportOutput, Quantization
from deeplab.conversion.checks import Check, CheckId, check, not_checked
from deeplab.conversion.keras_reference import KerasReference
from deeplab.conversion.structure import ExpectedFile
from deeplab.evaluation.evaluate import evaluate
from deeplab.prediction.predictor import tflite_predictor
from deeplab.tflite.interpreter import Kernels, TfliteModel
from deeplab.tflite.tflite_file import TfliteSource

SCORE_ERROR: dict[Quantization, float] = {
    "float32": 1e-4,
    "float16": 0.03,
    "dynamic": 0.25,
    "int16x8": 0.35,
    "int8": 0.4,
}
"""Maximum relative error of the scores (`relative_error`), mean over the images.

About twice the maximum error of the official networks (depth 0.5 and 1.0) on 8 VOC val images at 257 and 12 at 513:
5e-6 in float32 (the limit allows for other orders of summation in deeper networks), 0.014 in float16, 0.13 in dynamic,
0.13 in int16x8 (at 257), 0.19 in int8. Single images that are mostly background reach 0.32. A zeroed layer causes an
error of about 1, another alignment of the last resize 0.2 in float32.
"""

CLEAR_LEAD: dict[Quantization, float] = {
    "float32": 1e-3,
    "float16": 0.05,
    "dynamic": 0.6,
    "int16x8": 1.0,
    "int8": 1.0,
}
"""A pixel is clear if its best logit in Keras leads: exceeds the second best by more than this many standard deviations
of all logits.

Slightly above the largest lead that rounding overcame on those images: below 0.001 (float32), 0.008 (float16), 0.55
(dynamic), 0.19 (int16x8, at 257) and 0.86 (int8). Half of the pixels are clear at 1.0. Rounding decides the class of
the other pixels; they are covered by the mIoU check.
"""

CLEAR_AGREEMENT = 0.999
"""Minimum share of the clear pixels with the same class as in Keras; the official networks reach 1 on those images."""

SIMULATED_AGREEMENT = 0.98
"""Minimum share of the settled pixels whose class equals the one simulated for the same kernels.

The official networks reach 0.99 of all pixels at 513 on 50 VOC val images. The rest are sums that float arithmetic
rounds to the other side; on images without confident predictions they decide many nearly tied pixels.
"""

SETTLED_LEAD = 0.05
"""A pixel is settled if its winner leads by more standard deviations of all logits: about one int8 step."""


@dataclass(frozen=True)
class VerificationTarget:
    """What a file is verified against.

    Attributes:
        expected: the properties that the file must have.
        reference: the outputs of the Keras model.
        max_miou_drop: maximum loss of mIoU in points (0..100).
        tolerance: factor on the limits for rounding errors, which grow from layer to layer in untrained networks.
    """

    expected: ExpectedFile
    reference: KerasReference
    max_miou_drop: float
    tolerance: float = 1.0


def agreement_checks(model: TfliteModel, target: VerificationTarget) -> list[Check]:
    """Compare the scores, classes and mIoU of a file with those of the Keras model."""
    expected, tolerance = target.expected, target.tolerance
    logits = [x[:: expected.mask_stride, :: expected.mask_stride] for x in target.reference.logits]
    outputs = [model(image) for image in target.reference.images]
    ids = outputs if model.returns_labels else [x.argmax(-1) for x in outputs]
    expected_ids = [x.argmax(-1) for x in logits]
    clear = np.stack([_lead(x) > tolerance * CLEAR_LEAD[expected.quantization] * x.std() for x in logits])
    checks = [*_pixel_checks(np.stack(ids) == np.stack(expected_ids), clear), _shift_check(ids, expected_ids)]
    if not model.returns_labels:
        scores = [_as_output(x, expected.output, expected.logit_offset) for x in logits]
        error = float(np.mean([relative_error(a, b) for a, b in zip(outputs, scores, strict=True)]))
        limit = tolerance * SCORE_ERROR[expected.quantization]
        checks.insert(0, check(CheckId.SCORE_ERROR, error <= limit, error, limit))
    return [*checks, miou_check(model, target)]


def simulation_checks(file: TfliteSource, target: VerificationTarget, threads: int) -> list[Check]:
    """Compare the classes of an int8 file with the simulation of the quantization-aware model, for both kernel sets."""
    stride, limit = target.expected.mask_stride, 1.0 - target.tolerance * (1.0 - SIMULATED_AGREEMENT)
    simulated: dict[Kernels, tuple[CheckId, tuple[np.ndarray, ...]]] = {
        "xnnpack": (CheckId.SIMULATED_XNNPACK, target.reference.logits),
        "builtin": (CheckId.SIMULATED_BUILTIN, target.reference.builtin_logits),
    }
    checks = []
    for kernels, (check_id, all_logits) in simulated.items():
        model = TfliteModel(file, threads, kernels)
        outputs = np.stack([model(image) for image in target.reference.images])
        logits = [x[::stride, ::stride] for x in all_logits]
        settled = np.stack([_lead(x) > SETTLED_LEAD * x.std() for x in logits])
        if not settled.any():
            checks.append(not_checked(check_id, "all pixels are nearly tied"))
            continue
        ids = outputs if model.returns_labels else outputs.argmax(-1)
        share = float((ids == np.stack([x.argmax(-1) for x in logits]))[settled].mean())
        checks.append(check(check_id, share >= limit, share, limit))
    return checks


def relative_error(actual: np.ndarray, expected: np.ndarray) -> float:
    """Return rms(actual - expected) / standard deviation of `expected`; infinite if `actual` has NaN or infinities."""
    if not np.isfinite(actual).all():
        return float("inf")
    return float(np.sqrt(np.mean(np.square(actual - expected))) / max(float(expected.std()), 1e-12))


def miou_check(model: TfliteModel, target: VerificationTarget) -> Check:
    """Measure how many points of mIoU, over the classes in the labels, the file loses on the labeled examples."""
    reference, limit = target.reference, target.max_miou_drop
    if reference.scores is None:
        return not_checked(CheckId.MIOU_DROP, "no labeled images")
    predict, classes = tflite_predictor(model, reference.fit), reference.scores.classes
    # The evaluation of the Keras model has warned already.
    scores = evaluate(predict, reference.examples, classes, warn=False)
    drop = 100 * (reference.scores.labeled_miou - scores.labeled_miou)
    count = f"{scores.labeled_classes} of {len(scores.classes)} classes"
    scope = f"over the {count} in the labels of {len(scores.names)} images"
    words = f"{100 * scores.labeled_miou:.2f} %, {points_text(drop)} the Keras model"
    return check(CheckId.MIOU_DROP, bool(drop <= limit), float(drop), limit, scope, words)


def per_tensor_check(drop: float, per_channel_drop: float, target: VerificationTarget) -> Check:
    """Compare the mIoU of a per-tensor file with that of the same file with per-channel kernels.

    Args:
        drop: loss of mIoU of the per-tensor file against the Keras model, in points.
        per_channel_drop: that of the other file.
        target: as for both files; has labeled examples.
    """
    assert target.reference.scores is not None
    keras_miou, cost, limit = 100 * target.reference.scores.labeled_miou, drop - per_channel_drop, target.max_miou_drop
    other = f"the {keras_miou - per_channel_drop:.2f} % of the same file with per-channel kernels"
    words = f"{keras_miou - drop:.2f} %, {points_text(cost)} {other}"
    return check(CheckId.PER_TENSOR_COST, cost <= limit, cost, limit, words=words)


def points_text(drop: float) -> str:
    """Return a loss of mIoU in points, as "0.09 points below", and a gain, as "0.09 points above"."""
    if round(drop, 2) == 0:
        return "equal to"
    return f"{abs(drop):.2f} points {'below' if drop > 0 else 'above'}"


def _as_output(logits: np.ndarray, output: ExportOutput, logit_offset: float) -> np.ndarray:
    """Return the scores that a file returns for these logits."""
    if output == "probabilities":
        e = np.exp(logits - logits.max(-1, keepdims=True))
        return np.asarray(e / e.sum(-1, keepdims=True))
    return logits + np.float32(logit_offset)


def _lead(logits: np.ndarray) -> np.ndarray:
    """Return the difference between the highest and the second highest logit of each pixel, `[h, w]`."""
    second, first = np.moveaxis(np.partition(logits, -2, axis=-1)[..., -2:], -1, 0)
    return np.asarray(first - second)


def _pixel_checks(equal: np.ndarray, clear: np.ndarray) -> list[Check]:
    """Check the share of pixels with the class of Keras (`equal`) among all and among the `clear` ones."""
    share, limit = float(equal.mean()), CLEAR_AGREEMENT * float(clear.mean())
    all_pixels = check(CheckId.PIXEL_AGREEMENT, share >= limit, share, limit)
    # A smaller share of clear pixels is not meaningful: they are outliers with large rounding errors.
    if clear.mean() < 0.01:
        reason = f"{clear.mean():.2%} of the pixels have a clear winner"
        return [all_pixels, not_checked(CheckId.CLEAR_PIXEL_AGREEMENT, reason)]
    share = float(equal[clear].mean())
    return [all_pixels, check(CheckId.CLEAR_PIXEL_AGREEMENT, share >= CLEAR_AGREEMENT, share, CLEAR_AGREEMENT)]


def _shift_check(ids: Sequence[np.ndarray], expected: Sequence[np.ndarray]) -> Check:
    """Check that the masks agree better in place than shifted by one pixel in any direction."""
    if all((x == x.flat[0]).all() for x in expected):
        return not_checked(CheckId.MASK_SHIFT, "each Keras mask has a single class")
    shifts = [(dy, dx) for dy in (-1, 0, 1) for dx in (-1, 0, 1)]
    # A border of one pixel is left out.
    inner = np.stack(expected)[:, 1:-1, 1:-1]
    masks, (height, width) = np.stack(ids), inner.shape[1:]
    equal = {(dy, dx): masks[:, 1 + dy : 1 + dy + height, 1 + dx : 1 + dx + width] == inner for dy, dx in shifts}
    in_place = equal[0, 0]
    best = max(shifts, key=lambda shift: equal[shift].sum())
    gained, lost = int((equal[best] & ~in_place).sum()), int((in_place & ~equal[best]).sum())
    # By chance some shift always improves a small mask slightly: a shifted mask gains more than a tenth of the
    # differing pixels and more than 4 standard deviations of a gain by chance.
    if gained - lost <= max(0.1 * (~in_place).sum(), 4.0 * np.sqrt(gained + lost)):
        best = (0, 0)
    return check(CheckId.MASK_SHIFT, best == (0, 0), str(best), "(0, 0)")
