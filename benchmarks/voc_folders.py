"""Folders of images and masks, made from PASCAL VOC: `make_folders(VOCDEVKIT, DIR)`.

- voc: 1,907 training and 120 validation images, the 21 classes.
- animal: 300 and 120 images, animals against everything else.
- rare: 378 and 220 images, 14 classes; the most frequent is in 160 training images, the rarest in 6.
- large: 26 and 30 photos of 12 megapixels, enlarged eight times; background, person, dog and car.
- photos: 225 and 120 images of `val`; person, animal, vehicle and indoor object.

The official weights have seen the images of the first four, whose validation images are taken from 220 images of
`train`, but none of `photos`. The folders are always the same.
"""

import random
import shutil
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image

from deeplab.datasets.source import IGNORE_LABEL
from deeplab.datasets.voc import CLASSES, YEAR, devkit_year, read_any_mask, split_files
from deeplab.rendering.masks import id_mask

ANIMALS = ("bird", "cat", "cow", "dog", "horse", "sheep")
VEHICLES = ("aeroplane", "bicycle", "boat", "bus", "car", "motorbike", "train")
INDOOR = ("bottle", "chair", "diningtable", "pottedplant", "sofa", "tvmonitor")
BY_FREQUENCY = (
    *("person", "dog", "cat", "car", "chair", "horse", "sheep", "bird"),
    *("train", "bottle", "pottedplant", "tvmonitor", "bicycle"),
)
MOST_FREQUENT, RAREST = 160, 6
"""Number of training images with the first and with the last class of `BY_FREQUENCY`; between them it is geometric."""

LARGE, LARGE_FACTOR = ("person", "dog", "car"), 8
HELD_OUT, VALIDATION = 220, 120
"""Number of images that are not for training, and how many of them validate `voc` and `animal`."""


@dataclass(frozen=True)
class Images:
    """The images of VOC, divided.

    Attributes:
        files: image and mask file by name.
        train: names for training.
        val: names for validation.
        unseen: names of `val` of VOC, which the official weights have not seen.
    """

    files: dict[str, tuple[Path, Path]]
    train: list[str]
    val: list[str]
    unseen: list[str]

    def label(self, name: str, ids: dict[str, int]) -> np.ndarray:
        """Return the ids of an image by class name, uint8 `[h, w]`; 0 for all other classes, 255 for ignored pixels."""
        table = np.zeros(256, np.uint8)
        table[IGNORE_LABEL] = IGNORE_LABEL
        for class_name, class_id in ids.items():
            table[CLASSES.index(class_name)] = class_id
        return table[read_any_mask(self.files[name][1])]

    def contents(self, name: str, ids: dict[str, int]) -> set[int]:
        """Return the ids of `label` that an image contains, without 0 and 255."""
        return set(np.unique(self.label(name, ids)).tolist()) - {0, IGNORE_LABEL}

    def has_usual_size(self, name: str) -> bool:
        """Return whether an image has the usual size of VOC, in either orientation."""
        with Image.open(self.files[name][0]) as image:
            return sorted(image.size) == [375, 500]


def make_folders(voc: str, folder: Path) -> dict[str, Path]:
    """Write the folders into `folder`, unless they are there, and return them by name.

    Raises:
        UserError: `voc` is not a VOCdevkit with train_aug.
    """
    makers: dict[str, Callable[[Images, Path], None]] = {
        "voc": make_voc,
        "animal": make_animal,
        "rare": make_rare,
        "large": make_large,
        "photos": make_photos,
    }
    images = open_images(voc)
    for name, make in makers.items():
        if not (folder / name).is_dir():
            aside = folder / f"{name}.part"
            shutil.rmtree(aside, ignore_errors=True)
            make(images, aside)
            aside.rename(folder / name)
    return {name: folder / name for name in makers}


def open_images(voc: str) -> Images:
    """Divide the images of a VOCdevkit; raise UserError if it has no train_aug."""
    year = devkit_year(Path(voc), YEAR)
    train, aug, val = (
        {pair[0].stem: pair for pair in split_files(year, split)} for split in ("train", "train_aug", "val")
    )
    held_out = sorted(random.Random(7).sample(list(train), HELD_OUT))
    return Images(aug | val, [name for name in aug if name not in set(held_out)], held_out, list(val))


def write(
    folder: Path,
    images: Images,
    ids: dict[str, int],
    train: Sequence[str],
    val: Sequence[str],
    *,
    factor: int = 1,
    classes: Sequence[str] = (),
) -> None:
    """Write a folder of images and masks: images/, masks/, train.txt, val.txt and classes.txt.

    Args:
        folder: the folder.
        images: the images of VOC.
        ids: class id by name of a VOC class; all other classes are 0.
        train: names of the images for training.
        val: names of the images for validation.
        factor: how many times as large the images and masks are per side.
        classes: names of the classes by id; by default "background" and the names of `ids`.
    """
    for part in ("images", "masks"):
        (folder / part).mkdir(parents=True, exist_ok=True)
    for name in (*train, *val):
        label = id_mask(images.label(name, ids))
        file = folder / "images" / f"{name}.jpg"
        if factor == 1:
            shutil.copyfile(images.files[name][0], file)
        else:
            with Image.open(images.files[name][0]) as image:
                size = (image.width * factor, image.height * factor)
                image.convert("RGB").resize(size, Image.Resampling.BICUBIC).save(file, quality=90)
            label = label.resize(size, Image.Resampling.NEAREST)
        label.save(folder / "masks" / f"{name}.png")
    names = {class_id: class_name for class_name, class_id in ids.items()}
    classes = classes or ["background"] + [names[i] for i in range(1, len(names) + 1)]
    for split, lines in (("train", train), ("val", val), ("classes", classes)):
        (folder / f"{split}.txt").write_text("\n".join(lines) + "\n", encoding="utf-8")


def numbered(names: Sequence[str]) -> dict[str, int]:
    """Return the ids 1, 2, ... by class name."""
    return {name: index for index, name in enumerate(names, 1)}


def make_voc(images: Images, folder: Path) -> None:
    """Write a large set with the classes of the official weights."""
    write(folder, images, numbered(CLASSES[1:]), images.train, images.val[:VALIDATION])


def make_animal(images: Images, folder: Path) -> None:
    """Write a binary set."""
    train = random.Random(1).sample(images.train, 300)
    write(folder, images, dict.fromkeys(ANIMALS, 1), train, images.val[:VALIDATION], classes=("other", "animal"))


def make_rare(images: Images, folder: Path) -> None:
    """Write a set in which the classes are unequally frequent."""
    ids = numbered(BY_FREQUENCY)
    ratio = (RAREST / MOST_FREQUENT) ** (1 / (len(ids) - 1))
    wanted = {class_id: round(MOST_FREQUENT * ratio ** (class_id - 1)) for class_id in ids.values()}
    pool = list(images.train)
    random.Random(2).shuffle(pool)
    contents = {name: images.contents(name, ids) for name in pool}
    chosen: dict[str, set[int]] = {}
    counts: Counter[int] = Counter()
    # The rarest class first. An image must not exceed the number of a rarer class.
    for class_id in sorted(wanted, reverse=True):
        for name, found in contents.items():
            if name in chosen or class_id not in found or counts[class_id] >= wanted[class_id]:
                continue
            if not any(other > class_id and counts[other] >= wanted[other] for other in found):
                chosen[name] = found
                counts.update(found)
    write(folder, images, ids, list(chosen), images.val)


def make_large(images: Images, folder: Path) -> None:
    """Write few photos of 12 megapixels."""
    ids, generator = numbered(LARGE), random.Random(3)

    def take(names: Sequence[str], count: int) -> list[str]:
        pool = list(names)
        generator.shuffle(pool)
        taken: list[str] = []
        counts: Counter[int] = Counter()
        for name in pool:
            found = images.contents(name, ids)
            if found and images.has_usual_size(name) and min(counts[i] for i in found) < (count + 2) // len(LARGE):
                taken.append(name)
                counts.update(found)
            if len(taken) == count:
                break
        return taken

    write(folder, images, ids, take(images.train, 30), take(images.val, 40), factor=LARGE_FACTOR)


def make_photos(images: Images, folder: Path) -> None:
    """Write a set of everyday photos that the official weights have not seen."""
    groups = (("person",), ANIMALS, VEHICLES, INDOOR)
    ids = {name: class_id for class_id, group in enumerate(groups, 1) for name in group}
    names = list(images.unseen)
    random.Random(0).shuffle(names)
    train, val = names[:-VALIDATION], names[-VALIDATION:]
    write(folder, images, ids, train, val, classes=("background", "person", "animal", "vehicle", "indoor"))
