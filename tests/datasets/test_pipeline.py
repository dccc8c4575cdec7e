import itertools
from typing import Any

import numpy as np
import pytest

from deeplab.config import AugmentConfig, TrainingConfig
from deeplab.datasets.augment import augment
from deeplab.datasets.open import skipping
from deeplab.datasets.pipeline import index_at, iterate, training_batches
from deeplab.datasets.source import Example, Source
from deeplab.errors import UserError

CONFIG = TrainingConfig(batch_size=3, crop_size=33)


def _load(index: int) -> Example:
    """Pictures of different sizes, told apart by their values."""
    rng = np.random.default_rng(index)
    h, w = rng.integers(20, 60, 2)
    return Example(rng.integers(0, 256, (h, w, 3)).astype(np.uint8), np.full((h, w), index, np.uint8), str(index))


SOURCE = Source("ten", tuple(map(str, range(10))), 10, _load)


def _batches(count: int, **options: Any) -> list[tuple[np.ndarray, np.ndarray]]:
    batches = iterate(training_batches(SOURCE, CONFIG, seed=7, **options))
    return [(x.numpy(), y.numpy()) for x, y in itertools.islice(batches, count)]


def test_batches_are_the_augmented_pictures_of_their_positions():
    """Within tf.data as without it."""
    for number, (image, label) in enumerate(_batches(5)):
        assert (image.shape, image.dtype) == ((3, 33, 33, 3), np.float32)
        assert (label.shape, label.dtype) == ((3, 33, 33), np.int32)
        for i in range(3):
            position = 3 * number + i
            example = _load(index_at(10, 7, position))
            picture, ids = augment(example.image, example.label, (7, position), CONFIG.augment, 33)
            np.testing.assert_array_equal(image[i], picture)
            np.testing.assert_array_equal(label[i], ids)


def test_an_epoch_shows_each_picture_once_in_an_order_of_its_own():
    epochs = [[index_at(10, 7, 10 * epoch + i) for i in range(10)] for epoch in range(3)]
    assert all(sorted(epoch) == list(range(10)) for epoch in epochs)
    assert epochs[0] != epochs[1] != epochs[2]
    assert epochs[0] != [index_at(10, 8, i) for i in range(10)]
    # The labels say which pictures a stream of whole batches really shows.
    shown = [int(ids[ids != 255][0]) for _, labels in _batches(10) for ids in labels]
    assert sorted(shown) == sorted(list(range(10)) * 3)


@pytest.mark.parametrize("mine", [[0], [1, 2], [0, 1, 2]])
def test_pieces_for_several_replicas_are_those_of_the_whole_batch(mine: list[int]):
    """A batch of three in three pieces of one."""
    whole = _batches(4, start=6)
    pieces = _batches(4 * len(mine), start=6, pieces=3, mine=mine)
    for number, (image, label) in enumerate(pieces):
        images, labels = whole[number // len(mine)]
        here = mine[number % len(mine)]
        np.testing.assert_array_equal(image, images[here : here + 1])
        np.testing.assert_array_equal(label, labels[here : here + 1])


@pytest.mark.parametrize("threads", [1, 4])
def test_neither_threads_nor_an_interruption_change_what_is_seen(threads: int):
    straight = _batches(8)
    for (image, label), (image2, label2) in zip(straight[5:], _batches(3, start=15, threads=threads), strict=True):
        np.testing.assert_array_equal(image, image2)
        np.testing.assert_array_equal(label, label2)


def test_an_endless_source_is_taken_in_order():
    assert [index_at(None, 5, p) for p in (0, 1, 10**12)] == [0, 1, 10**12]
    endless = Source("endless", SOURCE.classes, None, lambda i: _load(i % 10))
    still = TrainingConfig(batch_size=4, crop_size=65, augment=AugmentConfig(1, 1, 0, 0))
    _, label = next(iterate(training_batches(endless, still, 0, start=2)))
    assert [int(ids[0, 0]) for ids in label] == [2, 3, 4, 5]


def test_the_error_of_an_example_comes_out_as_it_is():
    mine = UserError("five.png", "cannot be read", "mend it")

    def load(index: int) -> Example:
        if index == 5:
            raise mine
        return _load(index)

    with pytest.raises(UserError, match=r"^five.png: cannot be read; mend it$") as caught:
        for _ in itertools.islice(iterate(training_batches(Source("s", SOURCE.classes, 10, load), CONFIG, 7)), 4):
            pass
    assert caught.value is mine


def test_a_picture_at_fault_is_skipped_and_counted_where_that_is_wanted(caplog: pytest.LogCaptureFixture):
    def load(index: int) -> Example:
        if index == 5:
            raise UserError("five.png", "cannot be read", "mend it")
        return _load(index)

    skipped: dict[int, UserError] = {}
    source = skipping(Source("s", SOURCE.classes, 10, load), skipped)
    batches = itertools.islice(iterate(training_batches(source, CONFIG, 7)), 10)
    shown = [int(ids[ids != 255][0]) for _, labels in batches for ids in labels.numpy()]
    # Three epochs of ten, in each of which the sixth stands for the fifth.
    assert sorted(shown) == sorted([0, 1, 2, 3, 4, 6, 6, 7, 8, 9] * 3)
    assert [(index, str(error)) for index, error in skipped.items()] == [(5, "five.png: cannot be read; mend it")]
    assert caplog.text.count("skipped (1 so far): five.png") == 1


def test_a_fault_of_the_toolkit_keeps_its_traceback():
    def load(index: int) -> Example:
        raise ZeroDivisionError("a bug")

    with pytest.raises(Exception, match="a bug") as caught:
        next(iterate(training_batches(Source("s", SOURCE.classes, 10, load), CONFIG, 7)))
    assert not isinstance(caught.value, UserError)
