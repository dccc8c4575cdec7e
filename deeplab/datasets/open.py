"""Opens the data source of a config; the only module that lists the kinds of sources."""

import dataclasses
import logging
import threading
from pathlib import Path

from deeplab.config import DataConfig
from deeplab.datasets import ade20k, cityscapes, coco_voc, folder, shapes, voc
from deeplab.datasets.cache import cached_source
from deeplab.datasets.resizing import fitted_source, resized_source
from deeplab.datasets.source import Example, Source
from deeplab.datasets.unlabelled import joined, unlabelled_source
from deeplab.errors import UserError
from deeplab.memory import machine_memory

_USED_BY: dict[str, tuple[str, ...]] = {
    "root": ("voc", "folder", "tfds", "cityscapes", "ade20k", "coco_voc"),
    "name": ("voc", "cityscapes", "coco_voc", "tfds"),
    "label_ids": ("folder", "tfds"),
    "colors": ("folder",),
    "mask_suffix": ("folder",),
    "image_feature": ("tfds",),
    "label_feature": ("tfds",),
    "download": ("tfds",),
    "sbd": ("voc",),
}
"""The sources that use a key of DataConfig; keys that are not listed apply to all, or cannot mislead."""

_ASSUMED_MEMORY = 4 * 2**30
"""Bytes of memory of a machine that does not state them."""

_log = logging.getLogger(__name__)


def open_source(config: DataConfig, split: str, seed: int = 0) -> Source:
    """Open one split of a data source.

    Args:
        config: the data source.
        split: `config.train_split`, `config.val_split` or another split of the source. The validation split is limited
            to `config.val_size` examples (default for an endless source: 64). Unusable examples are skipped in the
            training split only, if `config.on_unreadable` is "skip".
        seed: seed of a source that draws its examples.

    Raises:
        UserError: something required is missing or inconsistent.
    """
    source = resized_source(_open(config, split, seed), config)
    if config.classes is not None:
        if len(config.classes) != len(source.classes):
            problem = f"{len(config.classes)} names for {len(source.classes)} classes"
            raise UserError("data.classes", problem, f"{source.name} has {', '.join(source.classes)}")
        source = dataclasses.replace(source, classes=config.classes)
    if split == config.val_split != config.train_split:
        return limited(source, config.val_size or source.size or 64)
    if split == config.train_split and config.on_unreadable == "skip":
        return skipping(source)
    return source


def open_training_source(config: DataConfig, seed: int = 0, processes: int = 1) -> Source:
    """Open the training split as the network sees it: resized as `config.resize` says, and then kept in memory.

    The images of `config.unlabelled` follow the labeled ones.

    Everything else reads the original images (`open_source`): the data check, the evaluation and the calibration.

    Args:
        config: the data source.
        seed: seed of a source that draws its examples.
        processes: number of trainings on this machine that divide the memory of `config.cache_memory`; the threads of
            one training have one copy.

    Raises:
        UserError: as `open_source`.
    """
    source = open_source(config, config.train_split, seed)
    if config.unlabelled is not None:
        unlabeled = resized_source(unlabelled_source(Path(config.unlabelled), source.classes), config)
        source = joined(source, skipping(unlabeled) if config.on_unreadable == "skip" else unlabeled)
    source = fitted_source(source, config)
    if config.resize == "none" or not config.cache_memory:
        return source
    return cached_source(source, int(config.cache_memory * (machine_memory() or _ASSUMED_MEMORY) / processes))


def resolved_split(config: DataConfig) -> str:
    """Return `config.train_split`; "auto" of voc becomes the published split, see `voc.published_split`.

    Raises:
        UserError: the data folder is missing.
    """
    if config.source != "voc" or config.train_split != "auto":
        return config.train_split
    return voc.published_split(_required_root(config), config.name or voc.YEAR, config.sbd)


def limited(source: Source, count: int) -> Source:
    """Return a source with the first `count` examples, or all if it has fewer."""
    return dataclasses.replace(source, size=count if source.size is None else min(count, source.size))


def skipping(source: Source) -> Source:
    """Return a source that replaces each example that cannot be loaded by the next usable one.

    The replacement depends on the index only, so the training order is reproducible. Each skipped example is logged
    once, with the count so far.

    Raises:
        UserError: on loading, if no example is usable; the error of the requested example.
    """
    errors: dict[int, UserError] = {}
    lock = threading.Lock()

    def load(index: int) -> Example:
        # At most 1000 consecutive examples of an endless source are skipped.
        for candidate in range(index, index + (source.size or 1000)):
            candidate = candidate % source.size if source.size else candidate
            if candidate in errors:
                continue
            try:
                return source.load(candidate)
            except UserError as error:
                with lock:
                    if candidate not in errors:
                        errors[candidate] = error
                        _log.warning("skipped (%d so far): %s", len(errors), error)
        raise errors[index]

    return dataclasses.replace(source, load=load)


def _open(config: DataConfig, split: str, seed: int) -> Source:
    _check_keys(config)
    if config.source == "shapes":
        return shapes.shapes_source(split, seed=seed)
    if config.source == "tfds":
        from deeplab.datasets.tfds import tfds_source  # loads TensorFlow

        return tfds_source(config, split)
    root = _required_root(config)
    if config.source == "voc":
        split = resolved_split(config) if split == config.train_split else split
        return voc.voc_source(root, split, config.name or voc.YEAR, config.classes or voc.CLASSES, config.sbd)
    if config.source == "cityscapes":
        return cityscapes.cityscapes_source(root, split, config.name or "gtFine")
    if config.source == "ade20k":
        return ade20k.ade20k_source(root, split)
    if config.source == "coco_voc":
        return coco_voc.coco_voc_source(root, split, config.name or "instances")
    return folder.folder_source(root, split, config)


def _required_root(config: DataConfig) -> str:
    """Return `config.root`; raise UserError if it is not set."""
    if config.root is None:
        raise UserError("data.root", "a folder is required", f"data={config.source} data.root=FOLDER")
    return config.root


def _check_keys(config: DataConfig) -> None:
    """Raise UserError if a key is set that the source does not use."""
    for key, sources in _USED_BY.items():
        default = next(field.default for field in dataclasses.fields(config) if field.name == key)
        if config.source not in sources and getattr(config, key) != default:
            users = ", ".join(f"data={source}" for source in sources)
            raise UserError(f"data.{key}", f"data={config.source} does not use it", f"remove it, or add one of {users}")
