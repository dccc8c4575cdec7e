"""What faults and counts mean, and what to do about them."""

import hashlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Literal

import numpy as np

from deeplab.data_check.data_report import Finding
from deeplab.data_check.statistics import Split
from deeplab.datasets.source import ExampleError, FaultKind, Source

_SHOWN = 5
"""How many files a finding names."""

_MEANINGS: dict[FaultKind, str] = {
    "missing": "the training stops when it comes to them",
    "unreadable": "the training stops when it comes to them",
    "size": "labels would lie beside what they name",
    "value": "those pixels are no class; often colors or another numbering were taken for class ids, and the network "
    "would learn nothing but background",
    "color": "colors were taken for class ids: the network would learn nothing but background",
}


def of_faults(faults: Sequence[ExampleError], split: Split, classes: int, skipped: bool) -> list[Finding]:
    """One finding for each kind of fault; faults that are skipped stop a training only where half its pictures go."""
    severity = "warning" if skipped and 2 * len(faults) <= split.looked_at else "stop"
    found = []
    for kind, meaning in _MEANINGS.items():
        of_kind = [fault for fault in faults if fault.kind == kind]
        if not of_kind:
            continue
        values = sorted({value for fault in of_kind for value in fault.values})
        remedy = str(of_kind[0]).partition("; ")[2]
        known = [value for value in values if value != 255]
        if kind == "value":
            shown = ", ".join(map(str, values[:12])) + (", ..." if len(values) > 12 else "")
            meaning = f"{meaning} (values of these masks: {shown})"
            candidates = [c for c in (known, values) if len(c) == classes and c[-1] <= 255]
            if candidates:
                listed = ",".join(map(str, candidates[0]))
                remedy = f"data.label_ids=[{listed}] if these values are the classes in this order"
        found.append(
            Finding(
                severity,  # type: ignore[arg-type]
                f"{split.name}: {len(of_kind)} of {split.looked_at} pictures: {_TITLES[kind]}",
                meaning,
                remedy,
                tuple(str(fault).partition("; ")[0] for fault in of_kind[:_SHOWN]),
            )
        )
    return found


_TITLES: dict[FaultKind, str] = {
    "missing": "a file is missing",
    "unreadable": "a file cannot be read",
    "size": "picture and mask differ in size",
    "value": "the mask has values that are no class",
    "color": "the mask has colors that are no class",
}


def of_overlap(
    train: Source, val: Source, train_digests: Mapping[bytes, str], val_digests: Mapping[bytes, str]
) -> list[Finding]:
    """Pictures that both splits have, by name, or by content under another name."""
    both = set(train.names) & set(val.names)
    twins = _same_files(train, val) or {
        f"{train_digests[digest]} = {name}" for digest, name in val_digests.items() if digest in train_digests
    }
    twins = {twin for twin in twins if twin.split(" = ")[0] not in both}
    if not both and not twins:
        return []
    of = f" of {val.size}" if val.size else ""
    return [
        Finding(
            "warning",
            f"the splits overlap: {len(both) + len(twins)}{of} validation pictures are trained on",
            "the scores will be too good: they do not tell how the model does on pictures it has not seen",
            "take them out of one of the splits",
            tuple([*sorted(both), *sorted(twins)][:_SHOWN]),
        )
    ]


def of_counts(
    classes: Sequence[str],
    splits: Sequence[Split],
    only_ignored: Sequence[str],
    black_and_white: Sequence[str],
    seen: Sequence[str],
) -> list[Finding]:
    """What the numbers of pixels tell.

    Args:
        classes: names by id.
        splits: the training split, and the validation split where there is one.
        only_ignored: pictures of the training split without a labeled pixel.
        black_and_white: pictures of it whose masks hold 0 and 255 alone.
        seen: pictures of the training split, to name where a finding is about all of them.
    """
    train = splits[0]
    pixels = np.array(train.pixels)
    labeled, looked_at = int(pixels.sum()), f"{train.looked_at} pictures looked at"
    present = np.flatnonzero(pixels)
    found: list[Finding] = []
    if not train.looked_at or not labeled:
        if train.ignored or not train.looked_at:
            what = f"{train.name}: not one labeled pixel in {looked_at}"
            remedy = "masks hold class ids, 255 only where a pixel is to be ignored"
            found.append(Finding("stop", what, "there is nothing to learn", remedy, tuple(only_ignored[:_SHOWN])))
        return found
    if len(present) == 1:
        binary = len(classes) == 2 and train.ignored > 0
        what = f"{train.name}: the masks hold {classes[present[0]]} alone ({looked_at})"
        if train.ignored:
            what = f"{train.name}: the masks hold {present[0]} and 255 alone ({looked_at})"
        meaning = "255 means ignore, so there is one class and nothing to learn; masks of black and white (0 and 255)?"
        remedy = "data.label_ids=[0,255]" if binary else "masks hold class ids: 0 for the background, then 1, 2, ..."
        meaning = meaning if train.ignored else "there is nothing to learn"
        found.append(Finding("stop", what, meaning, remedy, tuple(seen[:_SHOWN])))
    if only_ignored:
        what = f"{train.name}: {len(only_ignored)} of {looked_at} have nothing but ignored pixels"
        meaning, remedy = "they teach nothing and take their share of every batch", "label them, or take them out"
        found.append(Finding("warning", what, meaning, remedy, tuple(only_ignored[:_SHOWN])))
    if black_and_white and len(present) > 1:
        what = f"{train.name}: {len(black_and_white)} of {looked_at} have masks of 0 and 255 alone, others hold ids"
        meaning = "255 means ignore: if white is an object in them, it is not learned, and what is left is background"
        remedy = "give those masks class ids, or take them out"
        # Now and then a picture has background and ignored borders alone; where many do, it is another numbering.
        severity: Literal["stop", "warning"] = "stop" if 4 * len(black_and_white) >= train.looked_at else "warning"
        found.append(Finding(severity, what, meaning, remedy, tuple(black_and_white[:_SHOWN])))
    found += _of_balance(classes, splits, pixels, present)
    return found


def _of_balance(
    classes: Sequence[str], splits: Sequence[Split], pixels: np.ndarray, present: np.ndarray
) -> list[Finding]:
    train, found = splits[0], []
    absent = [classes[i] for i in range(len(classes)) if not pixels[i]]
    if absent and len(present) > 1:
        unseen = [classes[i] for s in splits[1:] for i in range(len(classes)) if s.pixels[i] and not pixels[i]]
        what = f"{train.name}: no pixel of {', '.join(absent)} in {train.looked_at} pictures looked at"
        meaning = f"{', '.join(unseen)} would be measured and never learned" if unseen else "they cannot be learned"
        remedy = "add pictures of them, check the numbering, or leave them out of data.classes (rare: check_data=true)"
        found.append(Finding("warning", what, meaning, remedy))
    largest, share = int(pixels.argmax()), float(pixels.max() / pixels.sum())
    if share > 0.95 and len(present) > 1:
        what = f"{train.name}: {share:.1%} of the labeled pixels are {classes[largest]}"
        meaning = "always answering that class is nearly right: the other classes may never be learned"
        found.append(Finding("warning", what, meaning, "weigh the classes in the loss (weights above), or cut closer"))
    ignored = train.ignored / (train.ignored + int(pixels.sum()))
    if ignored > 0.5 and len(present) > 1:
        what = f"{train.name}: {ignored:.1%} of all pixels are ignored (255)"
        meaning = "most of each picture teaches nothing; 255 may be a class of yours"
        found.append(Finding("warning", what, meaning, "data.label_ids says which value is which class"))
    return found


def _same_files(train: Source, val: Source) -> set[str]:
    """Pictures of one content under two names; only files of the same length are read."""
    if not train.names or not val.names or train.size is None or val.size is None:
        return set()
    train_images, val_images = train.files[::2], val.files[::2]
    by_size: dict[int, list[Path]] = {}
    for path in train_images:
        if path.is_file():
            by_size.setdefault(path.stat().st_size, []).append(path)
    twins = set()
    for path in val_images:
        alike = [p for p in by_size.get(path.stat().st_size, ()) if p != path] if path.is_file() else []
        if alike:
            content = hashlib.sha256(path.read_bytes()).digest()
            twins |= {f"{p.stem} = {path.stem}" for p in alike if hashlib.sha256(p.read_bytes()).digest() == content}
    return twins
