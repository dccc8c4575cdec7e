"""The validation split while a training goes on and at its end: scores, curves, and the best weights."""

import csv
from collections.abc import Callable
from pathlib import Path
from typing import Any

import keras
import numpy as np

from deeplab.config import TrainConfig
from deeplab.datasets.open import limited
from deeplab.datasets.source import Source
from deeplab.evaluation.confusion import Scores
from deeplab.evaluation.evaluate import evaluate
from deeplab.files import atomic_write, write_json
from deeplab.model.quantization.transform import build_network
from deeplab.prediction.predictor import keras_predictor
from deeplab.training.csv_log import kept_rows

CURVE, BEST, BEST_WEIGHTS = "validation.csv", "best.json", "best.weights.h5"


class Validation:
    """The network of a training, in inference at each output stride that is measured.

    Attributes:
        networks: by output stride; all hold the same weights.
    """

    def __init__(self, config: TrainConfig, source: Source) -> None:
        self._config, self._source = config, source
        quantized = config.training.quantize_aware
        self.networks = {s: build_network(config.model, s, quantized=quantized) for s in config.output_stride}
        self._predictors = {s: keras_predictor(network, config.eval_size) for s, network in self.networks.items()}

    @property
    def first(self) -> keras.Model:
        """The network at the first output stride, which decides what is best."""
        return self.networks[self._config.output_stride[0]]

    def set_weights(self, weights: list[np.ndarray]) -> None:
        """Takes weights over, in the order of a network's own."""
        for network in self.networks.values():
            network.set_weights(weights)

    def predict(self, image: np.ndarray) -> np.ndarray:
        """Class ids `[h, w]` of a picture `[h, w, 3]` uint8, at the first output stride."""
        return self._predictors[self._config.output_stride[0]](image)

    def measure(self, pictures: int | None = None) -> dict[int, Scores]:
        """Scores at each output stride, on the first `pictures` of the split; None takes all."""
        source = self._source if pictures is None else limited(self._source, pictures)
        scores = {}
        for stride, predict in self._predictors.items():
            title = f"validation at output stride {stride}"
            scores[stride] = evaluate(predict, source.examples(), source.classes, progress=title, total=source.size)
        return scores


class Validate(keras.callbacks.Callback):
    """Measures every so many updates, adds a line to validation.csv, and keeps the weights that did best.

    Best is by mIoU at the first output stride that is measured; of equals the earlier.
    """

    def __init__(
        self,
        folder: Path,
        config: TrainConfig,
        validation: Validation,
        weights: Callable[[], list[np.ndarray]],
        start: int,
        told: Callable[[int, dict[int, float]], None],
    ) -> None:
        """`weights` gives those to be measured; `told` is called with the step and the mIoU by output stride."""
        super().__init__()
        self.folder, self.validation, self.weights, self.told = folder, validation, weights, told
        self.every, self.pictures = config.training.evaluate_every, config.training.evaluate_images
        columns = ("step", *(f"miou_os{stride}" for stride in config.output_stride))
        rows = kept_rows(folder / CURVE, columns, start)
        self.best = max((float(row[1]) for row in rows), default=-1.0)
        with atomic_write(folder / CURVE) as aside, aside.open("w", newline="") as file:
            csv.writer(file).writerows([columns, *rows])

    def on_train_batch_end(self, batch: int, logs: Any = None) -> None:
        """Measures where it is due."""
        done = batch + 1
        if self.every is None or done % self.every:
            return
        self.validation.set_weights(self.weights())
        mious = {stride: scores.miou for stride, scores in self.validation.measure(self.pictures).items()}
        first = next(iter(mious.values()))
        if first > self.best:
            self.best = first
            with atomic_write(self.folder / BEST_WEIGHTS, suffix=".weights.h5") as aside:
                self.validation.first.save_weights(aside)
            write_json(self.folder / BEST, {"step": done, "miou": {str(s): m for s, m in mious.items()}})
        with (self.folder / CURVE).open("a", newline="") as file:
            csv.writer(file).writerow([done, *(f"{miou:.6f}" for miou in mious.values())])
        self.told(done, mious)
