"""Evaluation on the validation split, during a training and at its end; the best weights are kept."""

import time
import warnings
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
from deeplab.run_folder import LOG_FILE
from deeplab.training.csv_log import read_table
from deeplab.training.forecast import Forecast
from deeplab.training.notices import notices
from deeplab.training.validation_table import (
    append_validation,
    read_validations,
    start_validation_table,
)

BEST_FILE, BEST_WEIGHTS_FILE = "best.json", "best.weights.h5"


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
    def classes(self) -> tuple[str, ...]:
        """Class names by id."""
        return self._source.classes

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
        """Return the scores at each output stride on the first `images` images of the split; None takes all.

        Does not warn of models that predict one class: early in a training they may, and `notices` says so later.
        """
        source = self._source if images is None else limited(self._source, images)
        scores: dict[int, Scores] = {}
        for stride, predict in self._predictors.items():
            title = f"validation at output stride {stride}"
            examples, classes = source.examples(), source.classes
            scores[stride] = evaluate(predict, examples, classes, progress=title, total=source.size, warn=False)
        return scores


class ValidationCallback(keras.callbacks.Callback):
    """Evaluates every `training.evaluate_every` updates, adds a row to validation.csv and saves the best weights.

    Pretrained initial weights may be evaluated too. The best weights have the highest mIoU at the first output stride;
    of equal ones, the earlier are kept.
    """

    def __init__(
        self,
        folder: Path,
        config: TrainConfig,
        validator: Validator,
        weights: Callable[[], list[np.ndarray]],
        start: int,
        reports: Sequence[Callable[[int, dict[int, float]], None]],
        forecast: Forecast,
        *,
        validates_start: bool = False,
    ) -> None:
        """Create the callback.

        Args:
            folder: the run folder.
            config: settings of the training.
            validator: evaluates the weights.
            weights: returns those to evaluate.
            start: number of updates made before.
            reports: called with the step and the mIoU by output stride.
            forecast: measures how long a validation takes.
            validates_start: evaluate the initial weights too, before the first update.
        """
        super().__init__()
        self.folder, self.validator, self.weights, self.reports = folder, validator, weights, reports
        self.settings, self.forecast, self.noticed = config.training, forecast, set[str]()
        every = config.training.evaluate_every
        # Without a later validation, the initial weights would always be the best.
        self.validates_start = validates_start and every is not None and every <= config.training.steps
        start_validation_table(folder, config.output_stride, validator.classes, start)

    def on_train_begin(self, logs: Any = None) -> None:
        """Evaluate the initial weights if `validates_start`."""
        if self.validates_start:
            self._evaluate(0)

    def on_train_batch_end(self, batch: int, logs: Any = None) -> None:
        """Evaluate if due."""
        done, every = batch + 1, self.settings.evaluate_every
        if every is not None and done % every == 0:
            self._evaluate(done)

    def _evaluate(self, done: int) -> None:
        """Evaluate the weights after `done` updates."""
        begin = time.perf_counter()
        self.validator.set_weights(self.weights())
        scores = self.validator.evaluate(self.settings.evaluate_images)
        mious = {stride: score.miou for stride, score in scores.items()}
        append_validation(self.folder, done, scores)
        if read_validations(self.folder).since_best == 0:
            with atomic_write(self.folder / BEST_WEIGHTS_FILE, suffix=".weights.h5") as temporary:
                self.validator.network.save_weights(temporary)
            write_json(self.folder / BEST_FILE, {"step": done, "miou": {str(s): m for s, m in mious.items()}})
        self.forecast.add_validation(time.perf_counter() - begin)
        for report in self.reports:
            report(done, mious)
        self._warn()

    def _warn(self) -> None:
        """Show each kind of notice about the updates once, when it applies for the first time."""
        for kind, text in notices(
            read_validations(self.folder, 1), read_table(self.folder / LOG_FILE), self.settings
        ).items():
            if kind not in self.noticed:
                self.noticed.add(kind)
                warnings.warn(text, stacklevel=2)
