"""Training from Python with the settings of the command line."""

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from deeplab.cli.commands import COMMANDS
from deeplab.cli.settings import compose_settings, config_folder, given_keys
from deeplab.config import EvaluateConfig, ExportConfig, ImageSize, TrainConfig, build, record_given
from deeplab.config.command_line import argument_text
from deeplab.errors import UserError
from deeplab.quiet import load_tensorflow
from deeplab.rendering.console import plain_warnings

if TYPE_CHECKING:
    import keras

    from deeplab.conversion.export_report import Report
    from deeplab.evaluation.scores import Scores
    from deeplab.evaluation.table import Row


@dataclass(frozen=True, eq=False)
class TrainedRun:
    """A trained model in its run folder.

    Attributes:
        folder: the run folder.
        scores: on the validation split, by output stride; {} except on the chief of several workers.
    """

    folder: Path
    scores: "dict[int, Scores]" = field(repr=False)

    def export(self, **settings: Any) -> "tuple[Report, ...]":
        """Write verified .tflite files, and print their table and paths; `settings` are those of export.py.

        Raises:
            UserError: wrong settings, or a failed check.
        """
        load_tensorflow()
        from deeplab.conversion.export import run_export

        with plain_warnings():
            return run_export(self._config(ExportConfig, settings))

    def evaluate(self, **settings: Any) -> "list[Row]":
        """Evaluate, print the table and write the page; `settings` are those of evaluate.py (`EvaluateConfig`).

        Raises:
            UserError: wrong settings, or data that do not match the model.
        """
        load_tensorflow()
        from deeplab.evaluation.compare import run_evaluation

        with plain_warnings():
            return run_evaluation(self._config(EvaluateConfig, settings))

    def load(self, output_stride: int = 8, image_size: ImageSize = None) -> "keras.Model":
        """Return the Keras model; see `deeplab.load_model`."""
        from deeplab.run_folder import load_model

        return load_model(self.folder, output_stride, image_size)

    def _config(self, cls: type, settings: Mapping[str, Any]) -> Any:
        return record_given(build(cls, {"run": str(self.folder), **settings}), ("run", *settings))


def train(
    config: TrainConfig | None = None, *, callbacks: "Sequence[keras.callbacks.Callback]" = (), **settings: Any
) -> TrainedRun:
    """Train a model, or resume an interrupted training, and evaluate it.

    `train(data={"source": "folder", "root": "my_data"}, minutes=15)` does what `python train.py data=folder
    data.root=my_data minutes=15` does, with its recipe or plan. A run that is complete is only evaluated again.

    Args:
        config: complete settings, instead of `settings`; they are taken as they are, without the YAML files.
        callbacks: additional Keras callbacks, called for every update; see `deeplab.training.loop.run_loop`.
        settings: those of train.py; values below `data`, `model` and `training` as dicts. `data="voc"` or `{"source":
            "voc", ...}` selects the data with their recipe, `model=NAME` and `experiment=NAME` a file of configs/.

    Raises:
        UserError: wrong settings, data, pretrained weights or run folder; the loss is not finite; a signal stopped the
            training; another worker was lost.
    """
    if config is not None and settings:
        raise UserError(next(iter(settings)), "cannot be combined with a config", "give a config, or settings alone")
    if config is None and not settings:
        raise UserError("config", "expected settings or a TrainConfig, got none", 'give data="shapes" for the demo')
    config = _config(settings) if config is None else config
    load_tensorflow()
    from deeplab.training.train import train as train_config

    with plain_warnings():
        scores = train_config(config, callbacks)
    return TrainedRun(Path(config.run), scores)


def _config(settings: Mapping[str, Any]) -> TrainConfig:
    """Compose a config from settings as the command line does.

    Raises:
        UserError: a wrong setting, or one that does not train.
    """
    arguments = list(_arguments(settings))
    composed = compose_settings("train", arguments, config_folder())
    assert composed is not None
    job = COMMANDS["train"].job_for(composed)
    config: TrainConfig = record_given(build(TrainConfig, composed), given_keys(arguments))
    for key in ("check_data", "plan"):
        if getattr(config, key) is True:
            raise UserError(key, "does not train", f"leave it out, or run the command: train {key}=true")
    job.check(config)
    return config


def _arguments(settings: Mapping[str, Any], prefix: str = "") -> list[str]:
    """Return settings as `key=value` arguments; the source of the data selects their YAML file."""
    arguments = []
    for name, value in settings.items():
        key = prefix + name
        if isinstance(value, Mapping) and value:
            arguments += _arguments(value, f"{key}.")
        else:
            text = os.fspath(value) if isinstance(value, os.PathLike) else value
            text = text.item() if hasattr(text, "item") else text
            arguments.append(f"{'data' if key == 'data.source' else key}={argument_text(text)}")
    return arguments
