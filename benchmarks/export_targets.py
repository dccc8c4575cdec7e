"""Exports runs for every target, and measures the files: the evidence for the table in docs/figures.md.

    python -m benchmarks.export_targets RUN_OR_TFLITE... --out FOLDER [--voc VOCDEVKIT] [--images 50] [--rounds 15]

Each run is exported for every target with the settings that the target makes, and checked as export.py does, except
for the mIoU drop; files that FOLDER contains already are not exported again. mIoU is measured on the first validation
images of the run, or of VOC for a .tflite file; images that are larger than the input are stretched. Milliseconds are
medians with one thread and XNNPACK; every round runs each file of a run once. The last columns are verdicts by rule
(deeplab/compatibility/rules.toml).
"""

import argparse
import os
from pathlib import Path

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")

import numpy as np

from deeplab.compatibility.rules import targets
from deeplab.compatibility.summary import compatibility
from deeplab.config import ExportConfig
from deeplab.conversion.export import export
from deeplab.conversion.keras_reference import open_validation
from deeplab.conversion.timing import interleaved_milliseconds
from deeplab.datasets.source import Source
from deeplab.errors import UserError
from deeplab.evaluation.evaluate import evaluate
from deeplab.files import read_json
from deeplab.prediction.predictor import tflite_predictor
from deeplab.run_folder import open_model
from deeplab.tflite.interpreter import TfliteModel
from deeplab.tflite.tflite_file import open_tflite, report_path

COLUMNS = ("target", "quantization", "input", "output", "bytes", "ms", "mIoU", "apps and clients", "by rule")


def export_targets(configs: dict[str, ExportConfig]) -> dict[str, Path]:
    """Export a run for each target unless its file exists; return the files, without those that fail a check."""
    paths = {}
    for name, config in configs.items():
        path = Path(str(config.out))
        try:
            if not report_path(path).is_file():
                export(config)
            paths[name] = path
        except UserError as error:
            print(f"# {config.run}, target={name}: {error}", flush=True)
    return paths


def print_table(run: str, paths: dict[str, Path], source: Source, images: int, rounds: int) -> None:
    files = {name: open_tflite(path) for name, path in paths.items()}
    times = interleaved_milliseconds(files, 1, rounds)
    print(f"\n{run}: {images} images of {source.name}; load of the machine: {os.getloadavg()[0]:.1f}\n")
    print(f"| {' | '.join(COLUMNS)} |\n|{'---|' * len(COLUMNS)}")
    for name, file in files.items():
        report, found = read_json(report_path(file.name)), compatibility(file)
        predictor = tflite_predictor(TfliteModel(file))
        miou = 100 * evaluate(predictor, source.examples(images), source.classes).miou
        cells = (
            *(name, report["settings"]["quantization"], report["input"], report["output"], f"{len(file.content):,}"),
            *(f"{np.median(times[name]):.1f}", f"{miou:.2f}"),
            f"{sum(app.opens for app in found.apps)} of {len(found.apps)}",
            "; ".join(found.rows(targets()[name].rows)),
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
    for run in args.runs:
        data = {"source": "voc", "root": str(args.voc)} if Path(run).is_file() and args.voc else None
        configs = {}
        for name in args.targets:
            out = str(args.out / f"{Path(run).stem}_{name}.tflite")
            configs[name] = ExportConfig(run, out=out, target=name, agreement_images=1, miou_images=0, data=data)
        source = open_validation(open_model(run), next(iter(configs.values())))
        paths = export_targets(configs)
        if paths and source is not None:
            print_table(run, paths, source, args.images, args.rounds)


if __name__ == "__main__":
    main()
