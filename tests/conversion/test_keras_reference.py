"""The logit offset for the Task Library, and the images of the Keras reference."""

import numpy as np

from deeplab.conversion.keras_reference import first_images, needed_logit_offset
from deeplab.datasets.shapes import shapes_source


def _logits(winner, loser):
    return [np.array([[[winner, loser], [loser, 9.0]]], np.float32)]


def test_clearly_positive_winners_need_no_logit_offset():
    assert needed_logit_offset(_logits(5.0, -3.0), 1) == 0.0


def test_a_negative_winner_needs_an_offset_that_makes_the_lowest_logit_zero():
    assert needed_logit_offset(_logits(-1.0, -3.0), 1) == 3.0


def test_only_the_pixels_of_the_mask_need_positive_winners():
    logits = [np.full((5, 5, 2), 4.0, np.float32)]
    logits[0][1, 1] = -8.0
    assert needed_logit_offset(logits, 1) == 8.0
    assert needed_logit_offset(logits, 4) == 0.0


def test_images_are_padded_with_the_gray_byte_or_stretched_to_the_input_size():
    source = shapes_source("val", 40)
    (original,) = (e.image for e in source.examples(1))
    (padded,) = first_images(source, 1, (64, 64), 0)
    assert padded.dtype == np.uint8
    np.testing.assert_array_equal(padded[:40, :40], original)
    assert set(padded[40:].ravel()) | set(padded[:, 40:].ravel()) == {128}
    assert first_images(source, 1, (33, 33), 0)[0].shape == (33, 33, 3)


def test_scenes_are_drawn_if_there_is_no_source():
    images = first_images(None, 3, (64, 48), 5)
    assert [image.shape for image in images] == [(64, 48, 3)] * 3
    (scene,) = (e.image for e in shapes_source("export", 48, 5).examples(1))
    np.testing.assert_array_equal(images[0][:48], scene)
