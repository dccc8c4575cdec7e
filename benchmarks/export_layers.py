"""Which layers int8 hurts most, so that `float_layers` can name them.

    python -m benchmarks.export_layers RUN_OR_TFLITE [--size 257] [--output-stride 16] [--voc VOCDEVKIT] [--tried 12]

For each operator: the error of what it gives in int8 (rms over standard deviation, all before it in int8 too), and for
those that add most to it the error of the scores when this one alone stays float. Without --voc the pictures are
drawn scenes, which are good enough to find a layer that is out of line.
"""

import argparse
from pathlib import Path

import numpy as np

from benchmarks.sensitivity import sensitivities
from deeplab.conversion.calibration import choose_calibration
from deeplab.conversion.convert import calibrate
from deeplab.conversion.export_graph import export_graph
from deeplab.datasets.shapes import shapes_source
from deeplab.datasets.voc import voc_source
from deeplab.prediction.image_fit import fit_image
from deeplab.run_folder import load_model


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run")
    parser.add_argument("--size", type=int, default=257)
    parser.add_argument("--output-stride", type=int, default=16)
    parser.add_argument("--voc", type=Path)
    parser.add_argument("--pictures", type=int, default=4)
    parser.add_argument("--tried", type=int, default=12)
    chosen = parser.parse_args()
    size = (chosen.size, chosen.size)
    training = voc_source(chosen.voc, "train") if chosen.voc else shapes_source("train", chosen.size)
    validation = voc_source(chosen.voc, "val") if chosen.voc else shapes_source("val", chosen.size)
    graph = export_graph(load_model(chosen.run, chosen.output_stride, chosen.size))
    calibrated = calibrate(graph, size, choose_calibration(training, 16, size, 0).images)
    pictures = [fit_image(e.image, size, gray=128).image.astype(np.uint8) for e in validation.examples(chosen.pictures)]
    whole, found = sensitivities(calibrated, pictures, chosen.tried)
    print(f"error of the scores in int8: {whole:.4f}")
    print(f"{'layer':36} {'operator':20} {'error':>8} {'error of the scores if it alone is float':>42}")
    for entry in found:
        rest = "" if entry.remaining is None else f"{entry.remaining:.4f}"
        print(f"{entry.layer:36} {entry.kind:20} {entry.error:8.4f} {rest:>42}")


if __name__ == "__main__":
    main()
