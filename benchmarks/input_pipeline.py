"""Speed and memory of the input pipeline on a VOCdevkit: `python benchmarks/input_pipeline.py VOCDEVKIT`.

Decoding alone and the whole pipeline (decode, scale, crop, flip, pad, batch) alternate, so that other load on the
machine affects both. The output has medians over the rounds, the ratio within each round, and CPU time, which other
programs hardly affect.
"""

import argparse
import dataclasses
import itertools
import os
import statistics
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import tensorflow as tf

from deeplab.config import DataConfig, TrainingConfig
from deeplab.datasets.open import open_source
from deeplab.datasets.pipeline import iterate, training_batches
from deeplab.datasets.source import Example, Source


def decode_only(source: Source) -> Callable[[int], None]:
    """Decode with the pipeline's decoders and number of threads, without any other work."""
    pool = ThreadPoolExecutor(os.cpu_count())

    def run(count: int) -> None:
        for _ in pool.map(lambda i: source.load(i % (source.size or count)) and None, range(count)):
            pass

    return run


def decode_with_tensorflow(source: Source) -> Callable[[int], None]:
    """Decode JPEG and PNG with TensorFlow's operators in tf.data (which convert the palette to colors)."""
    images, masks = ([str(p) for p in source.files[i::2]] for i in (0, 1))

    def decode(image: tf.Tensor, mask: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        decoded = tf.io.decode_jpeg(tf.io.read_file(image), channels=3)
        return tf.shape(decoded), tf.shape(tf.io.decode_png(tf.io.read_file(mask)))

    def run(count: int) -> None:
        dataset = tf.data.Dataset.from_tensor_slices((images, masks)).repeat().take(count)
        for _ in dataset.map(decode, num_parallel_calls=tf.data.AUTOTUNE):
            pass

    return run


def whole_pipeline(source: Source, config: TrainingConfig) -> Callable[[int], None]:
    """Take and discard batches, then wait until as many images have been prepared again.

    The pipeline prepares batches in advance. Starting and ending with full queues counts each image once, and no
    background work slows down the other runs.
    """
    loaded = itertools.count()
    last = [0]

    def load(index: int) -> Example:
        example = source.load(index)
        last[0] = next(loaded) + 1
        return example

    batches = iterate(training_batches(dataclasses.replace(source, load=load), config, seed=0))
    next(batches)
    while True:
        before = last[0]
        time.sleep(2)
        if last[0] == before:
            break

    def run(count: int) -> None:
        expected = last[0] + count
        for _ in range(count // config.batch_size):
            next(batches)
        while last[0] < expected:
            time.sleep(0.002)

    return run


def resident_megabytes() -> float:
    with open("/proc/self/status", encoding="ascii") as status:
        return next(int(line.split()[1]) for line in status if line.startswith("VmRSS")) / 1024


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("root", help="VOCdevkit folder")
    parser.add_argument("--crop", type=int, default=513)
    parser.add_argument("--batch", type=int, default=16)
    parser.add_argument("--images", type=int, default=160, help="number of images per run")
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--epochs", type=int, default=3, help="number of epochs to monitor the memory; 0 disables it")
    arguments = parser.parse_args()
    config = TrainingConfig(batch_size=arguments.batch, crop_size=arguments.crop)
    source = open_source(DataConfig(source="voc", root=arguments.root), "train")
    runs = {
        "pipeline": whole_pipeline(source, config),
        "decoding": decode_only(source),
        "decoding, TensorFlow": decode_with_tensorflow(source),
    }
    measure(runs, arguments.images // arguments.batch * arguments.batch, arguments.rounds)
    batches = iterate(training_batches(source, config, seed=1))
    for epoch in range(arguments.epochs):
        for _ in range((source.size or 0) // config.batch_size):
            next(batches)
        print(f"after epoch {epoch + 1}: {resident_megabytes():.0f} MB resident")


def measure(runs: dict[str, Callable[[int], None]], images: int, rounds: int) -> None:
    """Print speed, CPU time and the ratio to decoding of each run."""
    speed: dict[str, list[float]] = {name: [] for name in runs}
    cpu: dict[str, list[float]] = {name: [] for name in runs}
    for run in runs.values():
        run(images // 2)
    for _ in range(rounds):
        for name, run in runs.items():
            wall, processor = time.perf_counter(), time.process_time()
            run(images)
            speed[name].append(images / (time.perf_counter() - wall))
            cpu[name].append((time.process_time() - processor) / images * 1e3)
    for name in runs:
        ratios = [value / decoding for value, decoding in zip(speed[name], speed["decoding"], strict=True)]
        cpu_ratios = [decoding / value for value, decoding in zip(cpu[name], cpu["decoding"], strict=True)]
        print(
            f"{name:<24} {statistics.median(speed[name]):6.0f} images/s  {statistics.median(cpu[name]):5.2f} CPU ms  "
            f"ratio to decoding {statistics.median(ratios):.2f} (by CPU time {statistics.median(cpu_ratios):.2f})"
        )


if __name__ == "__main__":
    main()
