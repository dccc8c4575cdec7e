"""PASCAL VOC, copied once into TFRecord files."""

import contextlib
from pathlib import Path
from typing import Any

from deeplab.config import DataConfig
from deeplab.datasets.catalogue import source_of_builder
from deeplab.datasets.fingerprint import fingerprint_of_files
from deeplab.datasets.source import Source
from deeplab.datasets.voc import CLASSES, devkit_year, sbd_masks, split_files
from deeplab.errors import UserError

_SPLITS = ("train", "val", "trainval", "train_aug")


def prepared_voc_source(config: DataConfig, split: str) -> Source:
    """A split of the VOCdevkit `config.root` by way of TFRecord files in the folder `config.prepared`.

    The files are written the first time, with TFDS's progress bars, and again when a list or file of the devkit has
    changed. Afterwards the devkit itself is no longer needed.

    Raises:
        UserError: the devkit is not as it should be, or neither it nor its copy is there.
    """
    if split not in _SPLITS:
        raise UserError(
            f"split {split}", "is not prepared", f"splits: {', '.join(_SPLITS)}; or leave data.prepared out"
        )
    folder = Path(config.prepared or "")
    copies = sorted(folder.glob("*/voc_segmentation")) if folder.is_dir() else []
    if config.root is None or (copies and not Path(config.root).exists()):
        if len(copies) != 1:
            raise UserError("data.root", "a folder is needed", "data=voc data.root=FOLDER")
        builder = _builder(copies[0].parent, config)
    else:
        builder = _builder(folder / _fingerprint(config)[:16], config)
        _prepare(builder, folder)
    return source_of_builder(builder, split, config)


def _fingerprint(config: DataConfig) -> str:
    """Of all files that are copied."""
    year = devkit_year(Path(config.root or ""), config.name or "VOC2012")
    files = [path for split in ("train", "val", "trainval") for pair in split_files(year, split) for path in pair]
    with contextlib.suppress(UserError):
        files += sbd_masks(year, None if config.sbd is None else Path(config.sbd)).values()
    lists = (year / "ImageSets" / "Segmentation").glob("*.txt")
    return fingerprint_of_files([*sorted(lists), *files])


def _builder(folder: Path, config: DataConfig) -> Any:
    """The builder of the repository, with its files in `folder`."""
    from data.voc_segmentation.voc_segmentation_dataset_builder import Builder

    if (config.classes or CLASSES) != CLASSES:
        raise UserError("data.classes", "prepared VOC has VOC's classes", "leave data.prepared or data.classes out")
    return Builder(devkit=config.root, sbd=config.sbd, data_dir=str(folder))


def _prepare(builder: Any, folder: Path) -> None:
    """Writes the TFRecord files where they are not there."""
    if builder.data_path.exists():
        return
    print(f"preparing PASCAL VOC in {folder} (once)")
    try:
        builder.download_and_prepare()
    except OSError as error:
        raise UserError(f"data.prepared={folder}", f"cannot be written ({error})", "choose another folder") from None
