"""Tells what is wrong with the data before a training learns it."""

import dataclasses
import hashlib
from pathlib import Path
from typing import get_args

from deeplab.config import DataConfig, build, to_mapping
from deeplab.data_check import problems as findings
from deeplab.data_check.class_weights import Weighting, class_weights
from deeplab.data_check.data_report import DataReport
from deeplab.data_check.image_grid import save_grid
from deeplab.data_check.statistics import SAMPLE, look_at
from deeplab.datasets.fingerprint import fingerprint
from deeplab.datasets.open import open_source
from deeplab.datasets.source import Example, Source
from deeplab.errors import UserError
from deeplab.files import read_json, write_json

REPORT, GRID = "data_check.json", "data_check.png"
"""What a check leaves in its folder."""


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
    good_only = dataclasses.replace(config, on_unreadable="stop")
    train, val = (open_source(good_only, split, seed) for split in (config.train_split, config.val_split))
    state = hashlib.sha256(f"{fingerprint(train, config)} {fingerprint(val, config)} {full}".encode()).hexdigest()
    before = _report_of(folder)
    if before is not None and before.fingerprint == state and not before.stops and not full:
        print(f"data: unchanged since the check in {folder / REPORT}")
        return before
    report, examples = check_data(train, val, None if full else SAMPLE, config.on_unreadable == "skip")
    report = dataclasses.replace(report, fingerprint=state)
    weights = {kind: class_weights(report.splits[0], kind) for kind in get_args(Weighting)}
    write_json(folder / REPORT, {**to_mapping(report), "class_weights": weights})
    save_grid(folder / GRID, examples, report.classes)
    if full or report.findings:
        print(report.text())
    found = len(report.findings)
    print(f"data: {found} finding{'s' * (found != 1)}; counts in {folder / REPORT}, samples in {folder / GRID}")
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
    looks = [look_at(source, limit) for source in (train, val) if source is not None]
    found = findings.of_faults(looks[0].faults, looks[0].split, len(train.classes), skip_faults)
    if len(looks) > 1:
        found += findings.of_faults(looks[1].faults, looks[1].split, len(train.classes), False)
        found += findings.of_overlap(train, val, looks[0].digests, looks[1].digests) if val else []
    splits = [look.split for look in looks]
    found += findings.of_counts(
        train.classes, splits, looks[0].only_ignored, looks[0].black_and_white, [*looks[0].digests.values()]
    )
    found.sort(key=lambda finding: finding.severity != "stop")
    report = DataReport("", train.classes, tuple(splits), tuple(found))
    return report, looks[0].examples


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
