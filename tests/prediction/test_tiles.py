"""Tiles keep every pixel once, with its context."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from deeplab.prediction.tiles import Span, predict_in_tiles, tile_spans


def test_spans_equal_those_computed_by_hand():
    # 10 pixels in tiles of 6 with overlap 2: 0..6 and 4..10, joined in the middle of 4..6.
    assert tile_spans(10, 6, 2) == [Span(0, 6, 0, 5), Span(4, 10, 5, 10)]
    assert tile_spans(6, 6, 2) == [Span(0, 6, 0, 6)]
    assert tile_spans(5, 6, 2) == [Span(0, 5, 0, 5)]


@given(st.integers(1, 400), st.integers(2, 100), st.data())
def test_every_pixel_is_kept_once_and_away_from_the_edge_of_its_tile(side, tile, data):
    overlap = data.draw(st.integers(0, tile - 1))
    found = tile_spans(side, tile, overlap)
    assert [p for s in found for p in range(s.first, s.last)] == list(range(side))
    for s in found:
        assert 0 <= s.start <= s.first < s.last <= s.stop <= side
        assert s.stop - s.start == min(tile, side)
        assert s.start == 0 or s.first - s.start >= overlap // 2
        assert s.stop == side or s.stop - s.last >= overlap // 2


def test_overlap_must_be_smaller_than_the_tile():
    with pytest.raises(ValueError, match="overlap smaller than the tile"):
        tile_spans(100, 10, 10)


def predict_5x5(image: np.ndarray) -> np.ndarray:
    """Return ids that depend on 5x5 pixels, zeros outside, like a network with a small field of view."""
    padded = np.pad(image[..., 0].astype(int), 2)
    windows = np.lib.stride_tricks.sliding_window_view(padded, (5, 5))
    return windows.sum((2, 3)) % 7


def test_tiles_with_enough_overlap_equal_the_prediction_of_the_whole_image():
    image = np.random.default_rng(0).integers(0, 256, (53, 71, 3)).astype(np.uint8)
    np.testing.assert_array_equal(predict_in_tiles(predict_5x5, image, 20, 6), predict_5x5(image))
    assert (predict_in_tiles(predict_5x5, image, 20, 0) != predict_5x5(image)).any()


def test_image_no_larger_than_a_tile_is_predicted_as_a_whole():
    shapes = []
    image = np.zeros((9, 12, 3), np.uint8)
    predict_in_tiles(lambda part: shapes.append(part.shape) or np.zeros(part.shape[:2], np.uint8), image, 12, 4)
    assert shapes == [(9, 12, 3)]
