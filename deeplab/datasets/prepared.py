"""PASCAL VOC, copied once into TFRecord files.

Each split has a copy of its own, named after the split and the state of the devkit's files:

    FOLDER/train-0123456789abcdef/voc_segmentation/1.0.0/*.tfrecord*

TFDS writes it aside and renames it when it is whole, so a preparation that was cut off leaves nothing that is read.
"""

import contextlib
import dataclasses
import io
import os
import re
import shutil
import sys
import tempfile
from pathlib import Path
from typing import Any

import tensorflow as tf

from deeplab.config import DataConfig
from deeplab.datasets.catalogue import source_of_builder
from deeplab.datasets.fingerprint import fingerprint_of_files
from deeplab.datasets.source import Source
from deeplab.datasets.voc import CLASSES, devkit_year, split_files
from deeplab.errors import UserError

AUTO = "auto"
"""The value of `data.prepared` by which a training copies the devkit into its run folder.

Nothing is written outside a run folder, so the copy lies within it, and it is made once all the same: a run takes over
the copy of a run beside it, by hard links, which cost neither time nor space and outlive the other run.
"""

COPIES = "prepared"
"""Where the copies lie in a run folder."""


def prepared_voc_source(config: DataConfig, split: str) -> Source:
    """A split of the VOCdevkit `config.root` by way of TFRecord files in the folder `config.prepared`.

    The files are written the first time, with TFDS's progress bars, and again when a list or file of the devkit has
    changed. Afterwards the devkit itself is no longer needed. The examples are those of `voc_source`, in its order.

    Raises:
        UserError: the devkit is not as it should be, or neither it nor its copy is there, or the folder cannot be
            written.
    """
    if not _can_copy(config, split):
        what = f"data.prepared={config.prepared}"
        raise UserError(what, "takes VOC's own classes and splits named by letters and digits", "data.prepared=null")
    folder = Path(config.prepared or "")
    pairs: list[tuple[Path, Path]] = []
    if _devkit_is_there(config):
        pairs = _pairs(config, split)
        copy = folder / _name(config, split, pairs)
        if not _is_whole(copy):
            print(f"data: copying {split} of PASCAL VOC into {copy} (once)")
            _write(copy, config, split)
    else:
        copies = [copy for copy in sorted(folder.glob(f"{split}-*")) if _is_whole(copy)]
        if len(copies) != 1:
            raise UserError("data.root", "a folder is needed", "data=voc data.root=FOLDER")
        (copy,) = copies
    source = source_of_builder(_builder(copy, config, split), split, config)
    name, names = f"{config.name or 'VOC2012'}/{split}", tuple(image.stem for image, _ in pairs)
    return dataclasses.replace(source, name=name, names=names)


def prepared_in_run(config: DataConfig, run: Path) -> DataConfig:
    """What a training reads where `data.prepared=auto`: copies in its run folder, made or taken over if need be.

    Devkits that cannot be copied (classes of their own, a picture at fault) are read as they are.

    Args:
        config: the data.
        run: the run folder.

    Returns:
        `config` with the folder of the copies as `prepared`, or None where there are none; anything but "auto" is given
        back as it is.

    Raises:
        UserError: the devkit is not as it should be, or the run folder cannot be written.
    """
    if config.prepared != AUTO:
        return config
    as_it_is, copied = (dataclasses.replace(config, prepared=p) for p in (None, str(run / COPIES)))
    splits = dict.fromkeys((config.train_split, config.val_split))
    if config.source != "voc" or not all(_can_copy(config, split) for split in splits):
        return as_it_is
    if not _devkit_is_there(config):
        there = all(any(map(_is_whole, (run / COPIES).glob(f"{split}-*"))) for split in splits)
        return copied if there else as_it_is
    wanted = {split: run / COPIES / _name(config, split, _pairs(config, split)) for split in splits}
    lacking = {split: copy for split, copy in wanted.items() if not _is_whole(copy) and not _taken_over(copy, run)}
    if lacking:
        print(f"data: copying PASCAL VOC into {run / COPIES}, once; data.prepared=null reads the devkit itself")
    for split, copy in lacking.items():
        shutil.rmtree(copy, ignore_errors=True)  # what a preparation that was killed has left
        try:
            _write(copy, config, split)
        except _UnfitError as error:
            print(f"data: not copied, for {error}")
            shutil.rmtree(copy, ignore_errors=True)
            return as_it_is
    return copied


class _UnfitError(UserError):
    """An example of the devkit cannot be used, so there is no copy."""


def _devkit_is_there(config: DataConfig) -> bool:
    return config.root is not None and Path(config.root).exists()


def _can_copy(config: DataConfig, split: str) -> bool:
    return (config.classes or CLASSES) == CLASSES and re.fullmatch(r"\w+", split) is not None


def _pairs(config: DataConfig, split: str) -> list[tuple[Path, Path]]:
    """(picture, mask) of each example."""
    year = devkit_year(Path(config.root or ""), config.name or "VOC2012")
    return split_files(year, split, None if config.sbd is None else Path(config.sbd))


def _name(config: DataConfig, split: str, pairs: list[tuple[Path, Path]]) -> str:
    """Of the copy: changes with the split, its list and any of its files, not with where they lie."""
    return f"{split}-{fingerprint_of_files(path for pair in pairs for path in pair)[:16]}"


def _builder(copy: Path, config: DataConfig, split: str) -> Any:
    """The builder of the repository for one split, with its files in `copy`."""
    from data.voc_segmentation.voc_segmentation_dataset_builder import Builder

    devkit = str(devkit_year(Path(config.root or ""), config.name or "VOC2012")) if _devkit_is_there(config) else None
    return Builder(devkit=devkit, sbd=config.sbd, only=split, data_dir=str(copy))


def _is_whole(copy: Path) -> bool:
    # TFDS renames the folder of the version last of all.
    return any(copy.glob("voc_segmentation/[0-9]*/dataset_info.json"))


def _taken_over(copy: Path, run: Path) -> bool:
    """Whether a run beside this one had the copy, which is this one's too now."""
    others = [other for other in sorted(run.parent.glob(f"*/{COPIES}/{copy.name}")) if _is_whole(other)]
    if not others:
        return False
    copy.parent.mkdir(parents=True, exist_ok=True)
    aside = Path(tempfile.mkdtemp(prefix=f".{copy.name}.", dir=copy.parent))
    try:
        shutil.copytree(others[0], aside, copy_function=os.link, dirs_exist_ok=True)
        aside.replace(copy)
    except (OSError, shutil.Error):
        # Not every file system has hard links: the copy is made from the devkit.
        return False
    finally:
        shutil.rmtree(aside, ignore_errors=True)
    print(f"data: {copy} is the copy of {others[0].parent.parent}; data.prepared=null reads the devkit itself")
    return True


def _write(copy: Path, config: DataConfig, split: str) -> None:
    """Writes the TFRecord files of a split."""
    import tensorflow_datasets as tfds

    (tfds.enable_progress_bar if sys.stderr.isatty() else tfds.disable_progress_bar)()
    try:
        with contextlib.redirect_stdout(io.StringIO()):  # TFDS tells at length what one line has told
            _builder(copy, config, split).download_and_prepare()
    except UserError as error:
        raise _UnfitError(*str(error).split(": ", 1)) from None
    except (OSError, RuntimeError, tf.errors.OpError) as error:
        problem = f"cannot be written ({str(error).strip().splitlines()[0] if str(error).strip() else error!r})"
        raise UserError(str(copy.parent), problem, "free some space, or data.prepared=null") from None
