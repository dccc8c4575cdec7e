"""Bootstrap intervals over images: how much a score varies between samples of images."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from deeplab.evaluation.confusion import iou_of_counts, iou_of_labeled, mean_of_occurring
from deeplab.evaluation.scores import Scores

LEVEL = 0.95
"""Confidence level of the intervals."""


@dataclass(frozen=True)
class Interval:
    """A value on the evaluated images, and the limits of its percentile interval at `LEVEL`."""

    value: float
    low: float
    high: float

    @property
    def excludes_zero(self) -> bool:
        """Whether 0 is outside the interval; the sign of a difference is then significant."""
        return self.low > 0 or self.high < 0


def miou_interval(scores: Scores, bootstrap_samples: int, seed: int = 0, labeled: bool = False) -> Interval:
    """Compute the interval of `scores.miou` with the percentile bootstrap over images (Efron, 1979).

    Args:
        scores: of at least one image.
        bootstrap_samples: number of resamples, each of as many images as there are, with replacement.
        seed: seed of the resampling.
        labeled: compute that of `scores.labeled_miou`, for comparisons with other models.
    """
    iou = iou_of_labeled if labeled else iou_of_counts
    return _bootstrap(lambda weights: _mious(iou, scores.counts, weights), len(scores.names), bootstrap_samples, seed)


def difference_interval(first: Scores, second: Scores, bootstrap_samples: int, seed: int = 0) -> Interval:
    """Compute the interval of the mIoU of `first` minus that of `second` on the images that both share.

    Both means are over the classes in the labels of these images (`iou_of_labeled`), and both are resampled together.
    The difficulty of an image affects both alike, so this interval is much narrower than the two separate intervals
    suggest.

    Raises:
        ValueError: they share no images, see `shared_images`.
    """
    shared = shared_images(first, second)
    if not shared:
        raise ValueError("a paired difference requires the same images and classes in both")

    def difference(weights: np.ndarray) -> np.ndarray:
        mious = (_mious(iou_of_labeled, scores.counts[:shared], weights) for scores in (first, second))
        return next(mious) - next(mious)

    return _bootstrap(difference, shared, bootstrap_samples, seed)


def shared_images(first: Scores, second: Scores) -> int:
    """Return the number of images to compare on: those of the shorter list if the longer starts with it, else 0."""
    shared = min(len(first.names), len(second.names))
    return shared if first.classes == second.classes and first.names[:shared] == second.names[:shared] else 0


def _bootstrap(
    statistic: Callable[[np.ndarray], np.ndarray], images: int, bootstrap_samples: int, seed: int
) -> Interval:
    """Return the statistic `[n]` of images with weights `[n, images]`, and its percentile interval over resamples."""
    # How often each resample contains each image; rows sum to the number of images.
    counts = np.random.default_rng(seed).multinomial(images, np.full(images, 1 / images), size=bootstrap_samples)
    low, high = np.nanquantile(statistic(counts.astype(np.float64)), [(1 - LEVEL) / 2, (1 + LEVEL) / 2])
    return Interval(float(statistic(np.ones((1, images)))[0]), float(low), float(high))


def _mious(iou: Callable[[np.ndarray], np.ndarray], counts: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """Return the mean `[n]` of `iou` for images with weights `[n, images]`; float64 holds counts to 2**53 exactly."""
    images, three, classes = counts.shape
    total = weights @ counts.reshape(images, three * classes).astype(np.float64)
    return mean_of_occurring(iou(total.reshape(-1, three, classes)))
