"""Tiles cover every pixel once, and see what lies around it."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from deeplab.prediction.tiles import Span, predict_in_tiles, spans


def test_spans_by_hand():
    # 10 pixels in tiles of 6 that share 2: 0..6 and 4..10, which meet in the middle of 4..6.
    assert spans(10, 6, 2) == [Span(0, 6, 0, 5), Span(4, 10, 5, 10)]
    assert spans(6, 6, 2) == [Span(0, 6, 0, 6)]
    assert spans(5, 6, 2) == [Span(0, 5, 0, 5)]


@given(st.integers(1, 400), st.integers(2, 100), st.data())
def test_every_pixel_is_kept_once_and_far_from_its_tiles_edge(side, tile, data):
    overlap = data.draw(st.integers(0, tile - 1))
    found = spans(side, tile, overlap)
    assert [p for s in found for p in range(s.first, s.last)] == list(range(side))
    for s in found:
        assert 0 <= s.start <= s.first < s.last <= s.stop <= side
        assert s.stop - s.start == min(tile, side)
        assert s.start == 0 or s.first - s.start >= overlap // 2
        assert s.stop == side or s.stop - s.last >= overlap // 2


def test_overlap_as_large_as_the_tile_is_refused():
    with pytest.raises(ValueError, match="does not go"):
        spans(100, 10, 10)


def around(image: np.ndarray) -> np.ndarray:
    """A label that depends on the 5x5 pixels around, zeros outside: some network with a small field of view."""
    padded = np.pad(image[..., 0].astype(int), 2)
    windows = np.lib.stride_tricks.sliding_window_view(padded, (5, 5))
    return windows.sum((2, 3)) % 7


def test_tiles_give_what_the_whole_picture_gives_where_the_overlap_is_wide_enough():
    image = np.random.default_rng(0).integers(0, 256, (53, 71, 3)).astype(np.uint8)
    np.testing.assert_array_equal(predict_in_tiles(around, image, 20, 6), around(image))
    assert (predict_in_tiles(around, image, 20, 0) != around(image)).any()


def test_picture_no_larger_than_a_tile_is_seen_whole():
    seen = []
    image = np.zeros((9, 12, 3), np.uint8)
    predict_in_tiles(lambda part: seen.append(part.shape) or np.zeros(part.shape[:2], np.uint8), image, 12, 4)
    assert seen == [(9, 12, 3)]
