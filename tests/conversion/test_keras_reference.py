"""The logit offset for the Task Library, and the images of the Keras reference."""

import keras
import numpy as np

from deeplab.config import ExportConfig, ModelConfig
from deeplab.conversion.keras_reference import (
    LogitExtremes,
    first_images,
    logit_extremes,
    make_reference,
    needed_logit_offset,
)
from deeplab.datasets.shapes import CLASSES, shapes_source
from deeplab.datasets.source import Example, Source
from deeplab.model.build import build_model


def test_clearly_positive_winners_need_no_logit_offset():
    assert needed_logit_offset([LogitExtremes(5.0, -3.0, 9.0)]) == 0.0
    # The logits have a range of 12: below 2 % of it, 0.24, rounding could make a winner negative.
    assert needed_logit_offset([LogitExtremes(0.25, -3.0, 9.0)]) == 0.0
    assert needed_logit_offset([LogitExtremes(0.23, -3.0, 9.0)]) == 3.0


def test_a_negative_winner_of_one_image_needs_an_offset_that_makes_the_lowest_logit_of_all_zero():
    fine, lowest = LogitExtremes(5.0, -2.0, 9.0), LogitExtremes(4.0, -3.5, 7.0)
    assert needed_logit_offset([fine, lowest]) == 0.0
    assert needed_logit_offset([fine, LogitExtremes(-1.0, -2.5, 9.0), lowest]) == 3.5


def test_extremes_are_the_lowest_winner_and_the_lowest_and_highest_logit():
    logits = np.array([[[-1.0, -3.0], [-3.5, 9.0]]], np.float32)
    assert logit_extremes(logits) == LogitExtremes(winner=-1.0, low=-3.5, high=9.0)


def test_the_extremes_are_those_of_all_images_at_hand():
    image = keras.Input((33, 33, 3))
    model = keras.Model(image, keras.layers.Rescaling((1.0, -0.5), (0.0, 2.0))(image[..., :2]))
    calibration = (np.full((33, 33, 3), 70, np.float32), np.full((33, 33, 3), 90, np.float32))

    def load(index: int) -> Example:
        return Example(np.full((33, 33, 3), index, np.uint8), np.zeros((33, 33), np.uint8), str(index))

    source = Source("test", ("a", "b"), 9, load)
    config = ExportConfig("run", agreement_images=2, miou_images=4)
    reference = make_reference(model, source, source.classes, config, calibration)
    # The logits of a pixel x are x and 2 - x / 2. Two calibration images, two to compare on, four for the mIoU.
    values = [70, 90, 0, 1, 0, 1, 2, 3]
    expected = [LogitExtremes(max(x, 2 - x / 2), min(x, 2 - x / 2), max(x, 2 - x / 2)) for x in values]
    assert list(reference.extremes) == expected
    assert len(reference.logits) == 2


def test_images_are_continued_by_their_mirror_image_or_stretched_to_the_input_size():
    source = shapes_source("val", 40)
    (original,) = (e.image for e in source.examples(1))
    (image,) = first_images(source, 1, (64, 100), 0)
    assert image.dtype == np.uint8
    np.testing.assert_array_equal(image[:40, :40], original)
    np.testing.assert_array_equal(image[40:, :40], original[:15:-1])
    np.testing.assert_array_equal(image[:40, 40:80], original[:, ::-1])
    np.testing.assert_array_equal(image[:40, 80:], original[:, :20])
    assert first_images(source, 1, (33, 33), 0)[0].shape == (33, 33, 3)


def test_letterboxed_images_are_mirrored_too():
    source = Source("test", ("a",), 1, lambda _: Example(np.full((20, 40, 3), 7, np.uint8), np.zeros((20, 40)), "x"))
    assert np.unique(first_images(source, 1, (64, 64), 0, "letterbox")[0]).tolist() == [7]


def test_compared_images_have_no_padding():
    network = ModelConfig(backbone="vgg16", depth_multiplier=0.05, head="v1", aspp_rates=(6,), aspp_channels=8)
    config = ExportConfig("run", agreement_images=1, miou_images=0)
    reference = make_reference(build_model(network, 16, 65), shapes_source("val", 40), CLASSES, config)
    image = reference.images[0]
    np.testing.assert_array_equal(image[40:], image[39:14:-1])


def test_scenes_are_drawn_if_there_is_no_source():
    images = first_images(None, 3, (64, 48), 5)
    assert [image.shape for image in images] == [(64, 48, 3)] * 3
    (scene,) = (e.image for e in shapes_source("export", 48, 5).examples(1))
    np.testing.assert_array_equal(images[0][:48], scene)
