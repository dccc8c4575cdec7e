"""Images without masks next to labeled ones."""

import shutil
import warnings
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from deeplab.config import DataConfig, DistillationConfig, TrainConfig, TrainingConfig
from deeplab.datasets.open import open_source, open_training_source
from deeplab.datasets.unlabelled import warn_about_validation_images
from deeplab.errors import UserError


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """A folder with three labeled images of brightness 10, and two other images of brightness 200 and 201."""
    for folder in ("images", "masks", "more"):
        (tmp_path / folder).mkdir()
    for name in "abc":
        Image.fromarray(np.full((40, 50, 3), 10, np.uint8)).save(tmp_path / "images" / f"{name}.png")
        Image.fromarray(np.ones((40, 50), np.uint8)).save(tmp_path / "masks" / f"{name}.png")
    for number in range(2):
        Image.fromarray(np.full((60, 36, 3), 200 + number, np.uint8)).save(tmp_path / "more" / f"{number}.png")
    (tmp_path / "classes.txt").write_text("background\nthing\n")
    return tmp_path


def config(root: Path, **changes: object) -> DataConfig:
    return DataConfig(source="folder", root=str(root), **{"unlabelled": str(root / "more"), **changes})


def test_unlabeled_images_follow_the_labeled_ones_and_are_ignored(root):
    source = open_training_source(config(root, train_split="all"))
    examples = list(source.examples())
    assert [int(example.image[0, 0, 0]) for example in examples] == [10, 10, 10, 200, 201]
    assert [set(example.label.ravel()) for example in examples] == [{1}] * 3 + [{255}] * 2
    assert examples[3].label.shape == (60, 36)


def test_unlabeled_images_are_resized_as_the_labeled_ones(root):
    letterboxed = open_training_source(config(root, train_split="all", resize="letterbox", image_size=33))
    assert letterboxed.load(3).image.shape == (33, 20, 3)  # 60x36 scaled by 33 / 60
    scaled = open_training_source(config(root, train_split="all", min_resize_value=72))
    assert scaled.load(3).image.shape == (120, 72, 3)


def test_validation_images_without_masks_are_reported(root):
    val = open_source(config(root), "all")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        warn_about_validation_images(root / "more", val)  # Other images, and none of the same content.
    shutil.copy(root / "images" / "b.png", root / "more" / "copy.png")
    # The three images of the fixture are equal, so that each is in the folder.
    with pytest.warns(UserWarning, match=r"contains 3 of 3 validation images \(a\.png, b\.png, c\.png\)"):
        warn_about_validation_images(root / "more", val)
    Image.fromarray(np.full((40, 50, 3), 11, np.uint8)).save(root / "images" / "b.png")
    with pytest.warns(UserWarning, match=r"contains 2 of 3 validation images \(a\.png, c\.png\)"):
        warn_about_validation_images(root / "more", val)


def test_a_folder_without_images_is_refused(root):
    (root / "empty").mkdir()
    with pytest.raises(UserError, match=r"data\.unlabelled=.*empty: no images"):
        open_training_source(config(root, unlabelled=str(root / "empty")))


def test_drawn_scenes_take_no_unlabeled_images(root):
    with pytest.raises(UserError, match=r"data\.unlabelled: .* is endless"):
        open_training_source(DataConfig(unlabelled=str(root / "more")))


def test_unlabeled_images_need_a_teacher(root):
    teacher = DistillationConfig(teacher="run")
    TrainConfig(data=config(root), training=TrainingConfig(distillation=teacher))
    with pytest.raises(UserError, match=r"data\.unlabelled: .* need a teacher; add training\.distillation\.teacher="):
        TrainConfig(data=config(root))
    labels_only = DistillationConfig(teacher="run", ignored_pixels=False)
    with pytest.raises(UserError, match=r"training\.distillation\.ignored_pixels: expected true"):
        TrainConfig(data=config(root), training=TrainingConfig(distillation=labels_only))
