"""The .tflite files of a frontier: given ones as they are, and those exported from runs in a grid of settings."""

import json
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import product
from pathlib import Path
from typing import Any, NoReturn, get_args

from deeplab.config import ExportConfig, Fit, ImageSize, Quantization, checked, to_mapping
from deeplab.config.ranges import OutputStride, PositiveInt
from deeplab.errors import UserError
from deeplab.evaluation.candidates import short_names
from deeplab.files import file_sha256, read_json, write_json
from deeplab.quiet import load_tensorflow
from deeplab.run_folder import is_tflite, open_model

EXPORTS_FILE = "exports.json"
OWN_SIZE, PER_TENSOR = "own", "int8_per_tensor"


@dataclass(frozen=True)
class Given:
    """A model of the command line: a path or name, and how images meet it ("auto": as the file states)."""

    path: str
    fit: Fit = "auto"


@dataclass(frozen=True)
class Entry:
    """A .tflite file of the frontier: its name in the table, its path, and how images meet it."""

    name: str
    path: Path
    fit: Fit = "auto"


Listed = tuple[Entry, ExportConfig | None]
"""A file, and the settings of its export; None for a given file."""


@dataclass(frozen=True)
class Grid:
    """The settings that each run is exported with: every combination.

    Attributes:
        sizes: input sizes with their fits; None is the size that export.py chooses.
        output_strides: of the exported networks.
        mask_strides: image pixels per mask pixel.
        quantizations: with whether kernels have a single scale.
    """

    sizes: tuple[tuple[ImageSize, Fit], ...]
    output_strides: tuple[OutputStride, ...]
    mask_strides: tuple[PositiveInt, ...]
    quantizations: tuple[tuple[Quantization, bool], ...]


def parse_given(text: str) -> Given:
    """Return what a text such as "starter.tflite,fit=stretch" gives.

    Raises:
        UserError: the fit is unknown, or given for a run, whose fit is that of the grid.
    """
    path, _, fit = text.partition(",fit=")
    given = Given(path, checked(Fit, fit or "auto", f"{path},fit"))
    if fit and not is_tflite(path):
        problem = "only a .tflite file has a fit, because runs are exported"
        raise UserError(text, problem, "leave it out, and give --size SIDE:FIT")
    return given


def parse_size(text: str) -> tuple[ImageSize, Fit]:
    """Return the size and the fit of a text such as "449:letterbox", "161x241" or "own"; raises UserError."""
    side, _, fit = text.partition(":")
    found = re.fullmatch(r"(\d+)(?:x(\d+))?", side)
    if not found and side != OWN_SIZE:
        raise UserError("--size", f"expected SIDE, HEIGHTxWIDTH or {OWN_SIZE}, got {side!r}", "correct it")
    height, width = (found[1], found[2]) if found else (None, None)
    size: Any = (int(height), int(width)) if height and width else int(height) if height else None
    return checked(ImageSize, size, "--size"), checked(Fit, fit or "auto", f"--size {text}")


def parse_quantization(text: str) -> tuple[Quantization, bool]:
    """Return the quantization, and whether kernels have a single scale; raises UserError."""
    known = (*get_args(Quantization), PER_TENSOR)
    if text not in known:
        raise UserError("--quantization", f"expected {', '.join(known)}, got {text!r}", "correct it")
    per_tensor = text == PER_TENSOR
    return checked(Quantization, "int8" if per_tensor else text, "--quantization"), per_tensor


def grid_exports(run: str, name: str, grid: Grid, data: Mapping[str, Any] | None, folder: Path) -> list[ExportConfig]:
    """Return the settings of each export of a run; its files are in `folder`, and their names start with `name`."""
    configs = []
    combinations = product(grid.sizes, grid.output_strides, grid.quantizations, grid.mask_strides)
    for (size, fit), output_stride, (quantization, per_tensor), mask_stride in combinations:
        side = [] if size is None else ["x".join(map(str, size)) if isinstance(size, tuple) else str(size)]
        kind, fits = PER_TENSOR if per_tensor else quantization, [] if fit == "auto" else [fit]
        stride = [] if output_stride == 16 else [f"os{output_stride}"]
        parts = [name, kind, *side, *fits, *stride, f"mask{mask_stride}"]
        config = ExportConfig(
            run,
            out=str(folder / f"{'_'.join(parts)}.tflite"),
            image_size=size,
            fit=fit,
            output_stride=output_stride,
            quantization=quantization,
            per_tensor=per_tensor,
            mask_stride=mask_stride,
            agreement_images=1,
            miou_images=0,
            data=None if data is None else dict(data),
        )
        configs.append(config)
    return configs


def list_entries(given: Sequence[Given], grid: Grid, data: Mapping[str, Any], folder: Path) -> list[Listed]:
    """Return all files in the order of the command line, each with the settings of its export, if it is exported.

    Args:
        given: the models of the command line.
        grid: of the exports.
        data: keys of DataConfig for the exports of published weights, which do not state their data.
        folder: for exported files.

    Raises:
        UserError: a model is missing or damaged, is given twice, or cannot be exported with these settings.
    """
    load_tensorflow()
    from deeplab.conversion.export_settings import resolve_settings

    names = short_names(tuple(model.path for model in given))
    found: list[Listed] = []
    seen = set()
    for model, name in zip(given, names, strict=True):
        name = name.removesuffix(".tflite").replace("/", "-")
        opened = open_model(model.path)
        # Published weights are exported; their file can also be in the list as it is.
        key = (opened.path.resolve(), model.fit, opened.name)
        if key in seen:
            _raise_twice(model.path)
        seen.add(key)
        if is_tflite(model.path):
            full = name if model.fit == "auto" else f"{name} ({model.fit})"
            found.append((Entry(full, Path(model.path), model.fit), None))
            continue
        run_data = data if opened.is_tflite else None
        for config in grid_exports(model.path, name, grid, run_data, folder):
            resolve_settings(config)
            path = Path(str(config.out))
            found.append((Entry(path.stem, path), config))
    all_names = [entry.name for entry, _ in found]
    for entry, _ in found:
        if all_names.count(entry.name) > 1:
            _raise_twice(entry.name)
    return found


def _raise_twice(name: str) -> NoReturn:
    raise UserError(name, "is in the list twice", "give each model and each setting once")


class Exports:
    """Remembers from which weights and with which settings the files of a folder were exported."""

    def __init__(self, folder: Path) -> None:
        self._path = folder / EXPORTS_FILE
        self._origins: dict[str, Any] = read_json(self._path) if self._path.is_file() else {}

    def make(self, config: ExportConfig, report_progress: Callable[[str], object]) -> None:
        """Export a file, unless it exists from the same weights and settings.

        Raises:
            UserError: a check of the file failed.
        """
        path = Path(str(config.out))
        origin = {"weights": file_sha256(open_model(config.run).weights_file), "settings": _settings(config)}
        known = self._origins.get(path.name)
        if known and path.is_file() and known == {**origin, "sha256": file_sha256(path)}:
            return
        load_tensorflow()
        from deeplab.conversion.export import export

        report_progress(f"Exporting {path.name} ...")
        export(config)
        self._origins[path.name] = {**origin, "sha256": file_sha256(path)}
        write_json(self._path, self._origins)


def _settings(config: ExportConfig) -> dict[str, Any]:
    """Return the settings that shape the file, as JSON-ready values; its weights stand for `run`."""
    settings = to_mapping(replace(config, out=None))
    settings.pop("run")
    return dict(json.loads(json.dumps(settings)))
