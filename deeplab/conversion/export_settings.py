"""Resolves and validates the settings of an export."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from deeplab.compatibility.targets import check_image_size, with_target
from deeplab.config import ExportConfig, Fit, Quantization, is_given
from deeplab.config.mapping import require
from deeplab.conversion.convert import NEEDS_CALIBRATION, NO_LABELS
from deeplab.conversion.export_graph import check_mask_stride
from deeplab.conversion.input_size import file_input_of
from deeplab.conversion.keras_reference import open_validation
from deeplab.conversion.output_paths import output_paths
from deeplab.datasets.open import open_source
from deeplab.datasets.source import Source
from deeplab.errors import UserError
from deeplab.files import check_writable
from deeplab.memory import require_memory
from deeplab.run_folder import TrainedModel, open_model
from deeplab.tflite.tflite_file import report_path


@dataclass(frozen=True, eq=False)
class ExportSettings:
    """The resolved settings of an export.

    Attributes:
        config: the settings that the user gave, with those of the target.
        run: the opened run folder or .tflite file.
        image_size: (height, width) of the input in pixels.
        fit: how images of other sizes meet the file, see `deeplab.prediction.image_fit.fit_image`.
        paths: the file to write for each quantization.
        keep_ranges: whether the int8 file keeps the activation ranges of a quantized .tflite file.
        per_tensor: whether each kernel of the int8 file has a single scale.
        validation: labeled images to compare on; None if there are none.
        training: images to calibrate with; None if no file needs calibration.
    """

    config: ExportConfig
    run: TrainedModel
    image_size: tuple[int, int]
    fit: Fit
    paths: Mapping[Quantization, Path]
    keep_ranges: bool
    per_tensor: bool
    validation: Source | None
    training: Source | None


def resolve_settings(config: ExportConfig) -> ExportSettings:
    """Resolve and validate the settings of an export; does not load the model.

    Raises:
        UserError: settings that do not fit together, or a missing or unusable run, folder or data set.
    """
    require("config", type(config).__name__, isinstance(config, ExportConfig), "an ExportConfig")
    config = with_target(config)
    quantizations = config.quantizations
    if config.output == "labels" and set(quantizations) & set(NO_LABELS):
        raise UserError("output", f"labels are not available with {', '.join(NO_LABELS)}", "use output=logits, or int8")
    if config.float_layers and "int8" not in quantizations:
        raise UserError("float_layers", "only int8 files can have float layers", "omit it, or use quantization=int8")
    run = open_model(config.run)
    if run.description.quantized and set(quantizations) != {"int8"}:
        problem = f"{', '.join(quantizations)} requested, but the run was trained for int8"
        raise UserError("quantization", problem, "use quantization=int8, or export the float run that it started from")
    if run.description.quantized and config.float_layers:
        raise UserError("float_layers", "the run was trained for int8 in all layers", "omit it")
    per_tensor = _per_tensor(config, run)
    paths = output_paths(config, run)
    for path in paths.values():
        check_writable(path)
        check_writable(report_path(path))
    size, fit = file_input_of(config, run)
    require_memory("image_size", size, len(run.description.classes))
    check_image_size(config, size)
    check_mask_stride(size, config.mask_stride)
    # An int8 file with float layers is calibrated.
    keep_ranges = config.keep_ranges and not config.float_layers and run.is_tflite and run.network.ranges is not None
    calibrated = {q for q in quantizations if q in NEEDS_CALIBRATION and not (q == "int8" and keep_ranges)}
    training = None
    if calibrated and run.is_tflite and not config.data:
        problem = f"calibration needs training images, and {run.path} does not state what it was trained on"
        raise UserError("data", problem, "add data=voc data.root=DIR, or data=folder data.root=DIR")
    if calibrated and not run.description.quantized:
        data = run.data(config.data)
        training = open_source(data, data.train_split, config.seed)
    validation = open_validation(run, config)
    return ExportSettings(config, run, size, fit, paths, keep_ranges, per_tensor, validation, training)


def _per_tensor(config: ExportConfig, run: TrainedModel) -> bool:
    """Return whether kernels have a single scale; raise UserError if the run or the quantization contradicts it."""
    requested, description = config.per_tensor, run.description
    # The converter fails on per-tensor kernels with 16-bit activations.
    if requested and ("int8" not in config.quantizations or "int16x8" in config.quantizations):
        raise UserError("per_tensor", "only int8 files can be per-tensor", "omit it, or use quantization=int8")
    if requested and description.quantized and not description.per_tensor:
        remedy = "train with training.quantization.per_tensor=true, or export the float run that it started from"
        raise UserError("per_tensor", "the run was trained for int8 with per-channel kernels", remedy)
    if description.per_tensor and not requested and is_given(config, "per_tensor"):
        raise UserError("per_tensor", "the run was trained for int8 with per-tensor kernels", "omit it")
    if is_given(config, "equalize") and not requested:
        raise UserError("equalize", "only per-tensor files are equalized", "omit it, or add per_tensor=true")
    return requested or description.per_tensor
