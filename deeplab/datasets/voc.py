"""PASCAL VOC segmentation in the devkit's own layout."""

from pathlib import Path

from deeplab.datasets.files import read_image, read_list, read_mask, required_folder
from deeplab.datasets.source import Example, Source, checked

CLASSES = (
    "background", "aeroplane", "bicycle", "bird", "boat", "bottle", "bus", "car", "cat", "chair", "cow",
    "diningtable", "dog", "horse", "motorbike", "person", "pottedplant", "sheep", "sofa", "train", "tvmonitor",
)  # fmt: skip
"""Names by id, in the devkit's spelling."""


def voc_source(root: str | Path, split: str, name: str = "VOC2012", classes: tuple[str, ...] = CLASSES) -> Source:
    """A split of a VOCdevkit, read from its JPEG and palette PNG files.

    Args:
        root: the VOCdevkit folder, or the folder of the year within it.
        split: a list in ImageSets/Segmentation: train, val, trainval or one of your own.
        name: folder of the year within `root`.
        classes: names by id, where a set of your own is kept in this layout.

    Raises:
        UserError: a folder or the list is missing. What is wrong with a file shows when it is loaded.
    """
    folder = devkit_year(Path(root), name)
    names = read_list(folder / "ImageSets" / "Segmentation" / f"{split}.txt")
    # Lists of the detection task carry a +-1 behind each name.
    names = [line.split()[0] for line in names]

    def load(index: int) -> Example:
        image_path = folder / "JPEGImages" / f"{names[index]}.jpg"
        label_path = folder / "SegmentationClass" / f"{names[index]}.png"
        return checked(read_image(image_path), read_mask(label_path), classes, str(image_path), str(label_path))

    return Source(f"{name}/{split}", classes, len(names), load)


def devkit_year(root: Path, name: str) -> Path:
    """The folder with ImageSets, JPEGImages and SegmentationClass, whether `root` is it or holds it.

    Raises:
        UserError: there is none.
    """
    folder = root if (root / "ImageSets").is_dir() else root / name
    required_folder(root, "data.root names the VOCdevkit folder")
    required_folder(folder, f"the VOCdevkit should hold {name}")
    for part in ("ImageSets/Segmentation", "JPEGImages", "SegmentationClass"):
        required_folder(folder / part, "part of a VOCdevkit with segmentation")
    return folder
