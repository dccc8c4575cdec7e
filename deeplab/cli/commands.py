"""The table of commands: what each does, its config, and the function of the library that runs it.

Library modules are imported when a job runs, so that wrong settings are reported before TensorFlow is loaded.
"""

import dataclasses
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Any

from deeplab.config import (
    EvaluateConfig,
    ExportConfig,
    InspectConfig,
    PageConfig,
    PredictConfig,
    SummarizeConfig,
    TargetListConfig,
    TrainConfig,
    VerifyConfig,
    is_given,
)
from deeplab.errors import UserError
from deeplab.plan.choice import is_planned
from deeplab.published_weights import local_file
from deeplab.run_folder import TRAIN_FILE, open_model


@dataclass(frozen=True)
class Job:
    """One thing that a command does.

    Attributes:
        config: dataclass of its settings.
        function: "module:function" of the library, called with the config.
        check: checks paths before TensorFlow is loaded; raises UserError.
        needs_tensorflow: whether TensorFlow is loaded before the job runs.
        remedy: what to do if settings of the default job are given too; empty is to remove them.
    """

    config: type
    function: str
    check: Callable[[Any], object] = lambda _: None
    needs_tensorflow: bool = True
    remedy: str = ""

    def run(self, config: Any) -> None:
        """Call the function with its config."""
        module, _, name = self.function.partition(":")
        getattr(import_module(module), name)(config)


@dataclass(frozen=True)
class Command:
    """A command of the toolkit.

    Attributes:
        name: of the script and of the YAML file in configs/.
        summary: what it does, in a sentence or two.
        jobs: by the key ("verify"), or the key and its value ("target=list"), that selects them; "" is the default.
        examples: arguments, each with a comment.
    """

    name: str
    summary: str
    jobs: Mapping[str, Job]
    examples: tuple[tuple[str, str], ...]

    def job_for(self, settings: Mapping[str, Any]) -> Job:
        """Return the job that the settings select.

        A key that is true or false selects no job: `page=FILE` is a job, `page=true` a setting of the default job.

        Raises:
            UserError: the settings select two jobs, or one job and settings of the default job.
        """
        given = {key for key, value in settings.items() if value is not None and not isinstance(value, bool)}
        given |= {f"{key}={settings[key]}" for key in given}
        first, *others = [key for key in self.jobs if key in given] or [""]
        if others:
            raise UserError(others[0], f"cannot be combined with {first}", "run one command for each")
        job, default = self.jobs[first], self.jobs[""]
        known, of_default = ({field.name for field in dataclasses.fields(j.config)} for j in (job, default))
        foreign = [f"{key}=" for key, value in settings.items() if value is not None and key in of_default - known]
        if foreign:
            names = ", ".join(foreign)
            problem = f"cannot be combined with {names}"
            key = first.partition("=")[0]
            raise UserError(f"{key}={settings[key]}", problem, job.remedy or f"remove {names}")
        return job


def _check_train(config: TrainConfig) -> None:
    """Missing data are reported by their source, and published weights downloaded, before TensorFlow is loaded."""
    if config.data.resize != "none" and is_given(config, "data.eval_size"):
        problem = f"data.resize={config.data.resize} scales images to data.image_size in the evaluation too"
        raise UserError("data.eval_size", problem, "remove data.eval_size")
    if config.plan and config.check_data:
        raise UserError("plan", "cannot be combined with check_data=true", "run one command for each")
    if not is_planned(config) or is_given(config, "training.evaluate_every"):
        config.training.require_validations()
    if config.data.root is not None and not Path(config.data.root).is_dir():
        from deeplab.datasets.open import open_source

        open_source(config.data, config.data.train_split, config.seed)
    if config.pretrained is not None and not config.check_data and not (Path(config.run) / TRAIN_FILE).is_file():
        local_file(config.pretrained)


def _check_runs(config: EvaluateConfig) -> None:
    models = [open_model(run) for run in config.runs]
    models[0].data(config.data)
    if all(model.is_tflite for model in models) and config.output_strides is None:
        _check_fixed(models[0].path, config, "image_size", "multi_scale_strides")
    if not config.flip and config.scales == (1.0,):
        for key in ("multi_scale_strides", "multi_scale_images"):
            if is_given(config, key):
                raise UserError(key, "needs several scales or flip=true", f"set scales, or remove {key}")


def _check_predict(config: PredictConfig) -> None:
    model = open_model(config.run)
    if model.is_tflite:
        _check_fixed(model.path, config, "output_stride", "image_size")
    if config.tile is None and is_given(config, "overlap"):
        raise UserError("overlap", "needs tile", "set tile, or remove overlap")


def _check_fixed(path: Path, config: object, *keys: str) -> None:
    """Raise UserError for a setting that a .tflite file fixes."""
    for key in keys:
        if is_given(config, key):
            raise UserError(key, f"{path} has a fixed network and input size", f"remove {key}, or give a run folder")


def _check_export(config: ExportConfig) -> None:
    from deeplab.compatibility.targets import with_target

    with_target(config)
    model = open_model(config.run)
    if config.data:
        model.data(config.data)


def _check_verify(config: VerifyConfig) -> None:
    from deeplab.tflite.tflite_file import open_tflite

    open_tflite(config.verify)
    if config.run is not None:
        model = open_model(config.run)
        if config.data:
            model.data(config.data)
        return
    for key in ("max_miou_drop", "miou_images", "output_stride"):
        if is_given(config, key):
            raise UserError(key, "needs a model to compare with", f"add run=FOLDER, or remove {key}")


COMMANDS: dict[str, Command] = {
    command.name: command
    for command in (
        Command(
            "train",
            "Trains a model into a run folder and evaluates it. Without settings it trains the built-in demo. An "
            "interrupted run resumes when the same command is given again.",
            {"": Job(TrainConfig, "deeplab.training.train:run_training", _check_train)},
            (
                ("data=voc data.root=VOCdevkit pretrained=imagenet", "PASCAL VOC by the published recipe"),
                ("data=folder data.root=DIR", "your own images/ and masks/, by a plan for 30 minutes"),
                ("data=folder data.root=DIR minutes=60 plan=true", "only print the plan"),
                ("experiment=voc_finetune data=folder data.root=DIR pretrained=official", "from official weights"),
                ("data=folder data.root=DIR check_data=true", "only check the data"),
            ),
        ),
        Command(
            "evaluate",
            "Evaluates run folders and .tflite files: one table row per model, output stride and scale setting, with "
            "intervals, and a page with plots and images.",
            {"": Job(EvaluateConfig, "deeplab.evaluation.compare:run_evaluation", _check_runs)},
            (
                ("run=runs/voc output_stride=[16,8]", "one model at two output strides"),
                ("run=[runs/voc,model.tflite] data=voc data.root=VOCdevkit", "a run against its exported file"),
                ("run=runs/voc 'scales=[0.75,1,1.25]' flip=true", "multi-scale evaluation"),
            ),
        ),
        Command(
            "export",
            "Converts a model to .tflite files with metadata. Each file is checked against the Keras model before it "
            "is written. inspect=FILE prints what a .tflite file contains and what opens it; verify=FILE checks an "
            "existing file; page=FILE writes a page that runs a .tflite file in a browser.",
            {
                "": Job(ExportConfig, "deeplab.conversion.export:run_export", _check_export),
                "verify": Job(VerifyConfig, "deeplab.conversion.verify:run_verify", _check_verify),
                "inspect": Job(InspectConfig, "deeplab.conversion.inspection:run_inspect", needs_tensorflow=False),
                "target=list": Job(
                    TargetListConfig,
                    "deeplab.compatibility.targets:print_targets",
                    needs_tensorflow=False,
                    remedy="give target=list alone, or name a target, such as target=mediapipe",
                ),
                "page": Job(
                    PageConfig,
                    "deeplab.web.page:run_page",
                    needs_tensorflow=False,
                    remedy="use page=true in an export, or give page=FILE.tflite alone",
                ),
            },
            (
                ("run=runs/voc quantization=int8 image_size=257 out=model.tflite", "an int8 file"),
                ("run=runs/voc 'quantization=[float32,float16,int8]' mask_stride=4", "three files, compared"),
                ("run=runs/voc target=mediapipe", "a file for MediaPipe; target=list prints all targets"),
                ("verify=model.tflite run=runs/voc", "check a file against its run"),
                ("page=model.tflite", "a page that runs the file in a browser: model.html"),
            ),
        ),
        Command(
            "predict",
            "Predicts masks for images, folders, patterns and videos: color masks, id masks, overlays, and the share "
            "of each class.",
            {"": Job(PredictConfig, "deeplab.prediction.predict:run_prediction", _check_predict)},
            (
                ("run=runs/voc images=photo.jpg out=masks", "one image"),
                ("run=model.tflite images='holiday/*.jpg' out=masks", "a pattern, by a .tflite file"),
                ("run=model.tflite images=large.png tile=513 out=masks", "a large image in overlapping tiles"),
            ),
        ),
        Command(
            "summarize",
            "Prints the parameters, multiply-adds and receptive field of a network, layer by layer.",
            {"": Job(SummarizeConfig, "deeplab.model.cost:run_summarize")},
            (
                ("model=deeplabv3_mobilenet_v2 output_stride=8", "one network of configs/model/"),
                ("model.backbone=resnet50 image_size=257", "another backbone and size"),
                ("model=deeplabv3plus_xception65 every_layer=true", "a line for every layer"),
            ),
        ),
    )
}
"""All commands by name."""
