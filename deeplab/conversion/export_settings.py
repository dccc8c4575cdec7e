"""What an export was asked for: the run, the sizes, the data and where files go, with what does not fit told early."""

import warnings
from pathlib import Path

from deeplab.config import DataConfig, ExportConfig, Quantization
from deeplab.datasets.open import open_source
from deeplab.datasets.source import Source
from deeplab.errors import UserError
from deeplab.run_folder import is_tflite, open_model
from deeplab.tflite.interpreter import TfliteModel


def run_of(config: ExportConfig) -> str:
    """The run folder or .tflite file to export."""
    if config.run is None:
        raise UserError("run", "a value is needed", "set it with run=FOLDER")
    return config.run


def image_size_of(config: ExportConfig, run: str) -> tuple[int, int]:
    """The size of the file's input in pixels."""
    wanted = config.image_size
    if wanted is None:
        training = open_model(run).training
        # Only a .tflite file has no training, and it has a size of its own.
        wanted = training.eval_size or training.training.crop_size if training else TfliteModel(run).image_size
    height, width = (wanted, wanted) if isinstance(wanted, int) else wanted
    if min(height, width) < 33:
        raise UserError("image_size", f"{height}x{width} pixels", "at least 33 a side")
    return height, width


def data_for(config: ExportConfig, run: str, needed: bool) -> DataConfig | None:
    """The data to calibrate and measure with; None where none is given and none is needed."""
    if is_tflite(run) and not config.data:
        if not needed:
            return None
        why = f"calibration needs training pictures, and {run} does not tell what it was trained on"
        raise UserError("data", why, "give data=voc data.root=DIR, or data=folder")
    return open_model(run).data(config.data)


def validation_for(config: ExportConfig, data: DataConfig | None, quantized: bool) -> Source | None:
    """Labeled pictures to compare on; None where none are given, or none are at hand and none are needed."""
    if data is None:
        return None
    try:
        return open_source(data, data.val_split, config.seed)
    except UserError as error:
        if not quantized or config.data:
            raise
        warnings.warn(f"compared on drawn scenes, and no mIoU measured: {error}", stacklevel=2)
        return None


def check_quantized(config: ExportConfig, quantizations: tuple[Quantization, ...]) -> None:
    """Raises UserError for what cannot be made of a quantization-aware run."""
    if set(quantizations) != {"int8"}:
        found = f"{', '.join(quantizations)}, of a run that was trained for int8"
        raise UserError("quantization", found, "use quantization=int8, or export the float run that it began with")
    if config.float_layers:
        raise UserError("float_layers", "the run was trained for int8 throughout", "leave it out")


def paths_of(config: ExportConfig, quantizations: tuple[Quantization, ...]) -> dict[Quantization, Path]:
    """Where each file goes."""
    if config.out is None:
        if is_tflite(run_of(config)):
            why = "a value is needed, for run is a file and no folder that could take it"
            raise UserError("out", why, "set it with out=FILE.tflite")
        return {q: Path(run_of(config)) / f"{q}.tflite" for q in quantizations}
    out = Path(config.out)
    if out.suffix != ".tflite":
        raise UserError("out", f"{config.out!r} is no .tflite file", "let the name end in .tflite")
    if is_tflite(run_of(config)) and out.exists() and out.samefile(run_of(config)):
        raise UserError("out", "is the file that is imported", "choose another name")
    if len(quantizations) == 1:
        return {quantizations[0]: out}
    return {q: out.with_name(f"{out.stem}_{q}.tflite") for q in quantizations}


def as_tuple(quantization: Quantization | tuple[Quantization, ...]) -> tuple[Quantization, ...]:
    """One quantization or several as several."""
    return quantization if isinstance(quantization, tuple) else (quantization,)


def keeps_ranges(config: ExportConfig) -> bool:
    """Whether int8 files take over the ranges of a quantized one. Those with float layers are calibrated."""
    run = run_of(config)
    return (
        config.keep_ranges and not config.float_layers and is_tflite(run) and open_model(run).network.ranges is not None
    )
