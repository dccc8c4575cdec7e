"""Training batches as a pure function of the position in the stream of pictures, made in parallel."""

import functools
import itertools
import re
from collections.abc import Callable, Iterable, Iterator
from typing import TypeVar

import numpy as np
import tensorflow as tf

from deeplab.config import TrainingConfig
from deeplab.datasets.augment import augment
from deeplab.datasets.source import Example, Source
from deeplab.errors import UserError

T = TypeVar("T")


def training_batches(
    source: Source, config: TrainingConfig, seed: int, start: int = 0, threads: int | None = None
) -> tf.data.Dataset:
    """Augmented batches without end: image `[b, crop, crop, 3]` float32 0..255, label `[b, crop, crop]` int32.

    Position p in the stream of pictures is in epoch p // n, shows the picture at place p % n of that epoch's own
    permutation, and augments it with the seed (seed, p). So what a training sees depends on neither the number of
    threads nor on where it was interrupted. Epochs follow each other within a batch, and no picture is left out.

    Args:
        source: the examples; an endless one is taken in its own order.
        config: batch size, crop size and augmentation.
        seed: of order and augmentation.
        start: how many pictures were taken before; a resumed training continues there.
        threads: how many pictures are made at a time; None lets tf.data decide.

    Returns:
        A dataset to go over with `iterate`, which hands on the UserError of an example that cannot be loaded.
    """
    load = _carrying_errors(lambda position: source.load(index_at(source.size, seed, position)))

    def picture(position: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        image, label = tf.numpy_function(load, [position], [tf.uint8, tf.uint8])
        image, label = tf.ensure_shape(image, (None, None, 3)), tf.ensure_shape(label, (None, None))
        # A position may exceed 32 bits, and a seed has two numbers of 32 bits each.
        place = tf.stack([tf.constant(seed, tf.int64), position])
        return augment(image, label, place, config.augment, config.crop_size)

    pictures = tf.data.Dataset.counter(start).map(
        picture, num_parallel_calls=threads or tf.data.AUTOTUNE, deterministic=True
    )
    batches = pictures.batch(config.batch_size, drop_remainder=True)
    return batches.map(lambda image, label: (image, tf.cast(label, tf.int32))).prefetch(2)


def index_at(size: int | None, seed: int, position: int) -> int:
    """Which example stands at `position` of the stream over `size` examples, None if endless."""
    if size is None:
        return position
    epoch, place = divmod(position, size)
    return int(_permutation(size, seed, epoch)[place])


def iterate(batches: Iterable[T]) -> Iterator[T]:
    """Goes over a dataset of this module, or one distributed from it.

    Raises:
        UserError: the very error that an example raised when it was loaded.
    """
    iterator = iter(batches)
    while True:
        try:
            batch = next(iterator)
        except StopIteration:
            return
        except tf.errors.OpError as error:
            raise _carried(error) from None
        yield batch


# tf.data turns whatever is raised in a numpy_function into text. The text carries a ticket for the error itself.
_tickets = itertools.count()
_raised: dict[int, UserError] = {}


class _CarriedError(RuntimeError):
    """Stands for a UserError within tf.data."""


def _carrying_errors(load: Callable[[int], Example]) -> Callable[[np.int64], tuple[np.ndarray, np.ndarray]]:
    def loaded(position: np.int64) -> tuple[np.ndarray, np.ndarray]:
        try:
            example = load(int(position))
        except UserError as error:
            ticket = next(_tickets)
            _raised[ticket] = error
            raise _CarriedError(f"<user error {ticket}> {error}") from None
        return example.image, example.label

    return loaded


def _carried(error: tf.errors.OpError) -> Exception:
    """The UserError that `error` stands for, or `error` itself."""
    found = re.search(r"<user error (\d+)>", str(error))
    return _raised.pop(int(found.group(1)), error) if found else error


@functools.lru_cache(maxsize=4)
def _permutation(size: int, seed: int, epoch: int) -> np.ndarray:
    return np.random.default_rng((seed, epoch)).permutation(size)
