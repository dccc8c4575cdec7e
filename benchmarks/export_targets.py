"""Exports runs for every target, and measures the files: the evidence for the table in docs/figures.md.

    python -m benchmarks.export_targets RUN_OR_TFLITE... --out FOLDER [--voc VOCDEVKIT] [--images 50] [--rounds 15]

Each run is exported for every target with the settings that the target makes, and checked as export.py does, except for
the mIoU drop. mIoU is measured on the first validation images of the run, or of VOC for a .tflite file; images that are
larger than the input are stretched. Milliseconds are medians with one thread and XNNPACK; every round runs each file of
a run once. The last columns are verdicts by rule (deeplab/compatibility/rules.toml).
"""

import argparse
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")

import numpy as np

from deeplab.compatibility.rules import targets
from deeplab.config import ExportConfig
from deeplab.conversion.export import export
from deeplab.conversion.export_report import Report
from deeplab.conversion.export_settings import resolve_settings
from deeplab.conversion.timing import interleaved_milliseconds
from deeplab.datasets.source import Source
from deeplab.errors import UserError
from deeplab.evaluation.evaluate import evaluate
from deeplab.prediction.predictor import tflite_predictor
from deeplab.tflite.interpreter import TfliteModel
from deeplab.tflite.tflite_file import TfliteFile, open_tflite

COLUMNS = ("target", "quantization", "input", "output", "bytes", "ms", "mIoU", "apps and clients", "by rule")


def export_targets(
    run: str, folder: Path, data: Mapping[str, Any] | None, names: list[str]
) -> tuple[dict[str, Report], Source | None]:
    """Export a run for each target; return the reports of the written files, and the validation images."""
    reports, source = {}, None
    for name in names:
        out = folder / f"{Path(run).stem}_{name}.tflite"
        config = ExportConfig(
            run, out=str(out), target=name, agreement_images=1, miou_images=0, data=dict(data) if data else None
        )
        try:
            source = resolve_settings(config).validation
            reports[name] = export(config)[0]
        except UserError as error:
            print(f"# {run}, target={name}: {error}", flush=True)
    return reports, source


def print_table(
    run: str, reports: Mapping[str, Report], source: Source, folder: Path, args: argparse.Namespace
) -> None:
    files: dict[str, TfliteFile] = {name: open_tflite(folder / report.file) for name, report in reports.items()}
    times = interleaved_milliseconds(files, 1, args.rounds)
    print(f"\n{run}: {args.images} images of {source.name}; load of the machine: {os.getloadavg()[0]:.1f}\n")
    print(f"| {' | '.join(COLUMNS)} |\n|{'---|' * len(COLUMNS)}")
    for name, report in reports.items():
        predictor = tflite_predictor(TfliteModel(files[name]))
        miou = 100 * evaluate(predictor, source.examples(args.images), source.classes).miou
        compatibility = report.compatibility
        assert compatibility is not None
        opening = f"{sum(app.opens for app in compatibility.apps)} of {len(compatibility.apps)}"
        cells = (
            *(name, report.settings["quantization"], report.input, report.output, f"{report.bytes:,}"),
            *(f"{np.median(times[name]):.1f}", f"{miou:.2f}", opening),
            "; ".join(compatibility.rows(targets()[name].rows)),
        )
        print(f"| {' | '.join(cells)} |", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("runs", nargs="+")
    parser.add_argument("--out", type=Path, required=True, help="folder for the files and their reports")
    parser.add_argument("--voc", type=Path, help="a VOCdevkit, for .tflite files")
    parser.add_argument("--images", type=int, default=50)
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--targets", nargs="+", choices=list(targets()), default=list(targets()))
    args = parser.parse_args()
    args.out.mkdir(parents=True, exist_ok=True)
    voc = {"source": "voc", "root": str(args.voc)}
    for run in args.runs:
        data = voc if Path(run).is_file() and args.voc else None
        reports, source = export_targets(run, args.out, data, args.targets)
        if reports and source is not None:
            print_table(run, reports, source, args.out, args)


if __name__ == "__main__":
    main()
