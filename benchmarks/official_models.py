"""Compare the official models in Keras with their .tflite files, and measure their mIoU at every output stride.

    python benchmarks/official_models.py --models FOLDER --voc VOCDEVKIT [--images N] [--part logits agreement miou]

FOLDER contains the three official .tflite files with the image and the golden mask of the starter model. mIoU follows
the official protocol: images are padded to 513 at the bottom and on the right, not scaled, and the padding is ignored.
"""

import argparse
import os
import time
from collections.abc import Callable
from pathlib import Path

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")

import numpy as np
from PIL import Image

from deeplab.datasets.source import Source
from deeplab.datasets.voc import voc_source
from deeplab.evaluation.evaluate import evaluate
from deeplab.prediction.predictor import Predictor, keras_predictor, tflite_predictor
from deeplab.pretrained import load_tflite
from deeplab.tflite.interpreter import TfliteModel

STARTER = "starter_deeplabv3_257_float.tflite"
QUANTIZED = {"1.0": "deeplabv3_mnv2_pascal_quant.tflite", "0.5": "deeplabv3_mnv2_dm05_pascal_quant.tflite"}
SIZE = 513
OUTPUT_STRIDES = (32, 16, 8)
AGREEMENT_IMAGES, LOGIT_IMAGES = 50, 16


def logits(models: Path, voc: Source) -> None:
    """Print the maximum deviation of a logit of the starter model, and its agreement with the golden mask."""
    file = TfliteModel(models / STARTER)
    model = load_tflite(models / STARTER, output_stride=8, image_size=257)
    example = np.array(Image.open(models / "segmentation_input_rotation0.jpg").convert("RGB"))
    golden = np.array(Image.open(models / "segmentation_golden_rotation0.png")) // 10
    photographs = [e.image for e in voc.examples(LOGIT_IMAGES)]
    images = [example, *(np.array(Image.fromarray(image).resize((257, 257))) for image in photographs)]
    actual = [np.asarray(model(image[None].astype(np.float32), training=False))[0] for image in images]
    expected = [file(image) for image in images]
    deviation = max(float(np.abs(a - b).max()) for a, b in zip(actual, expected, strict=True))
    largest = max(float(np.abs(b).max()) for b in expected)
    print(f"starter, {len(images)} images: maximum deviation of a logit {deviation:.2e} (largest logit {largest:.1f})")
    print(f"starter: {(actual[0].argmax(-1) == golden).mean():.4%} of the golden mask's pixels", flush=True)


def agreement(models: Path, voc: Source) -> None:
    """Print the share of pixels with the same class in each quantized file and in its float model."""
    for depth, name in QUANTIZED.items():
        file = tflite_predictor(TfliteModel(models / name))
        model = keras_predictor(load_tflite(models / name, output_stride=16), SIZE)
        shares = [(file(e.image) == model(e.image)).mean() for e in voc.examples(AGREEMENT_IMAGES)]
        print(
            f"depth {depth}, {len(shares)} images at {SIZE}, output stride 16: {np.mean(shares):.2%} of the pixels "
            f"agree with the file, {np.min(shares):.2%} in the worst image",
            flush=True,
        )


def miou(models: Path, voc: Source, images: int | None) -> None:
    """Print a table of mIoU in percent."""
    columns = ["file", *(f"OS{s}" for s in OUTPUT_STRIDES)]
    rows = []
    for depth, name in QUANTIZED.items():
        path = models / name
        predictors: list[Callable[[], Predictor]] = [lambda path=path: tflite_predictor(TfliteModel(path))]
        predictors += [
            lambda path=path, stride=stride: keras_predictor(load_tflite(path, stride), SIZE)
            for stride in OUTPUT_STRIDES
        ]
        row = []
        for column, make_predictor in zip(columns, predictors, strict=True):
            start = time.perf_counter()
            scores = evaluate(make_predictor(), voc.examples(images), voc.classes)
            seconds = time.perf_counter() - start
            print(f"# depth {depth} {column}: {100 * scores.miou:.2f} ({len(scores.names)} images, {seconds:.0f} s)")
            row.append(100 * scores.miou)
        rows.append((depth, row))
    print("".join(f"{title:>8}" for title in ("depth", *columns)))
    for depth, row in rows:
        print(f"{depth:>8}" + "".join(f"{value:8.2f}" for value in row), flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--models", type=Path, required=True, help="folder with the official files")
    parser.add_argument("--voc", type=Path, required=True, help="a VOCdevkit")
    parser.add_argument("--images", type=int, help="number of val images for mIoU; all by default")
    parts = ("logits", "agreement", "miou")
    parser.add_argument("--part", nargs="+", choices=parts, default=parts)
    options = parser.parse_args()
    voc = voc_source(options.voc, "val")
    if "logits" in options.part:
        logits(options.models, voc)
    if "agreement" in options.part:
        agreement(options.models, voc)
    if "miou" in options.part:
        miou(options.models, voc, options.images)


if __name__ == "__main__":
    main()
