"""From a configuration to a source: the one place that knows the list of sources."""

import dataclasses
import logging
import threading

from deeplab.config import DataConfig
from deeplab.datasets import shapes, voc
from deeplab.datasets.source import Example, Source
from deeplab.errors import UserError

_log = logging.getLogger(__name__)


def open_source(config: DataConfig, split: str, seed: int = 0) -> Source:
    """The examples of one split.

    Args:
        config: where they come from.
        split: `config.train_split`, `config.val_split` or another that the source knows. The validation split is cut
            to `config.val_size` examples; an endless source then has 64 where no number is given. Unreadable examples
            are skipped in the training split only, and where `config.on_unreadable` says so.
        seed: of sources that draw their examples.

    Raises:
        UserError: something needed is missing or does not fit; the message names it.
    """
    source = _open(config, split, seed)
    if config.classes is not None and len(config.classes) != len(source.classes):
        known = f"{source.name} has {', '.join(source.classes)}"
        raise UserError("data.classes", f"{len(config.classes)} names for {len(source.classes)} classes", known)
    if config.classes is not None:
        source = dataclasses.replace(source, classes=config.classes)
    if split == config.val_split != config.train_split:
        return limited(source, config.val_size or source.size or shapes.VALIDATION_SCENES)
    if split == config.train_split and config.on_unreadable == "skip":
        return skipping(source)
    return source


def limited(source: Source, count: int) -> Source:
    """The first `count` examples of a source, all of them if it has fewer."""
    return dataclasses.replace(source, size=count if source.size is None else min(count, source.size))


def skipping(source: Source, skipped: dict[int, UserError] | None = None) -> Source:
    """The same source, giving the next good example in the place of one that cannot be loaded.

    Which one that is depends on the index alone, so the order of training stays what it was. Each example that is
    skipped is logged once, with how many there are.

    Args:
        source: where examples may be at fault.
        skipped: gets the error of each, by index.

    Raises:
        UserError: when loading, if no example is good; the error of the one asked for.
    """
    skipped = {} if skipped is None else skipped
    lock = threading.Lock()

    def load(index: int) -> Example:
        size = source.size
        first: UserError | None = None
        for step in range(1000 if size is None else size):
            place = index + step if size is None else (index + step) % size
            if place not in skipped:
                try:
                    return source.load(place)
                except UserError as error:
                    with lock:
                        if place not in skipped:
                            skipped[place] = error
                            _log.warning("skipped (%d so far): %s", len(skipped), error)
            first = first or skipped[place]
        raise first or UserError(source.name, "no examples", "add some")

    return dataclasses.replace(source, load=load)


def _open(config: DataConfig, split: str, seed: int) -> Source:
    if config.source in ("shapes", "voc") and (config.label_ids or config.colors):
        raise UserError(f"data={config.source}", "takes neither label_ids nor colors", "they are for data=folder")
    if config.source == "shapes":
        return shapes.shapes_source(split, seed=seed)
    if config.source == "tfds":
        from deeplab.datasets.tfds import tfds_source

        return tfds_source(config, split)
    if config.root is None:
        raise UserError("data.root", "a folder is needed", f"data={config.source} data.root=FOLDER")
    if config.source == "voc":
        name, classes = config.name or "VOC2012", config.classes or voc.CLASSES
        return voc.voc_source(config.root, split, name, classes, config.sbd)
    from deeplab.datasets.folder import folder_source

    return folder_source(config.root, split, config)
