import gc
import itertools
from typing import Any

import numpy as np
import pytest

from deeplab.config import AugmentConfig, TrainingConfig
from deeplab.datasets.augment import augment
from deeplab.datasets.open import skipping
from deeplab.datasets.pipeline import _BufferPool, index_at, iterate, training_batches
from deeplab.datasets.source import Example, Source
from deeplab.errors import UserError

CONFIG = TrainingConfig(batch_size=3, crop_size=33)


def _load(index: int) -> Example:
    """Return an image of random size whose label is its index."""
    rng = np.random.default_rng(index)
    h, w = rng.integers(20, 60, 2)
    return Example(rng.integers(0, 256, (h, w, 3)).astype(np.uint8), np.full((h, w), index, np.uint8), str(index))


SOURCE = Source("ten", tuple(map(str, range(10))), 10, _load)


def _batches(count: int, **options: Any) -> list[tuple[np.ndarray, np.ndarray]]:
    batches = iterate(training_batches(SOURCE, CONFIG, seed=7, **options))
    return [(x.numpy(), y.numpy()) for x, y in itertools.islice(batches, count)]


def test_batches_are_the_augmented_examples_of_their_positions():
    # All batches are kept until they are compared: memory in use must not be overwritten.
    batches = list(itertools.islice(iterate(training_batches(SOURCE, CONFIG, seed=7)), 12))
    for number, (image, label) in enumerate(batches):
        assert (image.shape, image.dtype) == ((3, 33, 33, 3), np.float32)
        assert (label.shape, label.dtype) == ((3, 33, 33), np.int32)
        for i in range(3):
            position = 3 * number + i
            example = _load(index_at(10, 7, position))
            expected_image, expected_label = augment(
                example.image, example.label, (7, position), CONFIG.augment, (33, 33)
            )
            np.testing.assert_array_equal(image[i], expected_image)
            np.testing.assert_array_equal(label[i], expected_label)


def test_each_epoch_has_each_example_once_in_a_new_order():
    epochs = [[index_at(10, 7, 10 * epoch + i) for i in range(10)] for epoch in range(3)]
    assert all(sorted(epoch) == list(range(10)) for epoch in epochs)
    assert epochs[0] != epochs[1] != epochs[2]
    assert epochs[0] != [index_at(10, 8, i) for i in range(10)]
    # The labels identify the examples in the batches.
    indices = [int(ids[ids != 255][0]) for _, labels in _batches(10) for ids in labels]
    assert sorted(indices) == sorted(list(range(10)) * 3)


@pytest.mark.parametrize("local_replicas", [[0], [1, 2], [0, 1, 2]])
def test_batches_of_replicas_are_shares_of_the_global_batch(local_replicas: list[int]):
    """A global batch of three is shared by three replicas."""
    whole = _batches(4, start=6)
    shares = _batches(4 * len(local_replicas), start=6, replicas=3, local_replicas=local_replicas)
    for number, (image, label) in enumerate(shares):
        images, labels = whole[number // len(local_replicas)]
        replica = local_replicas[number % len(local_replicas)]
        np.testing.assert_array_equal(image, images[replica : replica + 1])
        np.testing.assert_array_equal(label, labels[replica : replica + 1])


@pytest.mark.parametrize("threads", [1, 4])
def test_threads_and_interruptions_do_not_change_the_batches(threads: int):
    uninterrupted = _batches(8)
    resumed = _batches(3, start=15, threads=threads)
    for (image, label), (image2, label2) in zip(uninterrupted[5:], resumed, strict=True):
        np.testing.assert_array_equal(image, image2)
        np.testing.assert_array_equal(label, label2)


def test_an_endless_source_keeps_its_order():
    assert [index_at(None, 5, p) for p in (0, 1, 10**12)] == [0, 1, 10**12]
    endless = Source("endless", SOURCE.classes, None, lambda i: _load(i % 10))
    identity = TrainingConfig(batch_size=4, crop_size=65, augment=AugmentConfig(1, 1, 0, 0))
    _, label = next(iterate(training_batches(endless, identity, 0, start=2)))
    assert [int(ids[0, 0]) for ids in label] == [2, 3, 4, 5]


def test_the_error_of_an_example_is_raised_unchanged():
    original = UserError("five.png", "cannot be read", "save it again")

    def load(index: int) -> Example:
        if index == 5:
            raise original
        return _load(index)

    with pytest.raises(UserError, match=r"^five.png: cannot be read; save it again$") as caught:
        for _ in itertools.islice(iterate(training_batches(Source("s", SOURCE.classes, 10, load), CONFIG, 7)), 4):
            pass
    assert caught.value is original


def test_an_unusable_example_is_skipped_and_logged_once(caplog: pytest.LogCaptureFixture):
    def load(index: int) -> Example:
        if index == 5:
            raise UserError("five.png", "cannot be read", "save it again")
        return _load(index)

    batches = iterate(training_batches(skipping(Source("s", SOURCE.classes, 10, load)), CONFIG, 7))
    indices = [int(ids[ids != 255][0]) for _, labels in itertools.islice(batches, 10) for ids in labels.numpy()]
    # In each of the three epochs of ten, example 6 replaces example 5.
    assert sorted(indices) == sorted([0, 1, 2, 3, 4, 6, 6, 7, 8, 9] * 3)
    assert [record.getMessage() for record in caplog.records] == [
        "skipped (1 so far): five.png: cannot be read; save it again"
    ]


def test_other_exceptions_are_not_reported_as_user_errors():
    def load(index: int) -> Example:
        raise ZeroDivisionError("a bug")

    with pytest.raises(Exception, match="a bug") as caught:
        next(iterate(training_batches(Source("s", SOURCE.classes, 10, load), CONFIG, 7)))
    assert not isinstance(caught.value, UserError)


def test_memory_is_reused_only_after_the_last_view_is_gone():
    pool = _BufferPool((4, 5), np.float32)
    array = pool.take()
    assert (array.shape, array.dtype) == ((4, 5), np.float32)
    address = array.ctypes.data
    assert address % 64 == 0  # TensorFlow copies arrays that are not aligned to 64 bytes
    row = array[2]
    del array
    gc.collect()
    other = pool.take()
    assert other.ctypes.data != address
    del row
    gc.collect()
    assert pool.take().ctypes.data == address
