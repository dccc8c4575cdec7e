"""PASCAL VOC segmentation in the devkit's own layout, with the masks of the Semantic Boundaries Dataset if wanted."""

from pathlib import Path

import numpy as np

from deeplab.datasets.image_files import read_image, read_list, read_mask, required_folder
from deeplab.datasets.source import Example, ExampleError, Source, checked_example
from deeplab.errors import UserError

CLASSES = (
    "background", "aeroplane", "bicycle", "bird", "boat", "bottle", "bus", "car", "cat", "chair", "cow",
    "diningtable", "dog", "horse", "motorbike", "person", "pottedplant", "sheep", "sofa", "train", "tvmonitor",
)  # fmt: skip
"""Names by id, in the devkit's spelling."""

TRAIN_AUG = "train_aug"
"""The split that joins the training pictures of VOC with all of SBD but VOC's validation pictures."""


def voc_source(
    root: str | Path,
    split: str,
    name: str = "VOC2012",
    classes: tuple[str, ...] = CLASSES,
    sbd: str | Path | None = None,
) -> Source:
    """A split of a VOCdevkit, read from its JPEG and palette PNG files.

    Args:
        root: the VOCdevkit folder, or the folder of the year within it.
        split: a list in ImageSets/Segmentation (train, val, trainval or one of your own), or "train_aug".
        name: folder of the year within `root`.
        classes: names by id, where a set of your own is kept in this layout.
        sbd: folder of the Semantic Boundaries Dataset, for "train_aug"; see `sbd_masks`.

    Raises:
        UserError: a folder or the list is missing. What is wrong with a file shows when it is loaded.
    """
    folder = devkit_year(Path(root), name)
    pairs = split_files(folder, split, None if sbd is None else Path(sbd))

    def load(index: int) -> Example:
        image, mask = pairs[index]
        return checked_example(read_image(image), read_any_mask(mask), classes, str(image), str(mask))

    names, files = tuple(image.stem for image, _ in pairs), tuple(path for pair in pairs for path in pair)
    return Source(f"{name}/{split}", classes, len(pairs), load, names, files)


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


def split_files(folder: Path, split: str, sbd: Path | None = None) -> list[tuple[Path, Path]]:
    """(picture, mask) of each example of a split in the folder of a year.

    The split "train_aug" is a list of that name if there is one, else VOC's train and all of SBD without VOC's val;
    VOC's own mask is taken wherever there is one.

    Raises:
        UserError: the list is missing, or the masks of SBD are wanted and not there.
    """
    listed = folder / "ImageSets" / "Segmentation" / f"{split}.txt"
    if split != TRAIN_AUG:
        return [_own_files(folder, name) for name in _names(listed)]
    masks = sbd_masks(folder, sbd)
    if listed.is_file():
        names = _names(listed)
    else:
        validation = set(_names(listed.with_name("val.txt")))
        names = sorted({*_names(listed.with_name("train.txt")), *masks} - validation)
    own = {path.stem for path in (folder / "SegmentationClass").glob("*.png")}
    lacking = [name for name in names if name not in own and name not in masks]
    if lacking:
        raise UserError(f"split {TRAIN_AUG}", f"no mask for {lacking[0]} and {len(lacking) - 1} more", "complete SBD")
    return [_own_files(folder, n) if n in own else (_own_files(folder, n)[0], masks[n]) for n in names]


def sbd_masks(folder: Path, sbd: Path | None) -> dict[str, Path]:
    """Files of SBD's masks by name.

    They are the `cls/*.mat` of the original (`sbd`, `sbd/dataset` or `sbd/benchmark_RELEASE/dataset`), or PNG masks in
    `sbd` itself or in SegmentationClassAug beside VOC's own.

    Raises:
        UserError: none of these is there.
    """
    places = [folder / "SegmentationClassAug"] if sbd is None else [required_folder(sbd, "data.sbd")]
    for place in places:
        for masks in (place, place / "cls", place / "dataset/cls", place / "benchmark_RELEASE/dataset/cls"):
            found = {path.stem: path for path in masks.glob("*.*") if path.suffix in (".png", ".mat")}
            if found:
                return found
    raise UserError(
        f"split {TRAIN_AUG}",
        f"no masks of the Semantic Boundaries Dataset in {places[0]}",
        "data.sbd=FOLDER: the one with cls/*.mat, or one of PNG masks",
    )


def read_any_mask(path: Path) -> np.ndarray:
    """Class ids `[h, w]` uint8 of a PNG mask, or of a .mat file of SBD (its struct GTcls).

    Raises:
        UserError: missing or unreadable.
    """
    if path.suffix != ".mat":
        return read_mask(path)
    try:
        from scipy.io import loadmat
    except ImportError:
        raise UserError(str(path), "reading .mat files needs scipy", "pip install scipy, or give SBD as PNG") from None
    try:
        content = loadmat(str(path), squeeze_me=True, struct_as_record=False)
        return np.ascontiguousarray(content["GTcls"].Segmentation, np.uint8)
    except Exception as error:  # scipy raises many kinds for a file that is no MATLAB file
        raise ExampleError("unreadable", str(path), f"cannot be read ({error})", "restore it, or take it out") from None


def _names(listed: Path) -> list[str]:
    # Lists of the detection task carry a +-1 behind each name.
    return [line.split()[0] for line in read_list(listed)]


def _own_files(folder: Path, name: str) -> tuple[Path, Path]:
    return folder / "JPEGImages" / f"{name}.jpg", folder / "SegmentationClass" / f"{name}.png"
