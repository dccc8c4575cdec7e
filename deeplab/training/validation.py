"""Evaluation on the validation split, during a training and at its end; the best weights are kept."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import keras
import numpy as np

from deeplab.config import TrainConfig
from deeplab.datasets.open import limited
from deeplab.datasets.source import Source
from deeplab.evaluation.evaluate import evaluate
from deeplab.evaluation.scores import Scores
from deeplab.files import atomic_write, write_json
from deeplab.model.quantization.transform import build_network
from deeplab.prediction.predictor import keras_predictor
from deeplab.training.csv_log import append_row, start_table

VALIDATION_FILE, BEST_FILE, BEST_WEIGHTS_FILE = "validation.csv", "best.json", "best.weights.h5"


class Validator:
    """Evaluates the weights of a training on the validation split, at each output stride of `config`.

    The first of these output strides decides which weights are the best.

    Attributes:
        networks: inference network by output stride; all have the same weights.
    """

    def __init__(self, config: TrainConfig, source: Source) -> None:
        self._stride, self._source = config.output_stride[0], source
        settings = config.training
        quantized = {"quantized": settings.quantize_aware, "per_tensor": settings.quantization.per_tensor}
        self.networks = {s: build_network(config.network, s, **quantized) for s in config.output_stride}
        self._predictors = {
            s: keras_predictor(network, config.eval_size, config.data.fit) for s, network in self.networks.items()
        }

    @property
    def network(self) -> keras.Model:
        """The network at the first output stride."""
        return self.networks[self._stride]

    def set_weights(self, weights: list[np.ndarray]) -> None:
        """Set the weights, in the order of `network.weights`, at all output strides."""
        for network in self.networks.values():
            network.set_weights(weights)

    def predict(self, image: np.ndarray) -> np.ndarray:
        """Return the class ids `[h, w]` of an image `[h, w, 3]` uint8 at the first output stride."""
        return self._predictors[self._stride](image)

    def evaluate(self, images: int | None = None) -> dict[int, Scores]:
        """Return the scores at each output stride on the first `images` images of the split; None takes all."""
        source = self._source if images is None else limited(self._source, images)
        scores: dict[int, Scores] = {}
        for stride, predict in self._predictors.items():
            title = f"validation at output stride {stride}"
            scores[stride] = evaluate(predict, source.examples(), source.classes, progress=title, total=source.size)
        return scores


class ValidationCallback(keras.callbacks.Callback):
    """Evaluates every `training.evaluate_every` updates, adds a row to validation.csv and saves the best weights.

    The best weights have the highest mIoU at the first output stride; of equal ones, the earlier are kept.
    """

    def __init__(
        self,
        folder: Path,
        config: TrainConfig,
        validator: Validator,
        weights: Callable[[], list[np.ndarray]],
        start: int,
        reports: Sequence[Callable[[int, dict[int, float]], None]],
    ) -> None:
        """`weights` returns those to evaluate; `reports` are called with the step and the mIoU by output stride."""
        super().__init__()
        self.folder, self.validator, self.weights, self.reports = folder, validator, weights, reports
        self.every, self.images = config.training.evaluate_every, config.training.evaluate_images
        columns = ("step", *(f"miou_os{stride}" for stride in config.output_stride))
        rows = start_table(folder / VALIDATION_FILE, columns, start)
        self.best = max((float(row[1]) for row in rows), default=-1.0)

    def on_train_batch_end(self, batch: int, logs: Any = None) -> None:
        """Evaluate if due."""
        done = batch + 1
        if self.every is None or done % self.every:
            return
        self.validator.set_weights(self.weights())
        mious = {stride: scores.miou for stride, scores in self.validator.evaluate(self.images).items()}
        first = next(iter(mious.values()))
        if first > self.best:
            self.best = first
            with atomic_write(self.folder / BEST_WEIGHTS_FILE, suffix=".weights.h5") as temporary:
                self.validator.network.save_weights(temporary)
            write_json(self.folder / BEST_FILE, {"step": done, "miou": {str(s): m for s, m in mious.items()}})
        append_row(self.folder / VALIDATION_FILE, [done, *(f"{miou:.6f}" for miou in mious.values())])
        for report in self.reports:
            report(done, mious)
