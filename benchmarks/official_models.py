"""The official models inside our network: logits and masks against the files, and mIoU at every output stride.

    python benchmarks/official_models.py --models FOLDER --voc VOCDEVKIT [--pictures N] [--part logits agreement miou]

FOLDER holds the three official .tflite files with the starter's picture and golden mask. mIoU follows the official
protocol: pictures padded to 513 at the bottom and on the right, never scaled, and measured on their own area.
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
AGREEMENT_PICTURES, LOGIT_PICTURES = 50, 16


def logits(models: Path, voc: Source) -> None:
    """The starter model: the largest deviation of a logit, and the golden mask."""
    file = TfliteModel(models / STARTER)
    ours = load_tflite(models / STARTER, output_stride=8, image_size=257)
    picture = np.array(Image.open(models / "segmentation_input_rotation0.jpg").convert("RGB"))
    golden = np.array(Image.open(models / "segmentation_golden_rotation0.png")) // 10
    real = [e.image for e in voc.examples(LOGIT_PICTURES)]
    pictures = [picture, *(np.array(Image.fromarray(image).resize((257, 257))) for image in real)]
    scores = [np.asarray(ours(p[None].astype(np.float32), training=False))[0] for p in pictures]
    theirs = [file(p) for p in pictures]
    worst = max(float(np.abs(a - b).max()) for a, b in zip(scores, theirs, strict=True))
    reach = max(float(np.abs(b).max()) for b in theirs)
    print(f"starter, {len(pictures)} pictures: largest deviation of a logit {worst:.2e} (logits reach {reach:.1f})")
    print(f"starter: {(scores[0].argmax(-1) == golden).mean():.4%} of the golden mask's pixels", flush=True)


def agreement(models: Path, voc: Source) -> None:
    """The quantized files: share of pixels with the same class in the file and in our float model."""
    for depth, name in QUANTIZED.items():
        file = tflite_predictor(TfliteModel(models / name))
        ours = keras_predictor(load_tflite(models / name, output_stride=16), SIZE)
        shares = [(file(e.image) == ours(e.image)).mean() for e in voc.examples(AGREEMENT_PICTURES)]
        print(
            f"depth {depth}, {len(shares)} pictures at {SIZE}, output stride 16: {np.mean(shares):.2%} of the pixels "
            f"agree with the file, {np.min(shares):.2%} in the worst picture",
            flush=True,
        )


def miou(models: Path, voc: Source, pictures: int | None) -> None:
    """The table of mIoU in per cent."""
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
        for column, make in zip(columns, predictors, strict=True):
            begin, predict = time.perf_counter(), make()
            scores = evaluate(predict, voc.examples(pictures), voc.classes)
            seconds = time.perf_counter() - begin
            print(f"# depth {depth} {column}: {100 * scores.miou:.2f} ({len(scores.names)} pictures, {seconds:.0f} s)")
            row.append(100 * scores.miou)
        rows.append((depth, row))
    print("".join(f"{title:>8}" for title in ("depth", *columns)))
    for depth, row in rows:
        print(f"{depth:>8}" + "".join(f"{value:8.2f}" for value in row), flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--models", type=Path, required=True, help="folder of the official files")
    parser.add_argument("--voc", type=Path, required=True, help="a VOCdevkit")
    parser.add_argument("--pictures", type=int, help="of the val list, for mIoU; all by default")
    parts = ("logits", "agreement", "miou")
    parser.add_argument("--part", nargs="+", choices=parts, default=parts)
    chosen = parser.parse_args()
    voc = voc_source(chosen.voc, "val")
    if "logits" in chosen.part:
        logits(chosen.models, voc)
    if "agreement" in chosen.part:
        agreement(chosen.models, voc)
    if "miou" in chosen.part:
        miou(chosen.models, voc, chosen.pictures)


if __name__ == "__main__":
    main()
