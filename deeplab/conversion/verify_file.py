"""Checking a file that is already there, against its report, the clients and, if it is at hand, its run."""

import dataclasses
import json
from typing import Any

import numpy as np

from deeplab.config import DataConfig, ExportConfig, ExportOutput, Quantization, VerifyConfig, build
from deeplab.conversion.export import ORIGIN_FILE, prepare
from deeplab.conversion.export_report import Check, check, not_checked, report_path, sha256
from deeplab.conversion.verify import Proof, verify
from deeplab.datasets.open import limited, open_source
from deeplab.datasets.shapes import shapes_source
from deeplab.errors import UserError
from deeplab.files import read_json
from deeplab.prediction.image_fit import fit_image
from deeplab.run_folder import is_tflite
from deeplab.tflite.flatbuffer import TfliteGraph, read_file
from deeplab.tflite.interpreter import TfliteModel


def verify_file(config: VerifyConfig) -> tuple[Check, ...]:
    """Checks the file `config.verify`.

    With `config.run` it is compared with the Keras model of that run; how it was made is read from the file itself, or
    taken from its ends if somebody else made it.

    Raises:
        UserError: no .tflite file, or the run is missing or does not fit.
    """
    path = str(config.verify)
    _, content = read_file(path)
    try:
        model = TfliteModel(content, config.threads)
    except UserError:
        return verify(content, None, ())
    report = _report_check(path, content)
    if config.run is None:
        return (report, *verify(content, None, _pictures(config, model), config.threads))
    proof = _proof(config, model)
    return (report, *verify(content, proof, proof.reference.pictures, config.threads))


def run_verify(config: VerifyConfig) -> None:
    """Prints each check.

    Raises:
        UserError: a check failed.
    """
    checks = verify_file(config)
    for found in checks:
        print(found)
    failed = [c for c in checks if c.state == "failed"]
    if failed:
        named = str(failed[0]) if len(failed) == 1 else ", ".join(c.name for c in failed)
        remedy = "copy or export it again, or make one of it with export.py run=FILE out=NEW.tflite if it is not ours"
        raise UserError(str(config.verify), f"{len(failed)} of {len(checks)} checks failed: {named}", remedy)


def infer_quantization(graph: TfliteGraph) -> Quantization:
    """How a file computes, by the types of what its convolutions take."""
    kinds = {
        (graph.tensors[op.inputs[0]].dtype, graph.tensors[op.inputs[1]].dtype)
        for op in graph.operators
        if op.name in ("CONV_2D", "DEPTHWISE_CONV_2D")
    }
    if kinds & {("int8", "int8"), ("uint8", "uint8")}:
        return "int8"
    if ("int16", "int8") in kinds:
        return "int16x8"
    if ("float32", "int8") in kinds:
        return "dynamic"
    return "float16" if any(t.dtype == "float16" for t in graph.tensors) else "float32"


def _report_check(path: str, content: bytes) -> Check:
    """Whether the file is the one that its report is about."""
    name = "sha256 of its report"
    beside = report_path(path)
    if not beside.is_file():
        return not_checked(name, "no report beside it")
    found, wanted = sha256(content), str(read_json(beside).get("sha256"))
    return check(name, found == wanted, found[:16], wanted[:16])


def _pictures(config: VerifyConfig, model: TfliteModel) -> list[np.ndarray]:
    """Pictures at the model's size: of `data`, or drawn."""
    if config.data:
        data = build(DataConfig, config.data, "data")
        source = limited(open_source(data, data.val_split, config.seed), config.agreement_images)
    else:
        source = shapes_source("export", max(32, min(model.image_size)), config.seed)
    images = [e.image for e in source.examples(config.agreement_images)]
    return [fit_image(i, model.image_size, gray=128).image.astype(np.uint8) for i in images]


def _proof(config: VerifyConfig, model: TfliteModel) -> Proof:
    """What the file has to agree with: the run's model, built as the file says that it was."""
    origin = _origin(model)
    quantization: Quantization = origin.get("quantization", infer_quantization(model.graph))
    output: ExportOutput = origin.get("output", "labels" if model.returns_labels else "logits")
    mask_stride = round((model.image_size[0] - 1) / max(1, model.mask_size[0] - 1))
    prepared = prepare(
        ExportConfig(
            run=str(config.run),
            max_miou_drop=config.max_miou_drop,
            agreement_images=config.agreement_images,
            miou_images=config.miou_images,
            threads=config.threads,
            data=config.data,
            seed=config.seed,
            image_size=model.image_size,
            output=output,
            output_stride=origin.get("output_stride", config.output_stride),
            mask_stride=origin.get("mask_stride", mask_stride),
            quantization="float32",
        ),
        keep_ranges=origin.get("keep_ranges") is True and config.run is not None and is_tflite(config.run),
    )
    expected = dataclasses.replace(
        prepared.proof.expected,
        quantization=quantization,
        input_type=model.input.dtype,
        output_type=model.output.dtype,
        float_layers=tuple(origin.get("float_layers", ())),
    )
    return dataclasses.replace(prepared.proof, expected=expected, logit_offset=origin.get("logit_offset", 0.0))


def _origin(model: TfliteModel) -> dict[str, Any]:
    """What the file says about how it came about."""
    files = model.metadata.files if model.metadata else {}
    try:
        origin = json.loads(files.get(ORIGIN_FILE, b"{}"))
    except ValueError as e:
        raise UserError(model.name, f"its {ORIGIN_FILE} is damaged ({e})", "export it again") from e
    return origin if isinstance(origin, dict) else {}
