"""Exports runs for every target, and measures the files: the evidence for the table in docs/figures.md.

    python -m benchmarks.export_targets RUN_OR_TFLITE... --out FOLDER [--voc VOCDEVKIT] [--images 50] [--rounds 15]

Each run is exported for every target with the settings that the target makes, and checked as export.py does, except
for the mIoU drop; files that FOLDER contains already are not exported again. mIoU is measured on the first validation
images of the run, or of VOC for a .tflite file; images that are larger than the input are stretched. Milliseconds are
medians with one thread and XNNPACK; every round runs each file of a run once. The last columns are verdicts by rule
(deeplab/compatibility/rules.toml).

`--images 0` measures no mIoU, and `--rounds 0` no milliseconds: mIoU may be measured on a busy machine, milliseconds
may not. FOLDER/measured.json keeps both by the SHA-256 of a file, and the table shows what is known. A file with the
bytes of another one is measured once, and mIoU on the same images is not measured again.
"""

import argparse
import os
from pathlib import Path
from typing import Any

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")

import numpy as np

from deeplab.compatibility.rules import targets
from deeplab.compatibility.summary import compatibility
from deeplab.config import ExportConfig, record_given
from deeplab.conversion.export import export
from deeplab.conversion.export_report import sha256
from deeplab.conversion.keras_reference import open_validation
from deeplab.conversion.timing import interleaved_milliseconds
from deeplab.datasets.source import Source
from deeplab.errors import UserError
from deeplab.evaluation.evaluate import evaluate
from deeplab.files import read_json, write_json
from deeplab.prediction.predictor import tflite_predictor
from deeplab.run_folder import open_model
from deeplab.tflite.interpreter import TfliteModel
from deeplab.tflite.tflite_file import TfliteFile, open_tflite, report_path

ROWS: dict[str, dict[str, Any]] = {
    **{name: {"target": name} for name in targets()},
    "npu, per_tensor=false": {"target": "npu", "per_tensor": False},
}
"""The settings of each row of the table: those of a target, and those of the file that shows what per_tensor costs."""
COLUMNS = ("target", "quantization", "input", "output", "bytes", "ms", "mIoU", "apps and clients", "by rule")
RESULTS_FILE = "measured.json"


def export_targets(configs: dict[str, ExportConfig]) -> dict[str, Path]:
    """Export a run for each row unless its file exists; return the files, without those that fail a check."""
    paths = {}
    for name, config in configs.items():
        path = Path(str(config.out))
        try:
            if not report_path(path).is_file():
                export(config)
            paths[name] = path
        except UserError as error:
            print(f"# {config.run}, {name}: {error}", flush=True)
    return paths


class Results:
    """The measured values of files by SHA-256, in a JSON file that is written after each measurement."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._values: dict[str, dict[str, Any]] = read_json(path) if path.is_file() else {}

    def of(self, file: TfliteFile) -> dict[str, Any]:
        """Return the values of a file: "miou" (percent), "images", "source", "milliseconds", "load"; some may miss."""
        return self._values.get(sha256(file.content), {})

    def add(self, file: TfliteFile, **values: Any) -> None:
        """Record values of a file, which replace earlier ones."""
        self._values[sha256(file.content)] = {**self.of(file), **values}
        write_json(self._path, self._values)


def measure(files: dict[str, TfliteFile], source: Source, images: int, rounds: int, results: Results) -> None:
    """Measure mIoU on the first `images` of `source` where it is not known, and milliseconds in `rounds` rounds."""
    different = {sha256(file.content): file for file in files.values()}
    if rounds:
        load = os.getloadavg()[0]
        for key, times in interleaved_milliseconds(different, 1, rounds).items():
            results.add(different[key], milliseconds=float(np.median(times)), load=load)
    for file in different.values() if images else ():
        scope = {"images": images, "source": source.name}
        if scope.items() <= results.of(file).items():
            continue
        predictor = tflite_predictor(TfliteModel(file))
        miou = 100 * evaluate(predictor, source.examples(images), source.classes).miou
        results.add(file, miou=float(miou), **scope)
        print(f"# {Path(file.name).name}: mIoU {miou:.2f}", flush=True)


def print_table(run: str, files: dict[str, TfliteFile], results: Results) -> None:
    known = [results.of(file) for file in files.values()]
    scopes = sorted({f"{value['images']} images of {value['source']}" for value in known if "miou" in value})
    loads = sorted({f"{value['load']:.1f}" for value in known if "load" in value})
    print(f"\n{run}: mIoU on {', '.join(scopes) or 'no images'}; load of the machine: {', '.join(loads) or '-'}\n")
    print(f"| {' | '.join(COLUMNS)} |\n|{'---|' * len(COLUMNS)}")
    for (name, file), value in zip(files.items(), known, strict=True):
        report, found = read_json(report_path(file.name)), compatibility(file)
        cells = (
            *(name, report["settings"]["quantization"], report["input"], report["output"], f"{len(file.content):,}"),
            f"{value['milliseconds']:.1f}" if "milliseconds" in value else "-",
            f"{value['miou']:.2f}" if "miou" in value else "-",
            f"{sum(app.opens for app in found.apps)} of {len(found.apps)}",
            "; ".join(found.rows(targets()[ROWS[name]["target"]].rows)),
        )
        print(f"| {' | '.join(cells)} |", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("runs", nargs="+")
    parser.add_argument("--out", type=Path, required=True, help="folder for the files and their reports")
    parser.add_argument("--voc", type=Path, help="a VOCdevkit, for .tflite files")
    parser.add_argument("--images", type=int, default=50, help="images to measure mIoU on; 0 measures none")
    parser.add_argument("--rounds", type=int, default=15, help="rounds to measure milliseconds in; 0 measures none")
    parser.add_argument("--targets", nargs="+", choices=list(ROWS), default=list(ROWS))
    args = parser.parse_args()
    args.out.mkdir(parents=True, exist_ok=True)
    results = Results(args.out / RESULTS_FILE)
    for run in args.runs:
        data = {"source": "voc", "root": str(args.voc)} if Path(run).is_file() and args.voc else None
        configs = {}
        for name in args.targets:
            stem = "_".join([Path(run).stem, *(str(value).lower() for value in ROWS[name].values())])
            out = str(args.out / f"{stem}.tflite")
            config = ExportConfig(run, out=out, agreement_images=1, miou_images=0, data=data, **ROWS[name])
            configs[name] = record_given(config, {"data", *ROWS[name]})
        source = open_validation(open_model(run), next(iter(configs.values())))
        paths = export_targets(configs)
        if paths and source is not None:
            files = {name: open_tflite(path) for name, path in paths.items()}
            measure(files, source, args.images, args.rounds, results)
            print_table(run, files, results)


if __name__ == "__main__":
    main()
