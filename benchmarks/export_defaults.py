"""Measures what each setting of an int8 export costs in time and accuracy: the evidence for the defaults.

    python -m benchmarks.export_defaults RUN_OR_TFLITE --voc VOCDEVKIT [--size 513] [--images 100] [--rounds 20]

The first row has the defaults; each other row changes one of them (the last one two). Milliseconds are medians with one
thread; every round runs each file once. mIoU is measured on the first images of VOC val, padded and never resized. The
last column is the drop from the float network at the same output stride.
"""

import argparse
import os
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from deeplab.config import ExportOutput, IoType
from deeplab.conversion.calibration import choose_calibration
from deeplab.conversion.convert import calibrate, quantize
from deeplab.conversion.export_graph import export_graph
from deeplab.conversion.timing import interleaved_milliseconds
from deeplab.datasets.open import limited
from deeplab.datasets.voc import voc_source
from deeplab.evaluation.evaluate import evaluate
from deeplab.prediction.predictor import keras_predictor, tflite_predictor
from deeplab.run_folder import load_model
from deeplab.tflite.interpreter import TfliteModel
from deeplab.tflite.metadata import write_metadata


@dataclass(frozen=True)
class Setting:
    """The settings of one row."""

    output_stride: int = 16
    output: ExportOutput = "logits"
    mask_stride: int = 1
    calibration: int = 16
    input_type: IoType = "uint8"
    output_type: IoType = "uint8"


BASE = Setting()
ROWS = {
    "the defaults": BASE,
    "mask_stride=4": replace(BASE, mask_stride=4),
    "mask_stride=16": replace(BASE, mask_stride=16),
    "output=probabilities": replace(BASE, output="probabilities"),
    "output=labels": replace(BASE, output="labels"),
    "output_type=float32": replace(BASE, output_type="float32"),
    "input_type=float32": replace(BASE, input_type="float32"),
    "calibration_images=4": replace(BASE, calibration=4),
    "calibration_images=64": replace(BASE, calibration=64),
    "output_stride=8": replace(BASE, output_stride=8),
    "output_stride=8 mask_stride=4": replace(BASE, output_stride=8, mask_stride=4),
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run")
    parser.add_argument("--voc", type=Path, required=True)
    parser.add_argument("--size", type=int, default=513)
    parser.add_argument("--images", type=int, default=100)
    parser.add_argument("--rounds", type=int, default=20)
    parser.add_argument("--rows", nargs="+", choices=list(ROWS), default=list(ROWS))
    args = parser.parse_args()
    size = (args.size, args.size)
    training, validation = voc_source(args.voc, "train"), limited(voc_source(args.voc, "val"), args.images)
    models = {s: load_model(args.run, s, args.size) for s in sorted({ROWS[r].output_stride for r in args.rows})}
    # Drops are over the classes in the labels; see iou_of_labeled.
    floats = {
        stride: 100
        * evaluate(keras_predictor(model), validation.examples(args.images), validation.classes).labeled_miou
        for stride, model in models.items()
    }
    print("float:", ", ".join(f"OS{stride} {miou:.2f}" for stride, miou in floats.items()), flush=True)
    images = choose_calibration(training, max(ROWS[r].calibration for r in args.rows), size, 0).images
    calibrated: dict[Setting, bytes] = {}
    contents = {}
    for name in args.rows:
        row = ROWS[name]
        key = replace(row, input_type="uint8", output_type="uint8")
        if key not in calibrated:
            function = export_graph(models[row.output_stride], row.output, row.mask_stride)
            calibrated[key] = calibrate(function, size, images[: row.calibration])
        content = quantize(calibrated[key], row.input_type, row.output_type)
        contents[name] = write_metadata(content, validation.classes)
    times = interleaved_milliseconds(contents, 1, args.rounds)
    print(f"load of the machine: {os.getloadavg()[0]:.1f} on {os.cpu_count()} cores; {args.images} images\n")
    print("| setting | bytes | ms, 1 thread | mIoU | drop from float |\n|---|---|---|---|---|")
    for name, content in contents.items():
        predictor = tflite_predictor(TfliteModel(content))
        miou = 100 * evaluate(predictor, validation.examples(args.images), validation.classes).labeled_miou
        drop = floats[ROWS[name].output_stride] - miou
        ms = np.median(times[name])
        print(f"| {name} | {len(content):,} | {ms:.1f} | {miou:.2f} | {drop:+.2f} |", flush=True)


if __name__ == "__main__":
    main()
