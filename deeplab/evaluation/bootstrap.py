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


def miou_interval(scores: Scores, bootstrap_samples: int, seed: int = 0) -> Interval:
    """The interval of `scores.miou` by the percentile bootstrap over pictures (Efron, 1979).

    Args:
        scores: of at least one picture.
        bootstrap_samples: how many sets of as many pictures to draw, with replacement.
        seed: of the draw.
    """
    return _interval(scores.miou, _mious(scores.counts, _weights(len(scores.names), bootstrap_samples, seed)))


def difference_interval(one: Scores, other: Scores, bootstrap_samples: int, seed: int = 0) -> Interval:
    """The interval of the mIoU of `one` less that of `other`, both on the same draws of the pictures they share.

    What makes a picture hard is then common to both, so this is far narrower than the two intervals suggest.

    Raises:
        ValueError: they share no pictures, see `comparable`.
    """
    shared = comparable(one, other)
    if not shared:
        raise ValueError("a paired difference needs the same pictures and classes in both")
    weights = _weights(shared, bootstrap_samples, seed)
    whole = np.ones((1, shared))
    value, drawn = (
        _mious(one.counts[:shared], each) - _mious(other.counts[:shared], each) for each in (whole, weights)
    )
    return _interval(float(value[0]), drawn)


def comparable(one: Scores, other: Scores) -> int:
    """How many pictures a difference can be measured on: those of the shorter list if it is the other's start, or 0."""
    shared = min(len(one.names), len(other.names))
    return shared if one.classes == other.classes and one.names[:shared] == other.names[:shared] else 0


def _weights(pictures: int, bootstrap_samples: int, seed: int) -> np.ndarray:
    """How often each picture is in each resample, `[bootstrap_samples, pictures]`; rows sum to `pictures`."""
    rng = np.random.default_rng(seed)
    return rng.multinomial(pictures, np.full(pictures, 1 / pictures), size=bootstrap_samples).astype(np.float64)


def _mious(counts: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """The mIoU of weighted pictures, `[bootstrap_samples]`; pixel counts below 2**53 are exact in float64."""
    pictures, three, classes = counts.shape
    summed = weights @ counts.reshape(pictures, three * classes).astype(np.float64)
    return mean_of_occurring(iou_of_counts(summed.reshape(-1, three, classes)))


def _interval(value: float, drawn: np.ndarray) -> Interval:
    """The percentile interval of `drawn` around `value`."""
    low, high = np.nanquantile(drawn, [(1 - LEVEL) / 2, (1 + LEVEL) / 2])
    return Interval(float(value), float(low), float(high))
