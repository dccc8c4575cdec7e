"""Tells what is wrong with the data before a training learns it."""

import dataclasses
import hashlib
import os
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np

from deeplab.config import DataConfig, build, to_mapping
from deeplab.datasets import findings
from deeplab.datasets.fingerprint import fingerprint
from deeplab.datasets.grid import save_grid
from deeplab.datasets.open import open_source
from deeplab.datasets.report import DataReport, Split
from deeplab.datasets.source import IGNORE_LABEL, Example, ExampleError, Source
from deeplab.errors import UserError
from deeplab.files import read_json, write_json

SAMPLE = 200
"""How many pictures of a split the check before a training loads."""

REPORT, GRID = "data_check.json", "data_check.png"
"""What a check leaves in its folder."""

_GRID_PICTURES = 12


def check_before_training(config: DataConfig, folder: Path, seed: int = 0, full: bool = False) -> DataReport:
    """Checks the data of a training and prints what there is to say.

    Looks at a sample of each split, or at every picture if `full`, and leaves data_check.json and data_check.png in
    `folder`. Data that have not changed since they were found to be good are not looked at again.

    Args:
        config: the data.
        folder: the run folder.
        seed: of sources that draw their examples.
        full: look at everything, and print the whole report rather than the findings.

    Raises:
        UserError: the data would ruin the training, or they cannot be opened.
    """
    good_only = dataclasses.replace(config, on_unreadable="stop", cache=None)
    train, val = (open_source(good_only, split, seed) for split in (config.train_split, config.val_split))
    state = hashlib.sha256(f"{fingerprint(train, config)} {fingerprint(val, config)} {full}".encode()).hexdigest()
    before = _report_of(folder)
    if before is not None and before.fingerprint == state and not before.stops and not full:
        print(f"data: unchanged since the check in {folder / REPORT}")
        return before
    report, examples = check_data(train, val, None if full else SAMPLE, config.on_unreadable == "skip")
    report = dataclasses.replace(report, fingerprint=state)
    write_json(folder / REPORT, {**to_mapping(report), "class_weights": report.class_weights})
    save_grid(folder / GRID, examples, report.classes)
    if full or report.findings:
        print(report.text())
    print(f"data: {len(report.findings)} findings; counts in {folder / REPORT}, samples in {folder / GRID}")
    report.raise_if_ruined()
    return report


def check_data(
    train: Source, val: Source | None, limit: int | None = SAMPLE, skip_faults: bool = False
) -> tuple[DataReport, list[Example]]:
    """Looks at two splits.

    Args:
        train: the training split.
        val: the validation split, if there is one.
        limit: how many pictures of each to load, spread evenly; None loads all (an endless source gives 200).
        skip_faults: whether the training leaves out faulty pictures, so that they are no reason to stop.

    Returns:
        The report, with no fingerprint, and a few examples of the training split.
    """
    looks = [_look(source, limit) for source in (train, val) if source is not None]
    found = findings.of_faults(looks[0].faults, looks[0].split, len(train.classes), skip_faults)
    if len(looks) > 1:
        found += findings.of_faults(looks[1].faults, looks[1].split, len(train.classes), False)
        found += findings.of_overlap(train, val, looks[0].digests, looks[1].digests) if val else []
    found += findings.of_counts(train.classes, [look.split for look in looks], looks[0].only_ignored)
    found.sort(key=lambda finding: finding.severity != "stop")
    report = DataReport("", train.classes, tuple(look.split for look in looks), tuple(found))
    return report, looks[0].examples


@dataclasses.dataclass(frozen=True)
class _Look:
    """What was seen of one split."""

    split: Split
    faults: list[ExampleError]
    only_ignored: list[str]
    digests: dict[bytes, str]
    examples: list[Example]


def _look(source: Source, limit: int | None) -> _Look:
    indices = _spread(source.size, limit)
    classes = len(source.classes)
    pixels, pictures, shared = (np.zeros(256, np.int64) for _ in range(3))
    faults: list[ExampleError] = []
    only_ignored: list[str] = []
    digests: dict[bytes, str] = {}
    examples: list[Example] = []
    kept = set(indices[:: max(len(indices) // _GRID_PICTURES, 1)][:_GRID_PICTURES])
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        for index, seen in zip(indices, pool.map(lambda i: _seen(source, i), indices), strict=True):
            if isinstance(seen, UserError):
                faults.append(
                    seen if isinstance(seen, ExampleError) else ExampleError("unreadable", source.name, str(seen), "")
                )
                continue
            example, counts, digest = seen
            digests[digest] = example.name
            pixels += counts
            pictures += counts > 0
            shared += np.where(counts > 0, counts.sum() - counts[IGNORE_LABEL], 0)
            if counts[IGNORE_LABEL] == counts.sum():
                only_ignored.append(example.name)
            if index in kept:
                examples.append(example)
    by_class = [tuple(array[:classes].tolist()) for array in (pixels, pictures, shared)]
    split = Split(
        source.name, source.size, len(indices), by_class[0], by_class[1], by_class[2], int(pixels[IGNORE_LABEL])
    )
    return _Look(split, faults, only_ignored, digests, examples)


def _seen(source: Source, index: int) -> tuple[Example, np.ndarray, bytes] | UserError:
    try:
        example = source.load(index)
    except UserError as error:
        return error
    counts = np.bincount(example.label.ravel(), minlength=256)
    return example, counts, hashlib.blake2b(example.image.tobytes(), digest_size=16).digest()


def _spread(size: int | None, limit: int | None) -> Sequence[int]:
    """Indices of at most `limit` examples, spread evenly."""
    if size is None:
        return range(limit or SAMPLE)
    if limit is None or limit >= size:
        return range(size)
    return np.linspace(0, size - 1, limit).round().astype(int).tolist()


def _report_of(folder: Path) -> DataReport | None:
    """The report that an earlier check left, if it can still be read."""
    if not (folder / REPORT).is_file():
        return None
    try:
        content = read_json(folder / REPORT)
        content.pop("class_weights", None)
        return build(DataReport, content)
    except UserError:
        return None
