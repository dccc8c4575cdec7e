"""What a .tflite file says about itself: normalization, labels, activation, attached files.

Two clients read it on devices: the Task Library and MediaPipe. Both share one schema; MediaPipe adds a small buffer
named SEGMENTER_METADATA with the activation that it must apply.
"""

import ctypes
import io
import json
import tempfile
import zipfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import flatbuffers
import numpy as np
from ai_edge_litert import schema_py_generated as schema
from tensorflow_lite_support.metadata import metadata_schema_py_generated as metadata_schema

from deeplab.errors import UserError
from deeplab.quiet import quiet
from deeplab.tflite.flatbuffer import read_file
from deeplab.tflite.packing import attached_files, pack

Activation = Literal["none", "sigmoid", "softmax"]
"""What a client has to apply to the scores of the file."""

LABEL_FILE = "labelmap.txt"
_ACTIVATIONS: tuple[Activation, ...] = ("none", "sigmoid", "softmax")
_SEGMENTER_BUFFER = "SEGMENTER_METADATA"
_SEGMENTER_IDENTIFIER = b"V001"


@dataclass(frozen=True)
class Metadata:
    """What a file says about itself.

    Attributes:
        name: of the model.
        description: of the model.
        labels: names of the classes by id; None where there are none.
        mean: subtracted from the bytes 0..255, one value or one for each channel; None where nothing is said.
        std: what the difference is divided by.
        activation: what MediaPipe has to apply to the scores; None where nothing is said.
        files: content of all attached files by name.
    """

    name: str = ""
    description: str = ""
    labels: tuple[str, ...] | None = None
    mean: tuple[float, ...] | None = None
    std: tuple[float, ...] | None = None
    activation: Activation | None = None
    files: Mapping[str, bytes] = field(default_factory=dict)


def load_libusb() -> None:
    """Loads the libusb that tflite-support's native modules need, so that no system package is needed.

    Raises:
        ImportError: the package libusb-package is not installed.
    """
    import libusb_package

    ctypes.CDLL(str(libusb_package.get_library_path()), mode=ctypes.RTLD_GLOBAL)


def read_metadata(content: bytes, name: str = "the model") -> Metadata | None:
    """Parse the TFLite metadata of a file; None if it has none.

    Args:
        content: the bytes of the file.
        name: the file, for messages.

    Raises:
        UserError: the metadata are damaged.
    """
    try:
        model = _metadata_object(content)
        if model is None:
            return None
        files = attached_files(content)
        subgraph = model.subgraphMetadata[0]
        mean, std = _normalization(subgraph.inputTensorMetadata)
        return Metadata(
            name=_text(model.name),
            description=_text(model.description),
            labels=_labels(subgraph.outputTensorMetadata, files),
            mean=mean,
            std=std,
            activation=_activation(subgraph.customMetadata),
            files=files,
        )
    except UserError:
        raise
    except Exception as e:
        # As in flatbuffer.py: the generated reader checks nothing.
        raise UserError(name, f"its metadata are damaged ({type(e).__name__}: {e})", "export it again") from e


def write_metadata(
    model: bytes,
    labels: Sequence[str],
    *,
    mean: float = 127.5,
    std: float = 127.5,
    activation: Activation | None = None,
    files: Mapping[str, bytes] | None = None,
) -> bytes:
    """The model with the metadata of an image segmenter, as the Task Library and MediaPipe want them.

    Args:
        model: a .tflite file with one image input and one output of scores; nothing of that is checked here. What it
            said about itself before is replaced.
        labels: names of the classes by id.
        mean: network input = (byte - mean) / std.
        std: see `mean`.
        activation: what MediaPipe has to apply to the scores; None leaves its own buffer out.
        files: attached as they are, by name.

    Raises:
        UserError: a label that does not fit on a line.
        ImportError: tflite-support's writer cannot be loaded.
    """
    model = _without_files(model)
    for label in labels:
        if not label or label.splitlines() != [label]:
            raise UserError("data.classes", f"{label!r} is no label", "a label is one line that is not empty")
    with quiet():
        load_libusb()
        from tensorflow_lite_support.metadata.python import metadata as support
        from tensorflow_lite_support.metadata.python.metadata_writers import image_segmenter
    with tempfile.TemporaryDirectory() as folder:
        label_path = Path(folder) / LABEL_FILE
        label_path.write_text("".join(f"{label}\n" for label in labels), encoding="utf-8")
        writer = image_segmenter.MetadataWriter.create_for_inference(bytearray(model), [mean], [std], [str(label_path)])
        attached = {LABEL_FILE: label_path.read_bytes(), **(files or {})}
    described = metadata_schema.ModelMetadataT.InitFromPackedBuf(bytes(writer._metadata_buffer), 0)
    if activation is not None:
        described.subgraphMetadata[0].customMetadata = [_segmenter_metadata(activation)]
    if files:
        described.associatedFiles = [_file_entry(name) for name in files]
    builder = flatbuffers.Builder(0)
    builder.Finish(described.Pack(builder), b"M001")
    populator = support.MetadataPopulator.with_model_buffer(bytearray(model))
    populator.load_metadata_buffer(bytearray(builder.Output()))
    populator.load_associated_file_buffers(attached)
    populator.populate()
    return pack(bytes(populator.get_model_buffer()))


def metadata_json(source: str | Path | bytes) -> dict[str, Any]:
    """The Task Library's part of the metadata as tflite-support itself prints it, for comparison with its documents.

    Raises:
        UserError: no .tflite file, or one without metadata.
        ImportError: tflite-support cannot be loaded.
    """
    name, content = read_file(source)
    with quiet():
        load_libusb()
        from tensorflow_lite_support.metadata.python import metadata as support
    try:
        return json.loads(support.MetadataDisplayer.with_model_buffer(bytearray(content)).get_metadata_json())
    except ValueError as e:
        raise UserError(name, f"no metadata: {e}", "write them with the export command") from e


def _metadata_object(content: bytes) -> Any:
    """The schema's own object, or None."""
    model = schema.Model.GetRootAs(content, 0)
    for i in range(model.MetadataLength()):
        if model.Metadata(i).Name() == b"TFLITE_METADATA":
            buffer = model.Buffers(model.Metadata(i).Buffer()).DataAsNumpy()
            return metadata_schema.ModelMetadataT.InitFromPackedBuf(np.asarray(buffer, np.uint8).tobytes(), 0)
    return None


def _without_files(content: bytes) -> bytes:
    """The model without the zip archive behind it."""
    if not zipfile.is_zipfile(io.BytesIO(content)):
        return content
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        return content[: min(info.header_offset for info in archive.infolist())]


def _normalization(tensors: list[Any] | None) -> tuple[tuple[float, ...] | None, tuple[float, ...] | None]:
    """(mean, std) of the first input."""
    for unit in (tensors[0].processUnits or []) if tensors else []:
        if unit.optionsType == metadata_schema.ProcessUnitOptions.NormalizationOptions:
            return tuple(float(v) for v in unit.options.mean), tuple(float(v) for v in unit.options.std)
    return None, None


def _labels(tensors: list[Any] | None, files: Mapping[str, bytes]) -> tuple[str, ...] | None:
    """The lines of the label file of the first output."""
    for entry in (tensors[0].associatedFiles or []) if tensors else []:
        if entry.type == metadata_schema.AssociatedFileType.TENSOR_AXIS_LABELS:
            return tuple(files[_text(entry.name)].decode("utf-8").splitlines())
    return None


def _activation(custom: list[Any] | None) -> Activation | None:
    """What MediaPipe's own buffer says."""
    for entry in custom or []:
        if _text(entry.name) == _SEGMENTER_BUFFER:
            buffer = np.asarray(entry.data, np.uint8).tobytes()
            if buffer[4:8] != _SEGMENTER_IDENTIFIER:
                raise ValueError(f"{_SEGMENTER_BUFFER} begins with {buffer[4:8]!r}")
            table = flatbuffers.table.Table(buffer, flatbuffers.encode.Get(flatbuffers.packer.uoffset, buffer, 0))
            field_offset = table.Offset(4)
            value = table.Get(flatbuffers.number_types.Int8Flags, field_offset + table.Pos) if field_offset else 0
            return _ACTIVATIONS[value]
    return None


def _segmenter_metadata(activation: Activation) -> Any:
    """MediaPipe's buffer: a table {activation: byte, min_parser_version: string} with the identifier V001."""
    builder = flatbuffers.Builder(64)
    version = builder.CreateString("1.0.0")
    builder.StartObject(2)
    builder.PrependInt8Slot(0, _ACTIVATIONS.index(activation), 0)
    builder.PrependUOffsetTRelativeSlot(1, version, 0)
    builder.Finish(builder.EndObject(), _SEGMENTER_IDENTIFIER)
    entry = metadata_schema.CustomMetadataT()
    entry.name = _SEGMENTER_BUFFER
    entry.data = np.frombuffer(bytes(builder.Output()), np.uint8)
    return entry


def _file_entry(name: str) -> Any:
    """How an attached file is listed."""
    entry = metadata_schema.AssociatedFileT()
    entry.name = name
    entry.description = "How the model came about."
    entry.type = metadata_schema.AssociatedFileType.DESCRIPTIONS
    return entry


def _text(value: bytes | str | None) -> str:
    """A schema string."""
    return value.decode("utf-8") if isinstance(value, bytes) else value or ""
