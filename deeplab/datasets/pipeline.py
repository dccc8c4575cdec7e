"""The input pipeline: training batches, prepared in parallel. Position and seed alone determine each example."""

import functools
import math
import mmap
import os
import re
import weakref
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, TypeVar

import numpy as np
import tensorflow as tf

from deeplab.config import TrainingConfig
from deeplab.datasets.augment import augment_into, draw_augmentation
from deeplab.datasets.source import Source
from deeplab.errors import UserError
from deeplab.pixels import GRAY, Pixel

T = TypeVar("T")


def training_batches(
    source: Source,
    config: TrainingConfig,
    seed: int,
    start: int = 0,
    threads: int | None = None,
    replicas: int = 1,
    local_replicas: Sequence[int] = (0,),
    padding: Pixel = GRAY,
) -> tf.data.Dataset:
    """Return an endless dataset of augmented batches.

    Of n examples, position p of the stream belongs to epoch p // n. It holds element p % n of the permutation drawn for
    this epoch, augmented with the seed (seed, p). The batches therefore depend neither on the number of threads nor on
    interruptions. A batch may span two epochs; no example is dropped.

    Args:
        source: the examples; an endless source keeps its own order.
        config: batch size, crop size and augmentation.
        seed: seed of order and augmentation, at least 0.
        start: position of the first example; a resumed training continues there.
        threads: number of examples that are prepared in parallel; None: the number of processors.
        replicas: number of replicas that share each (global) batch; must divide the batch size.
        local_replicas: indices of the replicas to return batches for, in turn; other batches are not computed.
        padding: red, green and blue of the padding of images.

    Returns:
        Image `[b, *crop, 3]` float32 0..255 and label `[b, *crop]` int32, where b is the batch size per
        replica. Iterate with `iterate`, which raises the UserError of an example that cannot be loaded.
    """
    size, crop = config.batch_size // replicas, config.crop
    image_buffers = _BufferPool((size, *crop, 3), np.float32)
    label_buffers = _BufferPool((size, *crop), np.int32)
    pool = ThreadPoolExecutor(threads or os.cpu_count(), "examples")

    def write_example(images: np.ndarray, labels: np.ndarray, position: int) -> None:
        example = source.load(index_at(source.size, seed, position))
        label = example.label
        augmentation = draw_augmentation(label.shape, (seed, position), config.augment, crop, label)
        augment_into(images, labels, example.image, label, augmentation, padding)

    def make_batch(first: np.int64) -> tuple[np.ndarray, np.ndarray]:
        images, labels = image_buffers.take(), label_buffers.take()
        try:
            # list() waits for all examples.
            list(pool.map(write_example, images, labels, range(first, first + size)))
        except UserError as error:
            key = f"<UserError {id(error)}>"
            _user_errors[key] = error
            raise RuntimeError(f"{key} {error}") from None
        return images, labels

    def tensors(first: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        image, label = tf.numpy_function(make_batch, [first], [tf.float32, tf.int32])
        return tf.ensure_shape(image, (size, *crop, 3)), tf.ensure_shape(label, (size, *crop))

    firsts = tf.data.Dataset.counter(start, config.batch_size)
    if replicas > 1:
        offsets = size * np.array(local_replicas, np.int64)
        firsts = firsts.flat_map(lambda first: tf.data.Dataset.from_tensor_slices(first + offsets))
    # Two batches are prepared at a time, so that no processor is idle during the last example of a batch.
    return firsts.map(tensors, num_parallel_calls=2, deterministic=True).prefetch(1)


def index_at(size: int | None, seed: int, position: int) -> int:
    """Return the index of the example at `position` of the stream over `size` examples, None if endless."""
    if size is None:
        return position
    epoch, place = divmod(position, size)
    return int(_permutation(size, seed, epoch)[place])


def iterate(batches: Iterable[T]) -> Iterator[T]:
    """Iterate over a dataset of `training_batches`, or its distributed form; raise the UserError of an example."""
    try:
        yield from batches
    except tf.errors.OpError as error:
        key = re.search(r"<UserError \d+>", str(error))
        raise _user_errors.pop(key.group(), error) if key else error from None


_user_errors: dict[str, Exception] = {}
"""UserErrors raised in a numpy_function. tf.data passes on only the text of an exception; the text contains the key."""


class _BufferPool:
    """Uninitialized arrays whose memory is reused after they have been garbage-collected.

    The kernel clears each new page: a new array for each batch costs 15 % more CPU time in the whole pipeline.
    """

    def __init__(self, shape: tuple[int, ...], dtype: Any) -> None:
        self._shape, self._dtype = shape, np.dtype(dtype)
        self._free: list[mmap.mmap] = []

    def take(self) -> np.ndarray:
        """Return an array with undefined values. Its page alignment lets TensorFlow use it without a copy."""
        try:
            block = self._free.pop()
        except IndexError:
            block = mmap.mmap(-1, math.prod(self._shape) * self._dtype.itemsize)
        array = np.frombuffer(block, self._dtype)
        # All views refer to `array`, also those in TensorFlow, so it is collected after the last of them.
        weakref.finalize(array, self._free.append, block)
        return array.reshape(self._shape)


@functools.lru_cache(maxsize=4)
def _permutation(size: int, seed: int, epoch: int) -> np.ndarray:
    return np.random.default_rng((seed, epoch)).permutation(size)
