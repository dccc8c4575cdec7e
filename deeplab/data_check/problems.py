"""The problems that follow from the statistics of the data, with consequences and remedies."""

import filecmp
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from deeplab.data_check.data_report import Problem, Severity
from deeplab.data_check.duplicates import near_duplicates
from deeplab.data_check.statistics import SplitScan, SplitStatistics
from deeplab.datasets.source import IGNORE_LABEL, ExampleError, ProblemKind, Source

_KINDS: dict[ProblemKind, tuple[str, str]] = {
    "missing": ("a file is missing", "the training stops at these images"),
    "unreadable": ("a file cannot be read", "the training stops at these images"),
    "size": ("image and mask differ in size", "the labels do not match the pixels"),
    "value": (
        "the mask has values that are not class ids",
        "these pixels have no class; if colors or another numbering are mistaken for class ids, the network learns "
        "only background",
    ),
    "color": (
        "the mask has colors that are not class ids",
        "colors are mistaken for class ids: the network learns only background",
    ),
}
"""Description and consequence of each kind of problem of an example."""


def example_problems(scans: Sequence[SplitScan], classes: int, skip_unreadable: bool) -> list[Problem]:
    """Return one problem for each kind of error of the examples and severity, over all scans.

    Args:
        scans: of the training split, the validation split and, if there are any, the images without masks.
        classes: number of classes.
        skip_unreadable: whether the training skips these examples; in its images they are then warnings, unless they
            are more than half.
    """
    problems = []
    for kind in _KINDS:
        found: dict[Severity, list[tuple[SplitScan, list[ExampleError]]]] = {"error": [], "warning": []}
        for scan, skipped in zip(scans, (skip_unreadable, False, skip_unreadable), strict=False):
            severity: Severity = "warning" if skipped and 2 * len(scan.errors) <= scan.statistics.checked else "error"
            errors = [error for error in scan.errors if error.kind == kind]
            found[severity] += [(scan, errors)] if errors else []
        problems += [_example_problem(kind, severity, parts, classes) for severity, parts in found.items() if parts]
    return problems


def _example_problem(
    kind: ProblemKind, severity: Severity, parts: list[tuple[SplitScan, list[ExampleError]]], classes: int
) -> Problem:
    """Return the problem of errors of one kind; `parts` are the scans with their errors."""
    description, consequence = _KINDS[kind]
    errors = [error for _, part in parts for error in part]
    remedy = errors[0].remedy
    if kind == "value":
        values = sorted({value for error in errors for value in error.values})
        shown = ", ".join(map(str, values[:12])) + (", ..." if len(values) > 12 else "")
        consequence += f" (values of these masks: {shown})"
        scan, in_first = parts[0][0], len(parts[0][1])
        remedy = _value_remedy(scan, values, classes, in_first, len(errors)) or remedy
    counts = [f"{scan.statistics.name}: {len(part)} of {scan.statistics.checked} images" for scan, part in parts]
    files = [f"{error.subject}: {error.problem}" for error in errors]
    return Problem(severity, f"{', '.join(counts)}: {description}", consequence, remedy, tuple(files))


def _value_remedy(scan: SplitScan, values: list[int], classes: int, errors: int, total: int) -> str:
    """Return what to do about masks with `values`, some of which are no class ids; "" if nothing is known.

    `errors` is the number of these masks in the split of `scan`, `total` that in both.
    """
    statistics = scan.statistics
    valid = {*np.flatnonzero(statistics.pixels).tolist(), *([IGNORE_LABEL] if statistics.ignored else [])}
    # The values are probably the classes in ascending order if all masks together have as many of them.
    together = sorted({*values, *valid})
    without_ignore = [value for value in together if value != IGNORE_LABEL]
    numberings = [ids for ids in (without_ignore, together) if len(ids) == classes and ids[-1] <= 255]
    # A few odd masks among others with class ids are mistakes, not another numbering.
    if numberings and 2 * errors >= statistics.checked:
        ids = ",".join(map(str, numberings[0]))
        return f"data.label_ids=[{ids}] if these values are the classes in this order"
    if errors < statistics.checked:
        return f"correct these files ({total}, all in data_check.json): the other masks have class ids"
    return ""


def overlap_problems(train: Source, val: Source, train_scan: SplitScan, val_scan: SplitScan) -> list[Problem]:
    """Return the problems that both splits contain the same images, by name or by content, or nearly the same."""
    common = set(train.names) & set(val.names)
    digests = train_scan.digests
    copies = _identical_files(train, val) or {
        (digests[digest], name) for digest, name in val_scan.digests.items() if digest in digests
    }
    pairs = sorted(f"{train_name} = {name}" for train_name, name in copies if train_name not in common)
    problems = []
    consequence = "the scores will be too high: they do not measure the model on new images"
    if common or pairs:
        count = f"{len(common) + len(pairs)} of {val.size}" if val.size else f"{len(common) + len(pairs)}"
        description = f"the splits overlap: {count} validation images are also training images"
        remedy = "remove these images from one of the splits"
        problems.append(Problem("warning", description, consequence, remedy, (*sorted(common), *pairs)))
    exact = {name for _, name in copies} | common
    near = [
        (train_name, name)
        for train_name, name in near_duplicates(train_scan.thumbnails, val_scan.thumbnails)
        if name not in exact
    ]
    if near:
        count = f"{len({name for _, name in near})} of {val_scan.statistics.checked}"
        description = f"the splits overlap: {count} checked validation images are nearly equal to training images"
        remedy = "put images of one scene or video into one split, by train.txt and val.txt or by sub-folders"
        names = tuple(f"{train_name} ~ {name}" for train_name, name in near)
        problems.append(Problem("warning", description, consequence, remedy, names))
    return problems


def _identical_files(train: Source, val: Source) -> set[tuple[str, str]]:
    """Return (training name, validation name) of image files with equal content; reads only files of equal size."""
    if not train.names or not val.names:
        return set()
    by_size: dict[int, list[Path]] = defaultdict(list)
    for path in filter(Path.is_file, train.files[::2]):
        by_size[path.stat().st_size].append(path)
    return {
        (other.stem, path.stem)
        for path in filter(Path.is_file, val.files[::2])
        for other in by_size[path.stat().st_size]
        if other != path and filecmp.cmp(other, path, shallow=False)
    }


def label_problems(classes: Sequence[str], scan: SplitScan, val: SplitStatistics) -> list[Problem]:
    """Return the problems that the pixel counts of the training split and the validation split show."""
    train = scan.statistics
    checked = f"{train.checked} checked images"
    present = np.flatnonzero(train.pixels)
    remedy = "masks must hold class ids, and 255 only for pixels to ignore"
    if not len(present):
        if train.checked and not train.ignored:
            return []
        description = f"{train.name}: no labeled pixel in {checked}"
        return [Problem("error", description, "there is nothing to learn", remedy, tuple(scan.unlabeled))]
    problems = []
    if val.ignored and not any(val.pixels):
        description = f"{val.name}: no labeled pixel in {val.checked} checked images"
        problems.append(Problem("error", description, "there is nothing to evaluate", remedy))
    if len(present) == 1:
        problems.append(_single_class(classes, scan, int(present[0])))
    if scan.unlabeled:
        description = f"{train.name}: {len(scan.unlabeled)} of {checked} have only ignored pixels"
        consequence = "they contribute nothing to the training and take space in the batches"
        problems.append(Problem("warning", description, consequence, "label or remove them", tuple(scan.unlabeled)))
    if len(present) > 1:
        if scan.black_and_white:
            files = tuple(scan.black_and_white)
            # A few images may contain only background and an ignored border; many of them show another numbering.
            severity: Severity = "error" if 4 * len(files) >= train.checked else "warning"
            description = f"{train.name}: {len(files)} of {checked} have masks of 0 and 255 only, others have class ids"
            consequence = "255 means ignore: if white marks an object in these masks, it is not learned"
            problems.append(Problem(severity, description, consequence, "give them class ids or remove them", files))
        problems += _imbalance(classes, train, val)
    return problems


def unlisted_problems(scan: SplitScan) -> list[Problem]:
    """Return the problem that `data.label_ids` leaves out values of the masks."""
    if not scan.unlisted:
        return []
    statistics, pixels = scan.statistics, sum(scan.unlisted.values())
    share = pixels / (sum(statistics.pixels) + statistics.ignored)
    values = ", ".join(map(str, scan.unlisted))
    description = f"{statistics.name}: {share:.1%} of the pixels have values that data.label_ids lacks: {values}"
    return [Problem("warning", description, "they are ignored", "add the values that are classes to data.label_ids")]


def _single_class(classes: Sequence[str], scan: SplitScan, present: int) -> Problem:
    """Return the problem that one class is the only one in the masks."""
    train = scan.statistics
    values, consequence = f"only {classes[present]}", "there is nothing to learn"
    remedy = "masks must hold class ids: 0 for the background, then 1, 2, ..."
    if train.ignored:
        values = f"only {present} and 255"
        consequence = "255 means ignore, so there is one class and nothing to learn"
        if len(classes) == 2:
            consequence += "; the masks may be black and white (0 and 255)"
            remedy = "data.label_ids=[0,255]"
    description = f"{train.name}: the masks hold {values} ({train.checked} checked images)"
    return Problem("error", description, consequence, remedy, tuple(scan.digests.values()))


def _imbalance(classes: Sequence[str], train: SplitStatistics, val: SplitStatistics) -> list[Problem]:
    """Return the problems of absent and dominant classes and of many ignored pixels."""
    pixels, problems = np.array(train.pixels), []
    absent = [i for i in range(len(classes)) if not pixels[i]]
    if absent:
        names = ", ".join(classes[i] for i in absent)
        evaluated = [classes[i] for i in absent if val.pixels[i]]
        never_learned = f"{', '.join(evaluated)} would be evaluated but never learned"
        consequence = never_learned if evaluated else f"{names} cannot be learned"
        description = f"{train.name}: no pixel of {names} in {train.checked} checked images"
        remedy = "add images, check the numbering, or shorten data.classes (rare: check_data=true)"
        problems.append(Problem("warning", description, consequence, remedy))
    unmeasured = [classes[i] for i in range(len(classes)) if pixels[i] and not val.pixels[i]]
    if unmeasured and sum(val.pixels):
        description = f"{val.name}: no pixel of {', '.join(unmeasured)} in {val.checked} checked images"
        consequence = "no IoU can be measured there; a wrong prediction of such a class counts only for other classes"
        remedy = "move images with it to the validation split (rare: check_data=true)"
        if train.size is None:
            # Scenes are drawn as needed.
            remedy = "set a larger data.val_size"
        problems.append(Problem("warning", description, consequence, remedy))
    largest, share = int(pixels.argmax()), float(pixels.max() / pixels.sum())
    if share > 0.95:
        description = f"{train.name}: {share:.1%} of the labeled pixels are {classes[largest]}"
        consequence = "predicting only this class is nearly correct: the other classes may never be learned"
        remedy = "set training.class_weights (see the table above) or crop the images more closely"
        problems.append(Problem("warning", description, consequence, remedy))
    ignored = train.ignored / (train.ignored + int(pixels.sum()))
    if ignored > 0.5:
        description = f"{train.name}: {ignored:.1%} of all pixels are ignored (255)"
        consequence = "most of each image contributes nothing; 255 may be one of your classes"
        remedy = "define the mask value of each class with data.label_ids"
        problems.append(Problem("warning", description, consequence, remedy))
    return problems
