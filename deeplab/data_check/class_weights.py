"""Weights of the loss that balance the classes, from how often each occurs in the training split."""

import dataclasses
from pathlib import Path
from typing import Literal

import numpy as np

from deeplab.config import DataConfig, build, to_mapping
from deeplab.data_check.statistics import Split, look_at
from deeplab.datasets.fingerprint import fingerprint
from deeplab.datasets.open import open_source
from deeplab.errors import UserError
from deeplab.files import read_json, write_json

Weighting = Literal["median_frequency", "effective_number"]
"""By share of the pixels, or by number of pictures; see `class_weights`."""

COUNTS = "class_counts.json"
"""Where the counts of a whole split are kept, in the run folder."""

BETA = 0.999
"""Of the effective number: a class counts as much as 1 / (1 - BETA) pictures of it at most."""


def class_weights(counts: Split, kind: Weighting) -> tuple[float, ...]:
    """One weight for each class, more for the rare ones.

    "median_frequency" (arXiv:1411.4734, sec. 6.3.2; SegNet, arXiv:1511.00561, sec. 4): the frequency of a class is its
    share of the pixels, ignored ones left out, of the pictures that have it; a weight is the median of the frequencies
    over that of the class.

    "effective_number" (arXiv:1901.05555, eq. 1 and sec. 4): (1 - beta) / (1 - beta^n), scaled to a mean of 1 over the
    classes that occur. The samples n are pictures with the class, as in the paper: pixels of one picture are so alike
    that their number says little, and by the million they would all weigh the same.

    A class that does not occur weighs 1. It changes no loss over these data, and a pixel of it that turns up after all
    (in a picture that was not counted, or in data that come later) counts as in the plain loss, not for nothing.

    Args:
        counts: of the training split.
        kind: the rule.
    """
    pixels, pictures, shared = (np.array(n, np.float64) for n in (counts.pixels, counts.pictures, counts.shared))
    occurs = pixels > 0
    weights = np.ones(len(pixels))
    if occurs.any():
        if kind == "median_frequency":
            frequencies = pixels[occurs] / shared[occurs]
            weights[occurs] = np.median(frequencies) / frequencies
        else:
            inverse = (1 - BETA) / (1 - BETA ** pictures[occurs])
            weights[occurs] = inverse / inverse.mean()
    return tuple(weights.tolist())


def training_counts(config: DataConfig, folder: Path, seed: int = 0) -> Split:
    """What occurs in the whole training split; an endless one is judged by its first pictures.

    Every mask is read once; the counts are kept in `folder` and hold until the data change.

    Args:
        config: the data.
        folder: the run folder.
        seed: of sources that draw their examples.

    Raises:
        UserError: a picture or mask cannot be used, where `config.on_unreadable` does not say to skip it.
    """
    source = open_source(dataclasses.replace(config, on_unreadable="stop"), config.train_split, seed)
    state = fingerprint(source, config)
    if source.size is None:
        state += f" {seed}"
    before = _kept(folder / COUNTS, state)
    if before is not None:
        return before
    print(f"data: counting the classes of {source.name}")
    counted = look_at(source, None)
    if counted.faults and config.on_unreadable == "stop":
        raise counted.faults[0]
    write_json(folder / COUNTS, {"fingerprint": state, "counts": to_mapping(counted.split)})
    return counted.split


def _kept(path: Path, state: str) -> Split | None:
    """The counts in `path`, if they are those of the same data."""
    if not path.is_file():
        return None
    try:
        content = read_json(path)
        return build(Split, content["counts"]) if content["fingerprint"] == state else None
    except (UserError, KeyError):
        return None
