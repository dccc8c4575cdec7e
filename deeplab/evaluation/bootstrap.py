"""How far a score would move with other pictures of the same kind."""

from dataclasses import dataclass

import numpy as np

from deeplab.evaluation.confusion import Scores, iou_of_counts, mean_of_occurring

LEVEL = 0.95


@dataclass(frozen=True)
class Interval:
    """A figure and where it would lie, with a probability of 95 %, on other pictures of the same kind.

    Attributes:
        value: on the pictures measured.
        low, high: ends of the percentile interval.
    """

    value: float
    low: float
    high: float

    @property
    def settled(self) -> bool:
        """Whether the interval leaves out 0: for a difference, whether its sign is no accident of the pictures."""
        return self.low > 0 or self.high < 0


def miou_interval(scores: Scores, resamples: int, seed: int = 0) -> Interval:
    """The interval of `scores.miou` by the percentile bootstrap over pictures (Efron, 1979).

    Args:
        scores: of at least one picture.
        resamples: how many sets of as many pictures to draw, with replacement.
        seed: of the draw.
    """
    drawn = _drawn_mious(scores, _weights(len(scores.names), resamples, seed))
    return _interval(scores.miou, drawn)


def difference_interval(one: Scores, other: Scores, resamples: int, seed: int = 0) -> Interval:
    """The interval of `one.miou - other.miou`, both on the same draws of the same pictures.

    What makes a picture hard is then common to both, so this is far narrower than the two intervals suggest.

    Raises:
        ValueError: the two were not measured on the same pictures in the same order.
    """
    if not comparable(one, other):
        raise ValueError("a paired difference needs the same pictures and classes in both")
    weights = _weights(len(one.names), resamples, seed)
    return _interval(one.miou - other.miou, _drawn_mious(one, weights) - _drawn_mious(other, weights))


def _weights(pictures: int, resamples: int, seed: int) -> np.ndarray:
    """How often each picture is in each resample, `[resamples, pictures]`; rows sum to `pictures`."""
    rng = np.random.default_rng(seed)
    return rng.multinomial(pictures, np.full(pictures, 1 / pictures), size=resamples).astype(np.float64)


def _drawn_mious(scores: Scores, weights: np.ndarray) -> np.ndarray:
    """The mIoU of each resample, `[resamples]`; pixel counts below 2**53 are exact in float64."""
    pictures, three, classes = scores.counts.shape
    counts = weights @ scores.counts.reshape(pictures, three * classes).astype(np.float64)
    return mean_of_occurring(iou_of_counts(counts.reshape(-1, three, classes)))


def _interval(value: float, drawn: np.ndarray) -> Interval:
    """The percentile interval of `drawn` around `value`."""
    low, high = np.nanquantile(drawn, [(1 - LEVEL) / 2, (1 + LEVEL) / 2])
    return Interval(float(value), float(low), float(high))


def comparable(one: Scores, other: Scores) -> bool:
    """Whether both were measured on the same pictures and classes, so that their difference means something."""
    return one.names == other.names and one.classes == other.classes
