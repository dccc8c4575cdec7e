"""Speed and memory of the input pipeline on a VOCdevkit: `python benchmarks/input_pipeline.py VOCDEVKIT`.

Bare decoding and the whole pipeline (decode, scale, crop, flip, pad, batch) take turns, so that what else the machine
does falls on both. Printed are medians over the rounds, the ratio of each round's pair, and CPU time, which other
programs hardly touch.
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


def bare_decode(source: Source) -> Callable[[int], None]:
    """Decodes with the pipeline's own decoders and as many threads, and does nothing else."""
    pool = ThreadPoolExecutor(os.cpu_count())

    def run(count: int) -> None:
        for _ in pool.map(lambda i: source.load(i % (source.size or count)) and None, range(count)):
            pass

    return run


def tensorflow_decode(source: Source) -> Callable[[int], None]:
    """Decodes JPEG and PNG with TensorFlow's operators in tf.data (which turn the palette into colors)."""
    images, masks = ([str(p) for p in source.files[i::2]] for i in (0, 1))

    def decode(image: tf.Tensor, mask: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        picture = tf.io.decode_jpeg(tf.io.read_file(image), channels=3)
        return tf.shape(picture), tf.shape(tf.io.decode_png(tf.io.read_file(mask)))

    def run(count: int) -> None:
        dataset = tf.data.Dataset.from_tensor_slices((images, masks)).repeat().take(count)
        for _ in dataset.map(decode, num_parallel_calls=tf.data.AUTOTUNE):
            pass

    return run


def whole_pipeline(source: Source, config: TrainingConfig) -> Callable[[int], None]:
    """Takes batches and throws them away, and waits until as many pictures have been made again.

    The pipeline works ahead of what is taken. Beginning and ending with full queues counts each picture once, and
    leaves nothing running that would slow the other runs down.
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
        wanted = last[0] + count
        for _ in range(count // config.batch_size):
            next(batches)
        while last[0] < wanted:
            time.sleep(0.002)

    return run


def resident_megabytes() -> float:
    with open("/proc/self/status", encoding="ascii") as status:
        return next(int(line.split()[1]) for line in status if line.startswith("VmRSS")) / 1024


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("root", help="a VOCdevkit")
    parser.add_argument("--prepared", help="folder of TFRecord files to measure too; written if it is not there")
    parser.add_argument("--crop", type=int, default=513)
    parser.add_argument("--batch", type=int, default=16)
    parser.add_argument("--pictures", type=int, default=160, help="of each run")
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--epochs", type=int, default=3, help="over which memory is watched; 0 leaves that out")
    arguments = parser.parse_args()
    config = TrainingConfig(batch_size=arguments.batch, crop_size=arguments.crop)
    source = open_source(DataConfig(source="voc", root=arguments.root), "train")
    runs = {
        "pipeline, files": whole_pipeline(source, config),
        "bare decode": bare_decode(source),
        "bare decode, TensorFlow": tensorflow_decode(source),
    }
    if arguments.prepared:
        prepared = DataConfig(source="voc", root=arguments.root, prepared=arguments.prepared)
        runs["pipeline, TFRecord"] = whole_pipeline(open_source(prepared, "train"), config)
    measure(runs, arguments.pictures // arguments.batch * arguments.batch, arguments.rounds)
    batches = iterate(training_batches(source, config, seed=1))
    for epoch in range(arguments.epochs):
        for _ in range((source.size or 0) // config.batch_size):
            next(batches)
        print(f"after epoch {epoch + 1}: {resident_megabytes():.0f} MB resident")


def measure(runs: dict[str, Callable[[int], None]], pictures: int, rounds: int) -> None:
    """Prints speed, CPU time and ratio to bare decoding of each run."""
    speed: dict[str, list[float]] = {name: [] for name in runs}
    cpu: dict[str, list[float]] = {name: [] for name in runs}
    for run in runs.values():
        run(pictures // 2)
    for _ in range(rounds):
        for name, run in runs.items():
            wall, processor = time.perf_counter(), time.process_time()
            run(pictures)
            speed[name].append(pictures / (time.perf_counter() - wall))
            cpu[name].append((time.process_time() - processor) / pictures * 1e3)
    for name in runs:
        ratios = [mine / bare for mine, bare in zip(speed[name], speed["bare decode"], strict=True)]
        work = [bare / mine for mine, bare in zip(cpu[name], cpu["bare decode"], strict=True)]
        print(
            f"{name:<24} {statistics.median(speed[name]):6.0f} pictures/s  {statistics.median(cpu[name]):5.2f} CPU ms  "
            f"ratio to bare decode {statistics.median(ratios):.2f} (by CPU time {statistics.median(work):.2f})"
        )


if __name__ == "__main__":
    main()
