"""Verifies .tflite files: new ones before they are written, and existing ones."""

from collections.abc import Sequence

import numpy as np

from deeplab.config import DataConfig, Quantization, VerifyConfig, build
from deeplab.conversion.agreement import VerificationTarget, agreement_checks, simulation_checks
from deeplab.conversion.checks import Check, CheckId, check, check_equal, failed_checks, not_checked
from deeplab.conversion.client_checks import client_checks
from deeplab.conversion.export_graph import check_mask_stride
from deeplab.conversion.export_report import sha256
from deeplab.conversion.keras_reference import first_images, load_keras_model, make_reference, open_validation
from deeplab.conversion.structure import ExpectedFile, convolution_dtypes, structure_checks
from deeplab.datasets.open import open_source
from deeplab.errors import UserError
from deeplab.files import read_json
from deeplab.model.quantization.transform import quantization_parameters
from deeplab.run_folder import TrainedModel, open_model
from deeplab.tflite.flatbuffer import TfliteGraph
from deeplab.tflite.interpreter import TfliteModel
from deeplab.tflite.tflite_file import TfliteFile, TfliteSource, open_tflite, report_path


def verify(
    source: TfliteSource, target: VerificationTarget | None, images: Sequence[np.ndarray], threads: int = 2
) -> tuple[Check, ...]:
    """Run all checks on a .tflite file; a file that cannot be opened has a single failed check.

    Args:
        source: the file.
        target: what the file is verified against; None if its Keras model is not available.
        images: `[h, w, 3]` uint8 at the input size of the file, for the clients; may be empty.
        threads: threads of the interpreter.
    """
    try:
        file = open_tflite(source)
        model = TfliteModel(file, threads)
    except UserError as error:
        return (check(CheckId.OPENS, False, error.problem, "opens"),)
    checks = structure_checks(model, target.expected if target else None)
    if {c.id for c in failed_checks(checks)} & {CheckId.INPUT_MATCHES, CheckId.OUTPUT_MATCHES}:
        reason = "the input or output does not match the settings"
        return (*checks, not_checked(CheckId.KERAS_AGREEMENT, reason), not_checked(CheckId.CLIENTS, reason))
    if target is None:
        checks.append(not_checked(CheckId.KERAS_AGREEMENT, "add run=FOLDER to compare with its Keras model"))
    else:
        checks += agreement_checks(model, target)
        if target.expected.quantization_parameters:
            checks += simulation_checks(file, target, threads)
    return (*checks, *client_checks(file, images, threads, target.tolerance if target else 1.0))


def verify_file(config: VerifyConfig) -> tuple[Check, ...]:
    """Verify an existing file.

    With `config.run` the file is compared with the Keras model of that run. How the file was made is read from its
    metadata, or derived from its input, output and operators if another tool made it.

    Raises:
        UserError: the file or the run is missing, or they do not fit together.
    """
    file = open_tflite(config.verify)
    try:
        model = TfliteModel(file, config.threads)
    except UserError:
        return verify(file, None, ())
    report = _report_check(file)
    if config.run is None:
        if config.data and "source" not in config.data:
            raise UserError("data", "a source is required without run=", "add data=voc data.root=DIR, or data=folder")
        data = build(DataConfig, config.data, "data") if config.data else None
        source = open_source(data, data.val_split, config.seed) if data else None
        images = first_images(source, config.agreement_images, model.image_size, config.seed, model.fit)
        return (report, *verify(file, None, images, config.threads))
    target = _target(config, open_model(config.run), model)
    return (report, *verify(file, target, target.reference.images, config.threads))


def run_verify(config: VerifyConfig) -> None:
    """Print each check of an existing file.

    Raises:
        UserError: a check failed.
    """
    checks = verify_file(config)
    for c in checks:
        print(c)
    failed = failed_checks(checks)
    if failed:
        names = str(failed[0]) if len(failed) == 1 else ", ".join(c.id.title for c in failed)
        remedy = "copy or export it again; convert a file of another tool with export.py run=FILE out=NEW.tflite"
        raise UserError(str(config.verify), f"{len(failed)} of {len(checks)} checks failed: {names}", remedy)


def infer_quantization(graph: TfliteGraph) -> Quantization:
    """Return the quantization of a file, derived from the dtypes of its convolutions."""
    kinds = convolution_dtypes(graph)
    if kinds & {("int8", "int8"), ("uint8", "uint8")}:
        return "int8"
    if ("int16", "int8") in kinds:
        return "int16x8"
    if ("float32", "int8") in kinds:
        return "dynamic"
    return "float16" if any(t.dtype == "float16" for t in graph.tensors) else "float32"


def _report_check(file: TfliteFile) -> Check:
    """Check that the report next to a file belongs to it."""
    path = report_path(file.name)
    if not path.is_file():
        return not_checked(CheckId.REPORT_SHA256, "no report next to the file")
    return check_equal(CheckId.REPORT_SHA256, sha256(file.content)[:16], str(read_json(path).get("sha256"))[:16])


def _target(config: VerifyConfig, run: TrainedModel, file: TfliteModel) -> VerificationTarget:
    """Build the Keras model of the run in the way that the file states, and compute its outputs."""
    origin, size, classes = file.origin, file.image_size, run.description.classes
    mask_stride = origin.get("mask_stride", round((size[0] - 1) / max(1, file.mask_size[0] - 1)))
    logit_offset = origin.get("logit_offset", 0.0)
    check_mask_stride(size, mask_stride)
    keep_ranges = origin.get("keep_ranges") is True and run.is_tflite
    per_tensor = origin.get("per_tensor") is True
    model = load_keras_model(run, origin.get("output_stride", config.output_stride), size, keep_ranges, per_tensor)
    expected = ExpectedFile(
        image_size=size,
        mask_stride=mask_stride,
        labels=classes,
        output=origin.get("output", "labels" if file.returns_labels else "logits"),
        quantization=origin.get("quantization", infer_quantization(file.graph)),
        input_type=file.input.dtype,
        output_type=file.output.dtype,
        float_layers=tuple(origin.get("float_layers", ())),
        logit_offset=logit_offset,
        quantization_parameters=quantization_parameters(model, logit_offset),
        per_tensor=per_tensor,
    )
    reference = make_reference(model, open_validation(run, config), classes, config, fit=file.fit)
    return VerificationTarget(expected, reference, config.max_miou_drop)
