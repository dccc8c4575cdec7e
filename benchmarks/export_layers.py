"""Finds the layers that lose most accuracy in int8, to name them in `float_layers`.

    python -m benchmarks.export_layers RUN_OR_TFLITE [--size 257] [--output-stride 16] [--voc VOCDEVKIT]
        [--images 4] [--float-trials 12]

For each operator it prints the relative error of its output in int8 (rms of the error / standard deviation; all earlier
operators are int8 as well). For the operators that add most to the error, it also prints the error of the scores if
only this operator stays float. Without --voc it uses drawn scenes, which suffice to find an outlier.
"""

import argparse
from pathlib import Path

from benchmarks.sensitivity import sensitivities
from deeplab.conversion.calibration import choose_calibration
from deeplab.conversion.convert import calibrate
from deeplab.conversion.export_graph import export_graph
from deeplab.conversion.keras_reference import first_images
from deeplab.datasets.shapes import shapes_source
from deeplab.datasets.voc import voc_source
from deeplab.pixels import mean_pixel
from deeplab.run_folder import open_model


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run", help="run folder or .tflite file")
    parser.add_argument("--size", type=int, default=257, help="side of the input in pixels")
    parser.add_argument("--output-stride", type=int, default=16)
    parser.add_argument("--voc", type=Path, help="VOCdevkit folder")
    parser.add_argument("--images", type=int, default=4, help="number of validation images")
    parser.add_argument("--float-trials", type=int, default=12, help="number of operators tried as the only float one")
    args = parser.parse_args()
    size = (args.size, args.size)
    training = voc_source(args.voc, "train") if args.voc else shapes_source("train", args.size)
    validation = voc_source(args.voc, "val") if args.voc else shapes_source("val", args.size)
    run = open_model(args.run)
    function, padding = export_graph(run.load(args.output_stride, size)), mean_pixel(run.description.config.backbone)
    calibrated = calibrate(function, size, choose_calibration(training, 16, size, 0, padding).images)
    images = first_images(validation, args.images, size, 0, padding)
    score_error, operators = sensitivities(calibrated, images, args.float_trials)
    print(f"error of the scores in int8: {score_error:.4f}")
    print(f"{'layer':36} {'operator':20} {'error':>8} {'error of the scores if only it is float':>42}")
    for entry in operators:
        measured = "" if entry.score_error is None else f"{entry.score_error:.4f}"
        print(f"{entry.layer:36} {entry.operator:20} {entry.error:8.4f} {measured:>42}")


if __name__ == "__main__":
    main()
