"""Measures the time of .tflite files per image."""

import time
from collections.abc import Callable, Mapping

import numpy as np

from deeplab.tflite.interpreter import TfliteModel
from deeplab.tflite.tflite_file import TfliteSource


def median_milliseconds(files: Mapping[str, TfliteSource], rounds: int = 15) -> dict[str, float]:
    """Return the median time per image of each file with one thread, see `interleaved_milliseconds`."""
    times = interleaved_milliseconds(files, rounds=rounds)
    return {name: float(np.median(values)) for name, values in times.items()}


def interleaved_milliseconds(
    files: Mapping[str, TfliteSource],
    threads: int = 1,
    rounds: int = 15,
    clock: Callable[[], float] | None = None,
) -> dict[str, np.ndarray]:
    """Return the milliseconds of each file in each round, `[rounds]`, for the network alone with XNNPACK kernels.

    Every round runs each file once, so that other load on the machine affects all files equally; the ratio of the
    times of two files within a round is a fair comparison.

    Args:
        files: .tflite files by name.
        threads: threads of each interpreter.
        rounds: measured images per file, after one warm-up image.
        clock: returns seconds; None is the elapsed time. `time.process_time` measures the CPU time of all threads,
            which other load changes little.
    """
    rng, clock = np.random.default_rng(0), clock or time.perf_counter
    models = {name: TfliteModel(file, threads) for name, file in files.items()}
    images = {name: rng.integers(0, 256, (*model.image_size, 3), np.uint8) for name, model in models.items()}
    inputs = {name: model.prepare(images[name]) for name, model in models.items()}
    times = {name: np.zeros(rounds + 1) for name in models}
    for i in range(rounds + 1):
        for name, model in models.items():
            start = clock()
            model.run(inputs[name])
            times[name][i] = 1000 * (clock() - start)
    return {name: values[1:] for name, values in times.items()}
