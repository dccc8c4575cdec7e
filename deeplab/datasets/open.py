"""From a configuration to a source: the one place that knows the list of sources."""

import dataclasses

from deeplab.config import DataConfig
from deeplab.datasets import shapes, voc
from deeplab.datasets.source import Source
from deeplab.errors import UserError


def open_source(config: DataConfig, split: str, seed: int = 0) -> Source:
    """The examples of one split.

    Args:
        config: where they come from.
        split: `config.train_split`, `config.val_split` or another that the source knows. The validation split is cut
            to `config.val_size` examples; an endless source then has 64 where no number is given.
        seed: of sources that draw their examples.

    Raises:
        UserError: something needed is missing or does not fit; the message names it.
    """
    source = _open(config, split, seed)
    if config.classes is not None and len(config.classes) != len(source.classes):
        raise UserError(
            "data.classes", f"{len(config.classes)} names for {len(source.classes)} classes", f"{source.name} has "
            f"{', '.join(source.classes)}",
        )  # fmt: skip
    if config.classes is not None:
        source = dataclasses.replace(source, classes=config.classes)
    if split != config.val_split or split == config.train_split:
        return source
    return limited(source, config.val_size or (shapes.VALIDATION_SCENES if source.size is None else source.size))


def limited(source: Source, count: int) -> Source:
    """The first `count` examples of a source, all of them if it has fewer."""
    return dataclasses.replace(source, size=count if source.size is None else min(count, source.size))


def _open(config: DataConfig, split: str, seed: int) -> Source:
    if config.source == "shapes":
        return shapes.shapes_source(split, seed=seed)
    root = _root(config)
    return voc.voc_source(root, split, config.name or "VOC2012", config.classes or voc.CLASSES)


def _root(config: DataConfig) -> str:
    if config.root is None:
        raise UserError("data.root", "a folder is needed", f"data={config.source} data.root=FOLDER")
    return config.root
