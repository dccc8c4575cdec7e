"""Training batches as a pure function of the position in the stream of pictures, made in parallel."""

import functools
import itertools
import math
import os
import re
import sys
import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

import numpy as np
import tensorflow as tf

from deeplab.config import TrainingConfig
from deeplab.datasets.augment import augment_into, draw
from deeplab.datasets.source import Source
from deeplab.errors import UserError

T = TypeVar("T")


def training_batches(
    source: Source,
    config: TrainingConfig,
    seed: int,
    start: int = 0,
    threads: int | None = None,
    pieces: int = 1,
    mine: Sequence[int] = (0,),
) -> tf.data.Dataset:
    """Augmented batches without end: image `[b, crop, crop, 3]` float32 0..255, label `[b, crop, crop]` int32.

    Position p in the stream of pictures is in epoch p // n, shows the picture at place p % n of that epoch's own
    permutation, and augments it with the seed (seed, p). So what a training sees depends on neither the number of
    threads nor on where it was interrupted. Epochs follow each other within a batch, and no picture is left out.

    Args:
        source: the examples; an endless one is taken in its own order.
        config: batch size, crop size and augmentation.
        seed: of order and augmentation, at least 0.
        start: how many pictures were taken before; a resumed training continues there.
        threads: how many pictures are made at a time; None takes as many as there are processors.
        pieces: into how many equal pieces each batch is cut, one for each replica; must divide the batch size.
        mine: which of them, counted from 0, the dataset gives, one after the other; the others are not made.

    Returns:
        A dataset to go over with `iterate`, which hands on the UserError of an example that cannot be loaded.
    """
    size, crop = config.batch_size // pieces, config.crop_size
    pool = ThreadPoolExecutor(threads or os.cpu_count(), "pictures")

    image_memory = _Memory((size, crop, crop, 3), np.float32)
    label_memory = _Memory((size, crop, crop), np.int32)

    def make(images: np.ndarray, labels: np.ndarray, position: int) -> None:
        example = source.load(index_at(source.size, seed, position))
        height, width = example.label.shape
        plan = draw((height, width), (seed, position), config.augment, crop)
        augment_into(images, labels, example.image, example.label, plan)

    def batch(first: np.int64) -> tuple[np.ndarray, np.ndarray]:
        images, labels = image_memory.take(), label_memory.take()
        made = [pool.submit(make, images[i], labels[i], int(first) + i) for i in range(size)]
        for picture in made:
            picture.result()
        return images, labels

    def tensors(first: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        image, label = tf.numpy_function(_carrying_errors(batch), [first], [tf.float32, tf.int32])
        return tf.ensure_shape(image, (size, crop, crop, 3)), tf.ensure_shape(label, (size, crop, crop))

    # Two batches are under way at a time, so that no processor waits for the last picture of one.
    firsts = tf.data.Dataset.counter(start, config.batch_size)
    if pieces > 1:
        offsets = size * np.array(mine, np.int64)
        firsts = firsts.flat_map(lambda first: tf.data.Dataset.from_tensor_slices(first + offsets))
    return firsts.map(tensors, num_parallel_calls=2, deterministic=True).prefetch(1)


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


def _carrying_errors(make: Callable[[np.int64], T]) -> Callable[[np.int64], T]:
    def made(position: np.int64) -> T:
        try:
            return make(position)
        except UserError as error:
            ticket = next(_tickets)
            _raised[ticket] = error
            raise _CarriedError(f"<user error {ticket}> {error}") from None

    return made


def _carried(error: tf.errors.OpError) -> Exception:
    """The UserError that `error` stands for, or `error` itself."""
    found = re.search(r"<user error (\d+)>", str(error))
    return _raised.pop(int(found.group(1)), error) if found else error


class _Memory:
    """Arrays for batches, used again when nobody holds them any more: fresh pages cost more than what is written."""

    def __init__(self, shape: tuple[int, ...], kind: type) -> None:
        self._shape = shape
        self._kind: np.dtype = np.dtype(kind)
        self._blocks: list[np.ndarray] = []
        self._lock = threading.Lock()

    def take(self) -> np.ndarray:
        """An array of undefined values, at an address that TensorFlow takes over without a copy."""
        size = math.prod(self._shape) * self._kind.itemsize
        with self._lock:
            # A view in use, TensorFlow's too, counts as a reference beside those of the list, the loop and the call.
            block = next((b for b in self._blocks if sys.getrefcount(b) <= 3), None)
            if block is None:
                block = np.empty(size + 64, np.uint8)
                self._blocks.append(block)
            offset = -block.ctypes.data % 64
            return block[offset : offset + size].view(self._kind).reshape(self._shape)


@functools.lru_cache(maxsize=4)
def _permutation(size: int, seed: int, epoch: int) -> np.ndarray:
    return np.random.default_rng((seed, epoch)).permutation(size)
