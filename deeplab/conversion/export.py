"""Converts a run folder or a .tflite file to verified .tflite files."""

import dataclasses
import json
import os
import sys
import warnings
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import keras
import numpy as np

from deeplab.compatibility.summary import compatibility
from deeplab.config import ExportConfig, PageConfig, Quantization, to_mapping
from deeplab.conversion.agreement import VerificationTarget, miou_check, per_tensor_check
from deeplab.conversion.calibration import Calibration, choose_calibration
from deeplab.conversion.checks import Check, CheckId, not_checked
from deeplab.conversion.convert import convert, io_type
from deeplab.conversion.export_graph import export_graph
from deeplab.conversion.export_report import Report, print_reports, sha256, versions
from deeplab.conversion.export_settings import ExportSettings, resolve_settings
from deeplab.conversion.float_layers import chosen_layers, float_operators
from deeplab.conversion.keras_reference import KerasReference, load_keras_model, make_reference, needed_logit_offset
from deeplab.conversion.model_card import write_model_card
from deeplab.conversion.structure import ExpectedFile
from deeplab.conversion.timing import median_milliseconds
from deeplab.conversion.verify import verify
from deeplab.errors import UserError
from deeplab.files import atomic_write, contains_text
from deeplab.model.quantization.equalization import equalized
from deeplab.model.quantization.transform import activation_ranges, quantization_parameters
from deeplab.pixels import mean_pixel
from deeplab.tflite.interpreter import TfliteModel
from deeplab.tflite.metadata import write_metadata
from deeplab.tflite.tflite_file import ORIGIN_FILE, TfliteFile, open_tflite, report_path
from deeplab.web.page import write_page

ReportProgress = Callable[[str], object]


@dataclass(frozen=True, eq=False)
class _PreparedModel:
    """A Keras model and what all files made from it share; `origin` records how, without local paths."""

    model: keras.Model
    float_layers: tuple[str, ...]
    calibration: Calibration | None
    reference: KerasReference
    logit_offset: float
    origin: Mapping[str, Any]


def export(config: ExportConfig, report_progress: ReportProgress = lambda _: None) -> tuple[Report, ...]:
    """Convert, verify and write one .tflite file for each quantization; return their reports, also written next to it.

    Args:
        config: settings of the export.
        report_progress: called with a line of text before each part that takes seconds.

    Raises:
        UserError: settings or data that do not fit, or a failed check; the message states its value and limit. A file
            with a failed check is not written; the other files are, and the message names them. A page that cannot be
            written is reported after all files are written.
    """
    return _export(resolve_settings(config), report_progress)


def run_export(config: ExportConfig) -> tuple[Report, ...]:
    """Export with progress lines on standard error, and print a table and the paths of the files; see `export`."""

    def report_progress(line: str) -> None:
        print(line, file=sys.stderr, flush=True)

    def show_page(page: Path) -> None:
        print(f"written: {os.path.relpath(page)}")

    return _export(resolve_settings(config), report_progress, print_reports, show_page)


def make_file(prepared: _PreparedModel, expected: ExpectedFile, settings: ExportSettings) -> bytes:
    """Convert a model to the content of a .tflite file with metadata; does not verify it."""
    config = settings.config
    images = prepared.calibration.images if prepared.calibration else ()
    equalizes = expected.per_tensor and config.equalize and bool(images)
    model = equalized(prepared.model, images) if equalizes else prepared.model
    graph = export_graph(model, expected.output, expected.mask_stride, expected.logit_offset)
    content = convert(
        graph,
        expected.image_size,
        expected.quantization,
        images,
        config.input_type,
        config.output_type,
        expected.float_layers,
        config.correct_biases,
        expected.per_tensor,
    )
    origin = {
        "quantization": expected.quantization,
        "float_layers": expected.float_layers,
        "correct_biases": config.correct_biases,
        "per_tensor": expected.per_tensor,
        "equalized": equalizes,
        **prepared.origin,
    }
    files = {ORIGIN_FILE: json.dumps(origin).encode()}
    return write_metadata(content, expected.labels, activation=expected.activation, files=files)


def _export(
    settings: ExportSettings,
    report_progress: ReportProgress,
    show: Callable[[Sequence[Report], Iterable[Path]], object] = lambda *_: None,
    show_page: Callable[[Path], object] = lambda _: None,
) -> tuple[Report, ...]:
    """Write the files that pass their checks, and their pages; `show` and `show_page` are called with what is written.

    Raises:
        UserError: a file fails a check, or a page cannot be written; everything else is written before.
    """
    files, reports = _convert_all(settings, report_progress)
    failed = {q: report.failed for q, report in reports.items() if report.failed}
    passed = {q: report for q, report in reports.items() if not report.failed}
    paths = {q: settings.paths[q] for q in passed}
    for q, report in passed.items():
        with atomic_write(paths[q]) as temporary:
            temporary.write_bytes(files[q].content)
        report.save(report_path(paths[q]))
        write_model_card(paths[q], report, settings.config, settings.run, files[q])
    written = tuple(passed.values())
    if written:
        show(written, paths.values())
    errors = _write_pages(dataclasses.replace(settings, paths=paths), written, report_progress, show_page)
    pages = "; ".join(f"{error.subject}: {error.problem}" for error in errors)
    if failed:
        lines = "; ".join(f"{q}: {', '.join(map(str, checks))}" for q, checks in failed.items())
        others = f"; written: {', '.join(os.path.relpath(path) for path in paths.values())}" if paths else ""
        unwritten = f"; {pages}" if pages else ""
        remedy = next(iter(failed.values()))[0].id.remedy
        raise UserError("export", f"not written, a check failed: {lines}{others}{unwritten}", remedy)
    if len(errors) > 1:
        raise UserError("page", f"{len(errors)} pages are not written: {pages}", errors[0].remedy)
    for error in errors:
        raise error
    return written


def _convert_all(
    settings: ExportSettings, report_progress: ReportProgress
) -> tuple[dict[Quantization, TfliteFile], dict[Quantization, Report]]:
    """Convert and verify the model for each quantization; return the files and their reports."""
    models: dict[bool, _PreparedModel] = {}
    files: dict[Quantization, TfliteFile] = {}
    reports: dict[Quantization, Report] = {}
    for quantization in settings.paths:
        # A file that keeps its ranges is made from a quantization-aware model, the others from a float model.
        keep_ranges = settings.keep_ranges and quantization == "int8"
        if keep_ranges not in models:
            report_progress("Loading the model and computing reference outputs ...")
            models[keep_ranges] = _prepare(settings, keep_ranges)
        expected = _expected(settings, models[keep_ranges], quantization)
        report_progress(f"Converting to {quantization} ...")
        file = open_tflite(make_file(models[keep_ranges], expected, settings))
        report_progress(f"Checking {len(file.content):,} bytes ...")
        files[quantization] = file
        reports[quantization] = _report(settings, models[keep_ranges], expected, file)
        if expected.per_tensor:
            report_progress("Measuring what per-tensor kernels cost ...")
            cost = _per_tensor_check(settings, models[keep_ranges], expected, reports[quantization])
            checks = (*reports[quantization].checks, cost)
            reports[quantization] = dataclasses.replace(reports[quantization], checks=checks)
    times = median_milliseconds({q: file for q, file in files.items() if not reports[q].failed})
    reports = {q: dataclasses.replace(report, milliseconds=times.get(q)) for q, report in reports.items()}
    return files, reports


def _write_pages(
    settings: ExportSettings,
    reports: Sequence[Report],
    report_progress: ReportProgress,
    written: Callable[[Path], object] = lambda _: None,
) -> list[UserError]:
    """Write the page of each file if `page` is set, else warn of pages that contain an earlier file.

    The files are written already, whatever happens to a page, and a page that fails does not stop the others.

    Args:
        settings: of the export.
        reports: of the written files.
        report_progress: called with a line of text before a part that takes seconds.
        written: called with each page that is written.

    Returns:
        Why pages could not be written, each reason once.
    """
    errors: dict[str, UserError] = {}
    for path, report in zip(settings.paths.values(), reports, strict=True):
        page = path.with_suffix(".html")
        if settings.config.page:
            try:
                written(write_page(PageConfig(str(path)), report_progress))
            except UserError as error:
                errors[str(error)] = error
        elif page.is_file() and not contains_text(page, report.sha256):
            warnings.warn(f"{page} contains an earlier {path.name}; page=true writes it again", stacklevel=4)
    return list(errors.values())


def _prepare(settings: ExportSettings, keep_ranges: bool) -> _PreparedModel:
    """Load the model and compute its outputs; raises UserError if a layer of `float_layers` does not exist."""
    config, run, size = settings.config, settings.run, settings.image_size
    model = load_keras_model(run, config.output_stride, size, keep_ranges, settings.per_tensor)
    float_layers = chosen_layers(config.float_layers, [layer.name for layer in model.layers])
    calibration = None
    if settings.training is not None and not keep_ranges:
        padding = mean_pixel(run.description.config.backbone)
        calibration = choose_calibration(
            settings.training, config.calibration_images, size, config.seed, padding, settings.fit
        )
    images = calibration.images if calibration else ()
    reference = make_reference(model, settings.validation, run.description.classes, config, images, settings.fit)
    logit_offset = needed_logit_offset(reference.extremes) if config.output == "logits" else 0.0
    origin = {
        "model": to_mapping(run.description.config),
        "output_stride": config.output_stride,
        "fit": settings.fit,
        "output": config.output,
        "mask_stride": config.mask_stride,
        "logit_offset": logit_offset,
        "quantization_aware": bool(activation_ranges(model)) and not keep_ranges,
        "keep_ranges": keep_ranges,
        "weights_sha256": sha256(b"".join(np.ascontiguousarray(w).tobytes() for w in model.get_weights())),
        "calibration": calibration.origin() if calibration else None,
        "versions": versions(),
    }
    return _PreparedModel(model, float_layers, calibration, reference, logit_offset, origin)


def _expected(settings: ExportSettings, prepared: _PreparedModel, quantization: Quantization) -> ExpectedFile:
    config = settings.config
    return ExpectedFile(
        image_size=settings.image_size,
        mask_stride=config.mask_stride,
        labels=settings.run.description.classes,
        output=config.output,
        quantization=quantization,
        input_type=io_type(quantization, config.input_type),
        output_type=io_type(quantization, config.output_type),
        float_layers=prepared.float_layers if quantization == "int8" else (),
        logit_offset=prepared.logit_offset,
        quantization_parameters=quantization_parameters(prepared.model, prepared.logit_offset),
        per_tensor=settings.per_tensor and quantization == "int8",
    )


def _per_tensor_check(
    settings: ExportSettings, prepared: _PreparedModel, expected: ExpectedFile, report: Report
) -> Check:
    """Measure the mIoU of the same file with per-channel kernels, on the same images, and compare it."""
    config, run, drop = settings.config, settings.run, report.measured(CheckId.MIOU_DROP)
    if run.description.quantized:
        return not_checked(CheckId.PER_TENSOR_COST, "the run was trained with per-tensor kernels")
    if not isinstance(drop, float):
        return not_checked(CheckId.PER_TENSOR_COST, "no labeled images")
    if prepared.origin["keep_ranges"]:
        model = load_keras_model(run, config.output_stride, settings.image_size, keep_ranges=True)
        prepared = dataclasses.replace(prepared, model=model)
    per_channel = dataclasses.replace(expected, per_tensor=False)
    file = TfliteModel(make_file(prepared, per_channel, settings), config.threads)
    target = VerificationTarget(per_channel, prepared.reference, config.max_miou_drop)
    other = miou_check(file, target).measured
    assert isinstance(other, float)
    return per_tensor_check(drop, other, target)


def _report(settings: ExportSettings, prepared: _PreparedModel, expected: ExpectedFile, file: TfliteFile) -> Report:
    """Verify a file and collect its report."""
    config, graph = settings.config, file.graph
    target = VerificationTarget(expected, prepared.reference, config.max_miou_drop)
    image, output = (graph.tensors[i] for i in (graph.inputs[0], graph.outputs[0]))
    return Report(
        file=settings.paths[expected.quantization].name,
        bytes=len(file.content),
        sha256=sha256(file.content),
        input=f"{image.dtype} {list(image.shape)}",
        output=f"{output.dtype} {list(output.shape)}",
        operators=graph.operator_counts(),
        float_operators=float_operators(graph) if expected.quantization == "int8" else (),
        checks=verify(file, target, prepared.reference.images, config.threads),
        milliseconds=None,
        settings={**to_mapping(config), "quantization": expected.quantization},
        origin=prepared.origin,
        compatibility=compatibility(file),
    )
