"""Loss weights that balance the classes, computed from how often each occurs in the training split."""

import dataclasses
from pathlib import Path
from typing import Literal

import numpy as np

from deeplab.config import DataConfig, to_mapping
from deeplab.data_check.statistics import SplitStatistics, read_stored, scan_split
from deeplab.datasets.open import open_source
from deeplab.datasets.source import fingerprint
from deeplab.files import write_json

Weighting = Literal["median_frequency", "effective_number"]
"""The rules of `class_weights`: by frequency of the pixels, or by number of images."""

COUNTS_FILE = "class_counts.json"
"""File in the run folder with the statistics of the whole training split."""


def class_weights(statistics: SplitStatistics, weighting: Weighting) -> tuple[float, ...]:
    """Return one weight per class from the statistics of the training split; rare classes have larger weights.

    "median_frequency" (arXiv:1411.4734, sec. 6.3.2; SegNet, arXiv:1511.00561, sec. 4): the frequency of a class is its
    share of the labeled pixels in the images that contain it. The weight is the median of all frequencies divided by
    the frequency of the class.

    "effective_number" (arXiv:1901.05555, eq. 1 and sec. 4): (1 - beta) / (1 - beta^n), scaled to a mean of 1 over the
    classes that occur. The samples n are images with the class, as in the paper: the pixels of one image are too
    similar to count as samples, and with millions of samples all weights would be equal.

    A class that does not occur has weight 1. It has no effect on the loss of these data, and pixels of it in images
    that were not counted have their normal weight.
    """
    counts = (statistics.pixels, statistics.images, statistics.labeled_pixels)
    pixels, images, labeled_pixels = (np.array(values, np.float64) for values in counts)
    occurs = pixels > 0
    weights = np.ones(len(pixels))
    if occurs.any():
        if weighting == "median_frequency":
            frequencies = pixels[occurs] / labeled_pixels[occurs]
            weights[occurs] = np.median(frequencies) / frequencies
        else:
            beta = 0.999  # no class counts as more than 1 / (1 - beta) = 1000 images
            inverse = (1 - beta) / (1 - beta ** images[occurs])
            weights[occurs] = inverse / inverse.mean()
    return tuple(weights.tolist())


def training_counts(config: DataConfig, folder: Path, seed: int = 0) -> SplitStatistics:
    """Return the statistics of the whole training split, or of the first images of an endless one.

    Every mask is read once. The result is stored in `folder` and reused until the data change.

    Args:
        config: the data.
        folder: the run folder.
        seed: seed of sources that generate their examples.

    Raises:
        UserError: an image or mask cannot be used and `config.on_unreadable` is not "skip".
    """
    source = open_source(dataclasses.replace(config, on_unreadable="stop"), config.train_split, seed)
    data_fingerprint = fingerprint(source, config)
    if source.size is None:
        data_fingerprint += f" {seed}"
    stored = read_stored(SplitStatistics, folder / COUNTS_FILE, data_fingerprint)
    if stored is not None:
        return stored
    print(f"Counting the classes of {source.name} ...")
    scan = scan_split(source, None)
    if scan.errors and config.on_unreadable == "stop":
        raise scan.errors[0]
    write_json(folder / COUNTS_FILE, {"fingerprint": data_fingerprint, **to_mapping(scan.statistics)})
    return scan.statistics
