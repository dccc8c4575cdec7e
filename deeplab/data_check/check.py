"""The data check before a training."""

import dataclasses
import hashlib
from pathlib import Path
from typing import Any

from deeplab.config import DataConfig, to_mapping
from deeplab.data_check.data_report import DataReport
from deeplab.data_check.file_problems import orientation_problems, palette_problems, unused_problems
from deeplab.data_check.image_grid import save_grid
from deeplab.data_check.problems import example_problems, label_problems, overlap_problems, unlisted_problems
from deeplab.data_check.statistics import SAMPLE_SIZE, read_stored, scan_split
from deeplab.datasets.image_files import MissingMasksError
from deeplab.datasets.open import open_source
from deeplab.datasets.source import Example, Source, fingerprint
from deeplab.datasets.unlabelled import folder_contents, unlabelled_source
from deeplab.errors import UserError
from deeplab.files import list_checkpoints, read_json, write_json
from deeplab.run_folder import STATE_FOLDER, TRAIN_FILE, WEIGHTS_FILE, read_training_config

REPORT_FILE, GRID_FILE = "data_check.json", "data_check.png"
"""The files that a check writes."""


def check_before_training(config: DataConfig, folder: Path | None, seed: int = 0, full: bool = False) -> DataReport:
    """Check the data of a training, print the problems, and write data_check.json and data_check.png.

    Data without errors that have not changed since their last check are not checked again.

    Args:
        config: the data.
        folder: the run folder; None writes nothing.
        seed: seed of sources that generate their examples.
        full: check every image instead of a sample of each split, and print the whole report.

    Raises:
        UserError: the data cannot be opened, they have a problem of severity "error", the folder has a training on
            other data, whose check a full check would replace, or an unfinished one on other images without masks.
    """
    identity = data_identity(config)
    if full and folder is not None and (folder / TRAIN_FILE).is_file():
        trained = data_identity(read_training_config(folder).data)
        if trained != identity:
            problem = f"has a training on {trained}, and this check is of {identity}"
            raise UserError(f"run={folder}", problem, "give another folder with run=")
    train, val = _open_splits(dataclasses.replace(config, on_unreadable="stop"), seed, full)
    unlabeled = _open_unlabeled(config, train.classes)
    sources = (train, val) if unlabeled is None else (train, val, unlabeled)
    if unlabeled is not None and folder is not None:
        _require_unchanged(folder, unlabeled)
    fingerprints = [fingerprint(source, config) for source in sources]
    data_fingerprint = hashlib.sha256(" ".join([*fingerprints, str(full)]).encode()).hexdigest()
    if folder is not None and not full:
        previous = read_stored(DataReport, folder / REPORT_FILE, data_fingerprint)
        if previous is not None and not previous.errors:
            print(f"Data check: unchanged since {folder / REPORT_FILE}")
            return previous
    limit = None if full else SAMPLE_SIZE
    skip = config.on_unreadable == "skip"
    report, examples = check_data(train, val, limit, skip, color_masks=bool(config.colors), unlabeled=unlabeled)
    if folder is not None:
        _write(folder, identity, data_fingerprint, report, examples, unlabeled)
    if full and unlabeled is not None:
        print(f"{unlabeled.name}: {unlabeled.size} images without masks, {unlabeled.size} checked")
    if full or report.problems:
        print(report.text())
    count = f"{len(report.problems)} problem{'s' * (len(report.problems) != 1)}"
    files = f"; statistics in {folder / REPORT_FILE}, samples in {folder / GRID_FILE}" if folder else ""
    print(f"Data check: {count}{files}")
    report.raise_errors()
    return report


def check_data(
    train: Source,
    val: Source,
    limit: int | None,
    skip_unreadable: bool = False,
    color_masks: bool = False,
    unlabeled: Source | None = None,
) -> tuple[DataReport, list[Example]]:
    """Check both splits and return the report and a few examples of the training split.

    Args:
        train: the training split.
        val: the validation split.
        limit: number of images of each split to load, spread evenly; None loads all (200 of an endless source).
        skip_unreadable: the training skips examples that cannot be loaded; they are errors otherwise.
        color_masks: whether colors, not palette indices, are the classes.
        unlabeled: images without masks, which only have to be readable.
    """
    train_scan, val_scan = scan_split(train, limit), scan_split(val, limit)
    scans = (train_scan, val_scan) if unlabeled is None else (train_scan, val_scan, scan_split(unlabeled, limit))
    problems = [
        *example_problems(scans, len(train.classes), skip_unreadable),
        *overlap_problems(train, val, train_scan, val_scan),
        *label_problems(train.classes, train_scan, val_scan.statistics),
        *(problem for scan in (train_scan, val_scan) for problem in unlisted_problems(scan)),
        *(problem for scan in (train_scan, val_scan) for problem in orientation_problems(scan)),
        *(problem for source in (train, val) if not color_masks for problem in palette_problems(source)),
        *unused_problems(train),
    ]
    problems.sort(key=lambda problem: problem.severity != "error")
    statistics = (train_scan.statistics, val_scan.statistics)
    return DataReport(train.classes, statistics, tuple(problems)), train_scan.examples


def _open_splits(config: DataConfig, seed: int, full: bool) -> list[Source]:
    """Open both splits; if images have no mask, a full check prints the names of all, of both splits."""
    sources, errors = [], []
    for split in (config.train_split, config.val_split):
        try:
            sources.append(open_source(config, split, seed))
        except MissingMasksError as error:
            errors.append(error)
            if full:
                print(f"{error.subject}: no mask for these images of split {split}:", *error.names, sep="\n  ")
    if errors:
        raise errors[0]
    return sources


def _open_unlabeled(config: DataConfig, classes: tuple[str, ...]) -> Source | None:
    """Open the images without masks, if there are any; the setting is their name in messages."""
    if config.unlabelled is None:
        return None
    source = unlabelled_source(Path(config.unlabelled), classes)
    return dataclasses.replace(source, name=f"data.unlabelled={config.unlabelled}")


def _require_unchanged(folder: Path, unlabeled: Source) -> None:
    """Raise UserError if an unfinished training has begun with other images without masks.

    It would resume with another order of the images. Modification times may differ, as after a copy. If data_check.json
    is missing or damaged, the images of the start are not known.
    """
    if (folder / WEIGHTS_FILE).is_file() or not list_checkpoints(folder / STATE_FOLDER):
        return
    expected, actual = _stored(folder).get("unlabelled"), folder_contents(unlabeled)
    if expected in (None, actual):
        return
    counts = f"expected {expected['images']} images, got {actual['images']}"
    problem = counts if expected["images"] != actual["images"] else "its images have other names or sizes"
    remedy = "restore the folder, or choose another run=FOLDER"
    raise UserError(unlabeled.name, f"has changed since run={folder} began: {problem}", remedy)


def data_identity(config: DataConfig) -> str:
    """Return the settings that say which data these are, as on a command line; the folder is absolute."""
    values = {"": config.source, ".name": config.name, ".root": config.root and str(Path(config.root).resolve())}
    return " ".join(f"data{key}={value}" for key, value in values.items() if value is not None)


def stored_splits(folder: Path, config: DataConfig) -> list[dict[str, Any]]:
    """Return the statistics of both splits in data_check.json of a run folder; [] if it has none of these data."""
    content = _stored(folder)
    return content.get("splits", []) if content.get("data") in (None, data_identity(config)) else []


def _write(
    folder: Path,
    identity: str,
    data_fingerprint: str,
    report: DataReport,
    examples: list[Example],
    unlabeled: Source | None,
) -> None:
    """Write data_check.json and data_check.png."""
    replaced = _stored(folder).get("data")
    if replaced not in (None, identity):
        print(f"Replacing the data check of {replaced} in {folder}")
    stored = {"fingerprint": data_fingerprint, "data": identity, **to_mapping(report)}
    stored["class_weights"] = report.class_weights
    if unlabeled is not None:
        stored["unlabelled"] = folder_contents(unlabeled)
    write_json(folder / REPORT_FILE, stored)
    save_grid(folder / GRID_FILE, examples, report.classes)


def _stored(folder: Path) -> dict[str, Any]:
    """Return the content of data_check.json of a run folder; {} if it is missing or damaged, hence unknown."""
    try:
        return read_json(folder / REPORT_FILE)
    except UserError:
        return {}
