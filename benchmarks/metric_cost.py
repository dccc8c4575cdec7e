"""Measure the time of the confusion matrix compared with that of the network.

    python benchmarks/metric_cost.py [--voc VOCDEVKIT] [--model FILE.tflite]

Prints milliseconds of CPU time per image, which depend less on the load of the machine than wall-clock time. Without a
VOCdevkit the images are drawn scenes. Without a file the network is the smallest published one (MobileNetV2 depth 0.5,
output stride 16, 513 pixels) with random weights, run by TensorFlow.
"""

import argparse
import os
import statistics
import time
from collections.abc import Callable

import numpy as np

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")

from deeplab.datasets.shapes import shapes_source
from deeplab.datasets.source import Example
from deeplab.datasets.voc import voc_source
from deeplab.evaluation.confusion import confusion_matrix

SIZE = 513
IMAGES = 20


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("--voc", help="a VOCdevkit")
    arguments.add_argument("--model", help="a .tflite file of 513 pixels")
    options = arguments.parse_args()
    source = voc_source(options.voc, "val") if options.voc else shapes_source("val", seed=0)
    network = file_network(options.model) if options.model else keras_network()
    examples = [full_size(example) for example in source.examples(IMAGES)]
    predictions = [np.roll(example.label, 3, axis=1) % len(source.classes) for example in examples]
    for example in examples[:2]:
        network(example.image)
    network_times = [cpu_ms(lambda e=e: network(e.image)) for e in examples]
    metric_times = [
        cpu_ms(lambda e=e, p=p: confusion_matrix(e.label, p, len(source.classes)), 20)
        for e, p in zip(examples, predictions, strict=True)
    ]
    metric, total = statistics.median(metric_times), statistics.median(network_times)
    print(f"confusion matrix {metric:.2f} ms, network {total:.1f} ms: {metric / total:.1%} ({SIZE}x{SIZE}, CPU time)")


def full_size(example: Example) -> Example:
    """Repeat and crop an example to 513x513 with every pixel labeled, the slowest case of the metric."""
    rows, columns = (-(-SIZE // side) for side in example.label.shape)
    label = np.tile(np.where(example.label == 255, 0, example.label), (rows, columns))[:SIZE, :SIZE]
    image = np.tile(example.image, (rows, columns, 1))[:SIZE, :SIZE]
    return Example(np.ascontiguousarray(image), label, example.name)


def keras_network() -> Callable[[np.ndarray], np.ndarray]:
    from deeplab.config import ModelConfig
    from deeplab.model.build import build_model
    from deeplab.prediction.predictor import keras_predictor

    config = ModelConfig(depth_multiplier=0.5, head="v3", aspp_rates=())
    return keras_predictor(build_model(config, 16, SIZE)).run


def file_network(path: str) -> Callable[[np.ndarray], np.ndarray]:
    from deeplab.tflite.interpreter import TfliteModel

    return TfliteModel(path, threads=1)


def cpu_ms(function: Callable[[], object], repeats: int = 1) -> float:
    start = time.process_time()
    for _ in range(repeats):
        function()
    return 1000 * (time.process_time() - start) / repeats


if __name__ == "__main__":
    main()
