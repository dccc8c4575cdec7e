"""Opens the data source of a config; the only module that lists the kinds of sources."""

import dataclasses
import logging
import threading

from deeplab.config import DataConfig
from deeplab.datasets import folder, shapes, voc
from deeplab.datasets.source import Example, Source
from deeplab.errors import UserError

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
    source = _open(config, split, seed)
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
    if config.source in ("shapes", "voc") and (config.label_ids or config.colors):
        problem = "does not support label_ids and colors"
        raise UserError(f"data={config.source}", problem, "remove them, or use data=folder")
    if config.source == "shapes":
        return shapes.shapes_source(split, seed=seed)
    if config.source == "tfds":
        from deeplab.datasets.tfds import tfds_source  # loads TensorFlow

        return tfds_source(config, split)
    if config.root is None:
        raise UserError("data.root", "a folder is required", f"data={config.source} data.root=FOLDER")
    if config.source == "voc":
        name, classes = config.name or "VOC2012", config.classes or voc.CLASSES
        return voc.voc_source(config.root, split, name, classes, config.sbd)
    return folder.folder_source(config.root, split, config)
