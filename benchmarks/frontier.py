r"""Measures mIoU against milliseconds and bytes for a set of .tflite files, and answers which file fits a budget.

    python -m benchmarks.frontier MODEL... --voc VOCDEVKIT --out DIR [--images 60] [--budget-ms 10]
    python -m benchmarks.frontier a.tflite starter.tflite,fit=stretch runs/mine official --voc VOCDEVKIT --out DIR \
        --size 513 449:letterbox --output-stride 16 8 --mask-stride 4 --quantization int8 int8_per_tensor

A MODEL that is a .tflite file is measured as it is, at its own size; `,fit=` is how images meet it, by default as the
file states. A run folder and the name of published weights (official, official_050, starter) are exported into DIR,
once for each combination of the grid: --size (SIDE, HEIGHTxWIDTH or `own`, with `:letterbox`, `:stretch` or `:pad`),
--output-stride, --mask-stride and --quantization (int8, int8_per_tensor, float32, float16, dynamic, int16x8).

mIoU is measured on the validation images of the VOCdevkit, or without --voc on those of the first run, whose training
images then also calibrate published weights. The paired differences and the speeds refer to --reference. The
milliseconds of all files are measured in one interleaved run, as in benchmarks/export_speed.py, for each number of
--threads; fronts, order and budgets use the first number. DIR/frontier.html shows charts and the table with the Pareto
fronts of (ms, mIoU) and (bytes, mIoU); DIR/frontier.json contains the values.

Exported files and scores are kept in DIR: an interrupted command resumes, and a longer list of models, or more images,
evaluates only what is missing. Delete DIR after a change of the code. Milliseconds are measured in each call, on an
idle machine or with --cpu-time.
"""

import argparse
import os
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.frontier_files import (
    OWN_SIZE,
    Entry,
    Exports,
    Given,
    Grid,
    Listed,
    list_entries,
    parse_given,
    parse_quantization,
    parse_size,
)
from benchmarks.frontier_scores import kept_folder, measured_scores
from benchmarks.frontier_table import (
    Frontier,
    Row,
    answer,
    frontier_mapping,
    markdown,
    page,
    relative_speed,
    threads_text,
)
from deeplab.config import DataConfig, checked, to_mapping
from deeplab.config.ranges import OutputStride, PositiveFloat, PositiveInt, Threads
from deeplab.conversion.timing import interleaved_milliseconds
from deeplab.datasets.open import open_source
from deeplab.datasets.source import Source, fingerprint
from deeplab.errors import UserError
from deeplab.evaluation.bootstrap import difference_interval, miou_interval
from deeplab.evaluation.scores import Scores
from deeplab.files import atomic_write, check_writable, file_sha256, write_json
from deeplab.prediction.predictor import tflite_predictor
from deeplab.rendering.console import plain_warnings
from deeplab.run_folder import check_class_count, is_tflite, open_model
from deeplab.tflite.interpreter import TfliteModel

JSON_FILE, PAGE_FILE, SCORES_FOLDER = "frontier.json", "frontier.html", "scores"
BOOTSTRAP_SAMPLES = 2000


@dataclass(frozen=True)
class Times:
    """Milliseconds of files, by number of threads and SHA-256, `[rounds]` each, and how they were measured."""

    milliseconds: dict[int, dict[str, np.ndarray]]
    conditions: str


def check_classes(listed: Sequence[Listed], source: Source) -> None:
    """Raise UserError if a file or a run has another number of classes than the data, or a file cannot run."""
    for entry, config in listed:
        if config is not None:
            check_class_count(source.classes, len(open_model(config.run).description.classes), config.run)
        elif classes := TfliteModel(open_model(entry.path).tflite).classes:
            check_class_count(source.classes, classes, entry.path)


def evaluated(entries: Sequence[Entry], source: Source, count: int, data: str, folder: Path) -> list[Scores]:
    """Return the scores of each file on the first `count` images; prints a line for each file."""
    result = []
    for number, entry in enumerate(entries, 1):
        start, place = time.monotonic(), f"[{number}/{len(entries)}] {entry.name}"
        print(f"{place}: measuring mIoU on {count} images ...", file=sys.stderr, flush=True)
        kept = kept_folder(folder, file_sha256(entry.path), entry.fit, data)

        def make_predictor(entry: Entry = entry) -> Any:
            return tflite_predictor(TfliteModel(open_model(entry.path).tflite), entry.fit)

        scores, new = measured_scores(make_predictor, source, count, kept, entry.name)
        effort = f"{time.monotonic() - start:.0f} s" if new == count else f"{count - new} images were evaluated before"
        print(f"{place}: mIoU {scores.labeled_miou:.2%}, {effort}", file=sys.stderr, flush=True)
        result.append(scores)
    return result


def measured_times(entries: Sequence[Entry], threads: Sequence[int], rounds: int, cpu_time: bool) -> Times:
    """Measure the milliseconds of all files in one interleaved run."""
    load, clock = os.getloadavg()[0], time.process_time if cpu_time else time.perf_counter
    files = {file_sha256(entry.path): open_model(entry.path).tflite for entry in entries}
    measured = {}
    for count in threads:
        print(f"Measuring milliseconds with {threads_text(count)}, {rounds} rounds ...", file=sys.stderr, flush=True)
        measured[count] = interleaved_milliseconds(files, count, rounds, clock)
    conditions = (
        f"Milliseconds: medians of {'CPU time' if cpu_time else 'elapsed time'} over {rounds} interleaved rounds on "
        f"{os.cpu_count()} cores, load of the machine {load:.1f}; network only, with XNNPACK."
    )
    return Times(measured, conditions)


def make_frontier(
    entries: Sequence[Entry], scores: Sequence[Scores], times: Times, reference: str, data: str, notes: Sequence[str]
) -> Frontier:
    """Combine scores and times of the files; `reference` is the name of one of them."""
    index = [entry.name for entry in entries].index(reference)
    base, rows = file_sha256(entries[index].path), []
    for entry, each in zip(entries, scores, strict=True):
        model, key = TfliteModel(open_model(entry.path).tflite), file_sha256(entry.path)
        difference = difference_interval(each, scores[index], BOOTSTRAP_SAMPLES) if entry != entries[index] else None
        row = Row(
            name=entry.name,
            path=str(entry.path),
            sha256=key,
            input=f"{model.input.dtype} {_sides(model.image_size)} {fit_text(entry, model, each)}",
            output=f"{'labels' if model.returns_labels else model.output.dtype} {_sides(model.mask_size)}",
            bytes=entry.path.stat().st_size,
            miou=miou_interval(each, BOOTSTRAP_SAMPLES, labeled=True),
            difference=difference,
            milliseconds={n: float(np.median(measured[key])) for n, measured in times.milliseconds.items()},
            speed={n: relative_speed(measured[base], measured[key]) for n, measured in times.milliseconds.items()},
        )
        rows.append(row)
    labeled = scores[0].labeled_classes
    missing = f"mIoU is over the {labeled} of {len(scores[0].classes)} classes that the labels contain."
    all_notes = [*notes, *([missing] if labeled < len(scores[0].classes) else [])]
    rows.sort(key=lambda row: row.time)
    return Frontier(tuple(rows), reference, data, times.conditions, tuple(all_notes))


def _sides(size: tuple[int, int]) -> str:
    return "x".join(map(str, size))


def fit_text(entry: Entry, model: TfliteModel, scores: Scores) -> str:
    """Return how images met a file: "auto" pads them, and stretches those that are too large."""
    fit = model.fit if entry.fit == "auto" else entry.fit
    if fit != "auto":
        return {"pad": "padded", "letterbox": "letterboxed", "stretch": "stretched"}[fit]
    found = {"padded": scores.stretched < len(scores.names), "stretched": scores.stretched > 0}
    return " or ".join(verb for verb, occurs in found.items() if occurs)


def measure(args: argparse.Namespace) -> tuple[Frontier, list[str]]:
    """Export, evaluate and time the files; return the frontier and the answers to the budgets.

    Raises:
        UserError: an argument is wrong, or a model or the data are missing.
    """
    given, grid = [parse_given(text) for text in args.models], _grid(args)
    out, images, rounds = args.out, args.images, checked(PositiveInt, args.rounds, "--rounds")
    threads = [checked(Threads, count, "--threads") for count in dict.fromkeys(args.threads)]
    ms = None if args.budget_ms is None else checked(PositiveFloat, args.budget_ms, "--budget-ms")
    size = None if args.budget_bytes is None else checked(PositiveInt, args.budget_bytes, "--budget-bytes")
    for name in (JSON_FILE, PAGE_FILE):
        check_writable(out / name)
    data, published_data = _data(given, args.voc)
    source = open_source(data, data.val_split)
    count = _count(source, images)
    listed = list_entries(given, grid, published_data, out)
    check_classes(listed, source)
    reference = args.reference or listed[0][0].name
    if reference not in [entry.name for entry, _ in listed]:
        known = ", ".join(entry.name for entry, _ in listed)
        raise UserError("--reference", f"expected one of {known}, got {reference!r}", "correct it")
    entries, notes = _exported(listed, reference, out)
    scores = evaluated(entries, source, count, fingerprint(source, data), out / SCORES_FOLDER)
    times = measured_times(entries, threads, rounds, args.cpu_time)
    frontier = make_frontier(entries, scores, times, reference, f"{source.name}, {count} images", notes)
    return frontier, [answer(frontier, ms, size)] if ms is not None or size is not None else []


def _count(source: Source, images: int | None) -> int:
    """Return the number of images to evaluate: `images`, or all."""
    if images is None and source.size is None:
        raise UserError("--images", f"{source.name} is endless", "give a number")
    counts = [checked(PositiveInt, n, "--images") for n in (images, source.size) if n is not None]
    return min(counts)


def _grid(args: argparse.Namespace) -> Grid:
    """Return the grid; raises UserError if a value is wrong, or if no model is exported with it."""
    names = ("size", "output_stride", "mask_stride", "quantization")
    used = [f"--{name.replace('_', '-')}" for name in names if getattr(args, name) is not None]
    if used and all(is_tflite(parse_given(text).path) for text in args.models):
        remedy = "add a run folder or the name of published weights, or leave the option out"
        raise UserError(", ".join(used), "no model is exported: .tflite files are measured as they are", remedy)
    return Grid(
        tuple(parse_size(text) for text in args.size or [OWN_SIZE]),
        tuple(checked(OutputStride, stride, "--output-stride") for stride in args.output_stride or [16]),
        tuple(checked(PositiveInt, stride, "--mask-stride") for stride in args.mask_stride or [4]),
        tuple(parse_quantization(text) for text in args.quantization or ["int8"]),
    )


def _data(given: Sequence[Given], voc: Path | None) -> tuple[DataConfig, dict[str, Any]]:
    """Return the data to evaluate on, and the keys of DataConfig for the export of published weights.

    Raises:
        UserError: there is neither a VOCdevkit nor a run folder.
    """
    if voc is not None:
        data = DataConfig(source="voc", root=str(voc))
    else:
        runs = [model for model in given if not is_tflite(model.path) and not open_model(model.path).is_tflite]
        if not runs:
            problem = "no data to evaluate on"
            raise UserError("--voc", problem, "add --voc VOCDEVKIT, or a run folder, whose data are taken")
        data = open_model(runs[0].path).data(None)
    # The other settings of a training are not those of an export.
    images = replace(data, resize="none", image_size=None, cache_memory=DataConfig.cache_memory, unlabelled=None)
    default = to_mapping(DataConfig())
    changed = {key: value for key, value in to_mapping(images).items() if value != default[key]}
    return data, {"source": data.source, **changed}


def _exported(listed: Sequence[Listed], reference: str, out: Path) -> tuple[list[Entry], list[str]]:
    """Export what is missing; return the files, and a sentence for each file that fails a check and is left out."""
    exports, entries, notes = Exports(out), [], []
    for entry, config in listed:
        try:
            if config is not None:
                exports.make(config, lambda line: print(line, file=sys.stderr, flush=True))
            entries.append(entry)
        except UserError as error:
            if entry.name == reference:
                raise
            notes.append(f"{entry.name} is missing: {error}.")
            print(f"warning: {notes[-1]}", file=sys.stderr, flush=True)
    return entries, notes


def write(frontier: Frontier, answers: Sequence[str], out: Path) -> None:
    """Print the table and the answers, and write the page and the JSON file."""
    print(f"{frontier.data}; differences and speeds (x) refer to {frontier.reference}\n\n{markdown(frontier)}\n")
    for line in (frontier.conditions, *frontier.notes, *answers):
        print(line)
    write_json(out / JSON_FILE, frontier_mapping(frontier, answers))
    with atomic_write(out / PAGE_FILE) as temporary:
        temporary.write_text(page(frontier, answers), encoding="utf-8")
    print(f"written: {out / PAGE_FILE}, {out / JSON_FILE}")


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure the files that the arguments name."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("models", nargs="+", metavar="MODEL")
    parser.add_argument("--out", type=Path, required=True, help="folder for the page, exported files and kept results")
    parser.add_argument("--voc", type=Path, metavar="VOCDEVKIT", help="evaluate on VOC 2012 val")
    parser.add_argument("--images", type=int, help="number of images to evaluate; all by default")
    parser.add_argument("--reference", metavar="NAME", help="name of the file to compare with; the first by default")
    parser.add_argument("--size", nargs="+", help="input sizes of exported files, as in 449:letterbox (default: own)")
    parser.add_argument("--output-stride", type=int, nargs="+", help="of exported files (default: 16)")
    parser.add_argument("--mask-stride", type=int, nargs="+", help="of exported files (default: 4)")
    parser.add_argument("--quantization", nargs="+", help="of exported files (default: int8)")
    parser.add_argument("--threads", type=int, nargs="+", default=[1, 2], help="numbers of threads (default: 1 2)")
    parser.add_argument("--rounds", type=int, default=25, help="rounds to measure milliseconds in (default: 25)")
    parser.add_argument("--cpu-time", action="store_true", help="CPU time instead of elapsed time")
    parser.add_argument("--budget-ms", type=float, help="state which file to take for this time")
    parser.add_argument("--budget-bytes", type=int, help="state which file to take for this size")
    args = parser.parse_args(arguments)
    try:
        with plain_warnings():
            write(*measure(args), args.out)
    except UserError as error:
        raise SystemExit(f"error: {error}") from None
    except KeyboardInterrupt:
        print(f"interrupted: {args.out} keeps the exported files and the scores; repeat the command", file=sys.stderr)
        raise SystemExit(130) from None


if __name__ == "__main__":
    main()
