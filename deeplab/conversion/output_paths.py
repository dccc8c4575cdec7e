"""Names the files that an export writes."""

import hashlib
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from deeplab.compatibility.targets import with_target
from deeplab.config import ExportConfig, Quantization
from deeplab.errors import UserError
from deeplab.run_folder import TrainedModel

_NAMED: Mapping[str, tuple[Quantization, ...]] = {
    "output_stride": (),
    "image_size": (),
    "fit": (),
    "output": (),
    "mask_stride": (),
    "input_type": (),
    "output_type": (),
    "per_tensor": ("int8",),
    "equalize": ("int8",),
    "float_layers": ("int8",),
    "correct_biases": ("int8", "int16x8"),
}
"""Settings that are part of a default name if they differ from their default, or from that of the target, with the
quantizations that they change; () is all."""


def output_paths(config: ExportConfig, run: TrainedModel) -> dict[Quantization, Path]:
    """Return the file to write for each quantization.

    Default names contain the settings that shape the file, so that exports with different ones do not replace each
    other: int8.tflite, int8_per_tensor.tflite, web_mask_stride_4.tflite.

    Args:
        config: the settings of the export, with those of its target.
        run: the opened run folder or .tflite file.

    Raises:
        UserError: `out` is missing for a .tflite file, does not end in .tflite, or is the imported file.
    """
    several = len(config.quantizations) > 1
    if config.out is None:
        if run.is_tflite:
            raise UserError("out", "a value is required when run is a .tflite file", "set it with out=FILE.tflite")
        names = {
            q: f"{config.target}_{q}" if config.target and several else config.target or q for q in config.quantizations
        }
        return {q: run.folder / f"{'_'.join([name, *_parts(config, q)])}.tflite" for q, name in names.items()}
    out = Path(config.out)
    if out.suffix != ".tflite":
        raise UserError("out", f"expected a name that ends in .tflite, got {config.out!r}", "change the name")
    if run.is_tflite and out.exists() and out.samefile(run.path):
        raise UserError("out", "is the file that is imported", "choose another name")
    return {q: out.with_name(f"{out.stem}_{q}.tflite") if several else out for q in config.quantizations}


def _parts(config: ExportConfig, quantization: Quantization) -> list[str]:
    """Return the settings in the name of a file, as KEY, no_KEY or KEY_VALUE."""
    usual = with_target(ExportConfig(config.run, target=config.target))
    return [
        _part(name, getattr(config, name))
        for name, changed in _NAMED.items()
        if quantization in (changed or (quantization,)) and getattr(config, name) != getattr(usual, name)
    ]


def _part(name: str, value: Any) -> str:
    if isinstance(value, bool):
        return name if value else f"no_{name}"
    if name == "float_layers":
        return f"{name}_{_layers_part(value)}"
    return f"{name}_{'x'.join(map(str, value)) if isinstance(value, tuple) else value}"


def _layers_part(patterns: Sequence[str]) -> str:
    """Return the names of layers; with a hash if there are several, or long ones, or characters such as `*`."""
    text = "_".join(patterns)
    if len(patterns) == 1 and re.fullmatch(r"[\w-]{1,60}", text):
        return text
    plain = re.sub(r"[^\w-]+", "", text)[:40]
    # Commas, which layer names do not contain, distinguish a_b from a and b.
    return f"{plain}_{hashlib.sha256(','.join(patterns).encode()).hexdigest()[:6]}"
