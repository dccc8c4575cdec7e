"""From a run to proven .tflite files."""

import dataclasses
import json
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import keras
import numpy as np

from deeplab.config import ExportConfig, Quantization, to_mapping
from deeplab.conversion.agreement import make_reference, needed_logit_offset
from deeplab.conversion.calibration import Calibration, choose_calibration
from deeplab.conversion.convert import NEEDS_CALIBRATION, NO_LABELS, convert, io_type
from deeplab.conversion.export_graph import check_mask_stride, export_graph
from deeplab.conversion.export_report import Report, report_path, sha256, versions
from deeplab.conversion.export_settings import (
    as_tuple,
    check_quantized,
    data_for,
    image_size_of,
    keeps_ranges,
    paths_of,
    run_of,
    validation_for,
)
from deeplab.conversion.float_layers import chosen_layers, float_operators
from deeplab.conversion.present import print_reports
from deeplab.conversion.structure import Expected, activation_for
from deeplab.conversion.timing import median_milliseconds
from deeplab.conversion.verify import Proof, verify
from deeplab.datasets.open import limited, open_source
from deeplab.datasets.shapes import shapes_source
from deeplab.datasets.source import Example
from deeplab.errors import UserError
from deeplab.files import atomic_write, check_writable
from deeplab.model.quantization.transform import activation_ranges, quantization_parameters
from deeplab.model.resize import feature_size
from deeplab.pretrained.tflite_network import load_quantized
from deeplab.run_folder import check_class_count, load_model, open_model
from deeplab.tflite.flatbuffer import read_graph
from deeplab.tflite.metadata import write_metadata

ORIGIN_FILE = "origin.json"
"""Attached to every file: how the model came about."""


@dataclass(frozen=True)
class Prepared:
    """All that files of one run have in common."""

    model: keras.Model
    classes: tuple[str, ...]
    image_size: tuple[int, int]
    logit_offset: float
    float_layers: tuple[str, ...]
    calibration: Calibration | None
    proof: Proof
    origin: Mapping[str, Any]


def export(config: ExportConfig, tell: Callable[[str], object] = lambda _: None) -> tuple[Report, ...]:
    """Makes, checks and writes one .tflite file for each quantization, with its report beside it.

    Args:
        config: what to make.
        tell: is told what is being done, for each of the steps that take many seconds.

    Returns:
        The report of each file.

    Raises:
        UserError: something needed is missing or does not fit; or a check failed: the message names it with the value
            and its limit. A file whose checks failed is not written; those that passed are.
    """
    quantizations = as_tuple(config.quantization)
    if config.output == "labels" and set(quantizations) & set(NO_LABELS):
        raise UserError("output", f"labels cannot be had with {', '.join(NO_LABELS)}", "use output=logits, or int8")
    if config.float_layers and "int8" not in quantizations:
        raise UserError("float_layers", "only int8 files can have some", "leave it out, or use quantization=int8")
    if open_model(run_of(config)).description.quantized:
        check_quantized(config, quantizations)
    paths = paths_of(config, quantizations)
    for path in paths.values():
        check_writable(path)
    tell("loads the model, and runs it on the pictures to compare with")
    prepared = _prepared(config, quantizations)
    reports, contents = [], {}
    for quantization in quantizations:
        tell(f"{quantization}: converts")
        content = make_file(config, prepared[quantization], quantization)
        tell(f"{quantization}: checks {len(content):,} bytes")
        reports.append(_report(config, prepared[quantization], quantization, paths[quantization], content))
        contents[quantization] = content
    times = median_milliseconds({q: contents[q] for q, r in zip(quantizations, reports, strict=True) if not r.failed})
    finished = [dataclasses.replace(r, milliseconds=times.get(q)) for q, r in zip(quantizations, reports, strict=True)]
    for quantization, report in zip(quantizations, finished, strict=True):
        if not report.failed:
            _write(paths[quantization], contents[quantization], report)
    failed = [(q, r.failed) for q, r in zip(quantizations, finished, strict=True) if r.failed]
    if failed:
        lines = "; ".join(f"{q}: {', '.join(map(str, checks))}" for q, checks in failed)
        raise UserError("export", f"not written, a check failed: {lines}", _remedy(failed[0][1][0].name))
    return tuple(finished)


def prepare(config: ExportConfig, keep_ranges: bool = False) -> Prepared:
    """Loads the model, the pictures and what the Keras model gives for them.

    Args:
        config: what to make.
        keep_ranges: whether the run is a quantized .tflite file whose ranges the int8 file keeps.

    Raises:
        UserError: something needed is missing or does not fit.
    """
    run = run_of(config)
    size = image_size_of(config, run)
    check_mask_stride(size, config.mask_stride)
    description = open_model(run).description
    model = (load_quantized if keep_ranges else load_model)(Path(run), config.output_stride, size)
    quantization_parameters(model)  # Raises where there is nothing to export, before pictures are read.
    kept = chosen_layers(config.float_layers, [layer.name for layer in model.layers])
    calibrated = set(as_tuple(config.quantization)) & set(NEEDS_CALIBRATION) and not activation_ranges(model)
    data = data_for(config, run, bool(calibrated))
    calibration = None
    examples: list[Example] = []
    validation = validation_for(config, data, description.quantized)
    if data is not None and validation is not None:
        check_class_count(validation.classes, len(description.classes))
        if calibrated:
            training = open_source(data, data.train_split, config.seed)
            calibration = choose_calibration(training, config.calibration_images, size, config.seed)
        wanted = max(config.miou_images, config.agreement_images)
        examples = list(limited(validation, wanted).examples())
        pictures = [e.image for e in examples[: config.agreement_images]]
    else:
        scenes = shapes_source("export", max(32, min(size)), config.seed)
        pictures = [e.image for e in scenes.examples(config.agreement_images)]
    reference = make_reference(model, pictures, examples[: config.miou_images], description.classes)
    logit_offset = needed_logit_offset(reference.logits, config.mask_stride) if config.output == "logits" else 0.0
    mask_size = (feature_size(size[0], config.mask_stride), feature_size(size[1], config.mask_stride))
    # The quantization and the types of the ends are filled in for each file.
    grids = quantization_parameters(model, logit_offset)
    expected = Expected(
        size, mask_size, description.classes, config.output, "float32", "float32", "float32", kept, grids
    )
    return Prepared(
        model=model,
        classes=description.classes,
        image_size=size,
        logit_offset=logit_offset,
        float_layers=kept,
        calibration=calibration,
        proof=Proof(expected, reference, logit_offset, config.max_miou_drop),
        origin=_origin(config, model, description.config, calibration, logit_offset, keep_ranges),
    )


def _prepared(config: ExportConfig, quantizations: Sequence[Quantization]) -> dict[Quantization, Prepared]:
    """For each quantization what its file is made from: that which keeps its ranges is another model."""
    keeping = [q for q in quantizations if q == "int8" and keeps_ranges(config)]
    others = [q for q in quantizations if q not in keeping]
    found = {}
    for part, keep in ((keeping, True), (others, False)):
        if part:
            found.update(dict.fromkeys(part, prepare(dataclasses.replace(config, quantization=tuple(part)), keep)))
    return found


def make_file(config: ExportConfig, prepared: Prepared, quantization: Quantization) -> bytes:
    """The content of one file, with metadata, unchecked."""
    graph = export_graph(prepared.model, config.output, config.mask_stride, prepared.logit_offset)
    images = prepared.calibration.images if prepared.calibration else ()
    kept = prepared.float_layers if quantization == "int8" else ()
    ends, trained = (config.input_type, config.output_type), bool(prepared.proof.expected.grids)
    content = convert(graph, prepared.image_size, quantization, images, *ends, kept, trained, config.correct_biases)
    how = {"quantization": quantization, "float_layers": kept, "correct_biases": config.correct_biases}
    origin = json.dumps({**how, **prepared.origin}).encode()
    return write_metadata(
        content, prepared.classes, activation=activation_for(config.output), files={ORIGIN_FILE: origin}
    )


def run_export(config: ExportConfig) -> None:
    """Exports, telling each step on standard error, and prints a table and where the files are."""
    reports = export(config, lambda step: print(step, file=sys.stderr, flush=True))
    print_reports(reports, paths_of(config, as_tuple(config.quantization)).values())


def _report(config: ExportConfig, prepared: Prepared, quantization: Quantization, path: Path, content: bytes) -> Report:
    """Checks one file and says what is known of it."""
    expected = dataclasses.replace(
        prepared.proof.expected,
        quantization=quantization,
        input_type=io_type(quantization, config.input_type),
        output_type=io_type(quantization, config.output_type),
        float_layers=prepared.float_layers if quantization == "int8" else (),
    )
    proof = dataclasses.replace(prepared.proof, expected=expected)
    checks = verify(content, proof, prepared.proof.reference.pictures, config.threads)
    graph = read_graph(content)
    ends = [graph.tensors[i] for i in (graph.inputs[0], graph.outputs[0])]
    given, result = (f"{t.dtype} {list(t.shape)}" for t in ends)
    return Report(
        file=path.name,
        bytes=len(content),
        sha256=sha256(content),
        input=given,
        output=result,
        operators=graph.operator_counts(),
        float_operators=float_operators(graph) if quantization == "int8" else (),
        checks=checks,
        milliseconds=None,
        settings={**to_mapping(config), "quantization": quantization},
        origin=prepared.origin,
    )


def _write(path: Path, content: bytes, report: Report) -> None:
    """The file and its report, each whole or not at all."""
    with atomic_write(path) as aside:
        aside.write_bytes(content)
    report.save(report_path(path))


def _origin(
    config: ExportConfig,
    model: keras.Model,
    network: Any,
    calibration: Calibration | None,
    logit_offset: float,
    keep_ranges: bool,
) -> dict[str, Any]:
    """How a file came about, without paths of this machine."""
    weights = sha256(b"".join(np.ascontiguousarray(w).tobytes() for w in model.get_weights()))
    return {
        "model": to_mapping(network),
        "output_stride": config.output_stride,
        "output": config.output,
        "mask_stride": config.mask_stride,
        "logit_offset": logit_offset,
        "quantization_aware": bool(activation_ranges(model)) and not keep_ranges,
        "keep_ranges": keep_ranges,
        "weights_sha256": weights,
        "calibration": None
        if calibration is None
        else {
            "seed": calibration.seed,
            "pictures": list(calibration.names),
            "classes": calibration.classes,
            "span": list(calibration.span),
        },
        "versions": versions(),
    }


def _remedy(name: str) -> str:
    """What to do about a check that failed."""
    if name.startswith("mIoU"):
        return "raise max_miou_drop, use another quantization, keep layers float with float_layers, or train longer"
    if name == "error of the scores" or "agree with Keras" in name:
        return "use float16, or keep layers float with float_layers (benchmarks/export_layers.py tells which hurt)"
    return "report this as a fault of the toolkit, or choose another quantization or output"
