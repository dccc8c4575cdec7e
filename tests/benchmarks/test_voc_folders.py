"""The folders made from PASCAL VOC, on a small devkit made by hand."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from benchmarks import voc_folders
from benchmarks.voc_folders import ANIMALS, Images, make_large, make_photos, make_rare, numbered, open_images, write
from deeplab.datasets.voc import CLASSES


def devkit(
    root: Path, fine: dict[str, list[str]], augmented: dict[str, list[str]], unseen: dict[str, list[str]]
) -> Path:
    """Write a devkit of 500x375 images, each divided into columns of the given classes."""
    year = root / "VOCdevkit" / "VOC2012"
    lists = year / "ImageSets" / "Segmentation"
    for folder in (lists, year / "JPEGImages", year / "SegmentationClass", year / "SegmentationClassAug"):
        folder.mkdir(parents=True)
    for split, images, masks in (
        ("train", fine, "SegmentationClass"),
        ("train_aug", augmented, "SegmentationClassAug"),
        ("val", unseen, "SegmentationClass"),
    ):
        (lists / f"{split}.txt").write_text("\n".join(images) + "\n")
        for name, classes in images.items():
            Image.new("RGB", (500, 375), (9, 9, 9)).save(year / "JPEGImages" / f"{name}.jpg")
            ids = np.repeat([CLASSES.index(c) for c in classes], 500 // len(classes)).astype(np.uint8)
            mask = Image.fromarray(np.tile(ids, (375, 1)))
            mask.resize((500, 375), Image.Resampling.NEAREST).save(year / masks / f"{name}.png")
    return root / "VOCdevkit"


@pytest.fixture
def images(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Images:
    monkeypatch.setattr(voc_folders, "HELD_OUT", 2)
    fine = {f"fine{i}": ["background", "dog"] for i in range(3)}
    augmented = {f"aug{i}": ["person", "bicycle" if i < 9 else "dog"] for i in range(20)}
    unseen = {f"val{i}": ["sofa", "sheep"] for i in range(4)}
    return open_images(str(devkit(tmp_path, fine, augmented | fine, unseen)))


def test_validation_images_are_not_for_training(images: Images):
    assert len(images.val) == 2
    assert set(images.val) < {"fine0", "fine1", "fine2"}
    assert not set(images.val) & set(images.train)
    assert len(images.train) == 21


def test_labels_have_the_ids_of_the_set_and_0_for_other_classes(images: Images):
    label = images.label("aug0", {"bicycle": 5})
    assert (label[0, 100], label[0, 400]) == (0, 5)
    assert images.contents("aug12", dict.fromkeys(ANIMALS, 1)) == {1}


def test_rare_classes_are_in_few_training_images(images: Images, tmp_path: Path):
    """6 images with the rarest class, bicycle, each with a person; 126 with dogs, the second, of which there are 12."""
    make_rare(images, tmp_path / "rare")
    chosen = (tmp_path / "rare" / "train.txt").read_text().split()
    ids = numbered(voc_folders.BY_FREQUENCY)
    found = [images.contents(name, ids) for name in chosen]
    assert sum(ids["bicycle"] in f for f in found) == 6
    assert sum(ids["dog"] in f for f in found) == 12


def test_large_photos_are_enlarged_with_their_masks(images: Images, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(voc_folders, "LARGE_FACTOR", 2)
    make_large(images, tmp_path / "large")
    (name, *_) = (tmp_path / "large" / "val.txt").read_text().split()
    assert Image.open(tmp_path / "large" / "images" / f"{name}.jpg").size == (1000, 750)
    mask = np.array(Image.open(tmp_path / "large" / "masks" / f"{name}.png"))
    assert mask.shape == (750, 1000)
    assert set(np.unique(mask)) == {0, voc_folders.LARGE.index("dog") + 1}


def test_a_folder_lists_its_classes_by_id(images: Images, tmp_path: Path):
    write(tmp_path / "set", images, {"dog": 2, "cat": 1}, ["fine0"], ["fine1"])
    assert (tmp_path / "set" / "classes.txt").read_text().split() == ["background", "cat", "dog"]


def test_a_binary_folder_has_the_given_names(images: Images, tmp_path: Path):
    ids = dict.fromkeys(ANIMALS, 1)
    write(tmp_path / "set", images, ids, ["fine0"], ["fine1"], classes=("other", "animal"))
    assert (tmp_path / "set" / "classes.txt").read_text() == "other\nanimal\n"


def test_photos_are_those_of_val_with_merged_classes(images: Images, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(voc_folders, "VALIDATION", 1)
    make_photos(images, tmp_path / "photos")
    train, val = ((tmp_path / "photos" / f"{split}.txt").read_text().split() for split in ("train", "val"))
    assert (len(train), len(val), {*train, *val}) == (3, 1, set(images.unseen))
    assert (tmp_path / "photos" / "classes.txt").read_text().split()[2:] == ["animal", "vehicle", "indoor"]
    mask = np.array(Image.open(tmp_path / "photos" / "masks" / f"{val[0]}.png"))
    assert (mask[0, 100], mask[0, 400]) == (4, 2)
