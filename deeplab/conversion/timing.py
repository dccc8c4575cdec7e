"""How long a file takes a picture, measured in turns with others."""

import time
from collections.abc import Mapping

import numpy as np

from deeplab.tflite.interpreter import TfliteModel


def median_milliseconds(contents: Mapping[str, bytes], threads: int = 1, rounds: int = 15) -> dict[str, float]:
    """Median time a picture for each file; arguments as for `times_in_turns`."""
    return {name: float(np.median(values)) for name, values in times_in_turns(contents, threads, rounds).items()}


def times_in_turns(contents: Mapping[str, bytes], threads: int = 1, rounds: int = 15) -> dict[str, np.ndarray]:
    """Milliseconds a picture in each turn, `[rounds]` for each file, XNNPACK kernels, the network alone.

    All files take turns picture by picture, so that whatever else the machine does falls on all of them alike; what two
    files took in one turn makes a fair ratio.

    Args:
        contents: files by name.
        threads: of each interpreter.
        rounds: pictures for each file; one more warms up.
    """
    rng = np.random.default_rng(0)
    models = {name: TfliteModel(content, threads) for name, content in contents.items()}
    inputs = {
        name: model.prepare(rng.integers(0, 256, (*model.image_size, 3), np.uint8)) for name, model in models.items()
    }
    times = {name: np.zeros(rounds + 1) for name in models}
    for turn in range(rounds + 1):
        for name, model in models.items():
            start = time.perf_counter()
            model.run(inputs[name])
            times[name][turn] = 1000 * (time.perf_counter() - start)
    return {name: values[1:] for name, values in times.items()}
