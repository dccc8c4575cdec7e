"""The scores of chunks of images are kept: an interrupted or extended measurement evaluates only what is missing."""

from pathlib import Path

import numpy as np
import pytest

from benchmarks import frontier_scores
from benchmarks.frontier_scores import kept_folder, measured_scores
from deeplab.datasets.source import Example, Source
from deeplab.errors import UserError
from deeplab.prediction.predictor import Predictor

CLASSES = ("a", "b", "c")


def load(index: int) -> Example:
    """Return an image whose red value is its index; the label is a border between the classes 0 and 1."""
    image = np.full((4, 4, 3), index, np.uint8)
    return Example(image, np.repeat([[0, 0, 1, 1]], 4, axis=0).astype(np.uint8), f"image {index}")


SOURCE = Source("val", CLASSES, 50, load)


class Model:
    """A model that labels every pixel of an image with its index modulo 2, and fails from an index on."""

    def __init__(self, fails_at: int = 1000) -> None:
        self.seen: list[int] = []
        self.fails_at, self.loaded = fails_at, 0

    def __call__(self) -> Predictor:
        self.loaded += 1
        return Predictor(self.run)

    def run(self, image: np.ndarray) -> np.ndarray:
        index = int(image[0, 0, 0])
        if index == self.fails_at:
            raise KeyboardInterrupt
        self.seen.append(index)
        return np.full(image.shape[:2], index % 2, np.int64)


@pytest.fixture
def folder(tmp_path) -> Path:
    return kept_folder(tmp_path, "0" * 64, "auto", "data")


def test_scores_are_those_of_the_images(folder):
    scores, new = measured_scores(Model(), SOURCE, 3, folder)
    # Images 0 and 2 are predicted as class 0, image 1 as class 1: 8 + 8 and 8 pixels are correct of 24 + 24.
    assert new == 3
    assert scores.matrix.tolist() == [[16, 8, 0], [16, 8, 0], [0, 0, 0]]
    assert scores.labeled_miou == pytest.approx((16 / 40 + 8 / 32) / 2)
    assert scores.names == ("image 0", "image 1", "image 2")


def test_more_images_evaluate_only_new_chunks_and_fewer_complete_ones_none(folder, monkeypatch):
    monkeypatch.setattr(frontier_scores, "CHUNK", 3)
    measured_scores(Model(), SOURCE, 3, folder)
    more = Model()
    scores, new = measured_scores(more, SOURCE, 7, folder)
    # Chunks of 3 and of 4 images: the last one includes the remainder.
    assert (more.seen, new) == ([3, 4, 5, 6], 4)
    assert scores.matrix.sum() == 7 * 16
    assert scores.matrix[0].tolist() == [4 * 8, 3 * 8, 0]
    fewer = Model()
    scores, new = measured_scores(fewer, SOURCE, 3, folder)
    assert (fewer.loaded, new) == (0, 0)
    assert scores.matrix.tolist() == [[16, 8, 0], [16, 8, 0], [0, 0, 0]]
    assert scores.names == ("image 0", "image 1", "image 2")


def test_an_interrupted_measurement_resumes_from_the_last_written_images(folder, monkeypatch):
    monkeypatch.setattr(frontier_scores, "CHUNK", 4)
    with pytest.raises(KeyboardInterrupt):
        measured_scores(Model(fails_at=10), SOURCE, 12, folder)
    resumed = Model()
    scores, new = measured_scores(resumed, SOURCE, 12, folder)
    assert (resumed.seen, new) == ([8, 9, 10, 11], 4)
    uninterrupted, _ = measured_scores(Model(), SOURCE, 12, folder.with_name("other"))
    np.testing.assert_array_equal(scores.counts, uninterrupted.counts)
    assert scores.names == uninterrupted.names


def test_another_file_fit_or_data_has_other_scores(tmp_path):
    first = kept_folder(tmp_path, "a" * 64, "auto", "data")
    others = [("b" * 64, "auto", "data"), ("a" * 64, "pad", "data"), ("a" * 64, "auto", "other")]
    assert len({first, *(kept_folder(tmp_path, *other) for other in others)}) == 4
    assert kept_folder(tmp_path, "a" * 64, "auto", "data") == first


def test_stretched_images_are_counted(folder):
    model = Model()

    def predictor() -> Predictor:
        return Predictor(model.run, image_size=(8, 8), fit="stretch")

    scores, _ = measured_scores(predictor, SOURCE, 3, folder)
    assert scores.stretched == 3
    assert measured_scores(predictor, SOURCE, 3, folder)[0].stretched == 3


def test_a_damaged_file_is_named(folder):
    measured_scores(Model(), SOURCE, 3, folder)
    (file,) = folder.iterdir()
    file.write_bytes(b"PK no archive")
    with pytest.raises(UserError, match=rf"{file.name}: is damaged; delete it"):
        measured_scores(Model(), SOURCE, 3, folder)


def test_an_error_names_the_image(folder):
    def predictor() -> Predictor:
        return Predictor(Model().run, image_size=(3, 3), fit="pad")

    with pytest.raises(UserError, match=r"^image 0: "):
        measured_scores(predictor, SOURCE, 1, folder)
