"""TFLite metadata: normalization, labels, activation and attached files.

The Task Library and MediaPipe read them on devices. Both use the schema of TFLite metadata; MediaPipe adds a small
buffer, SEGMENTER_METADATA, with the activation that it applies to the scores.
"""

import ctypes
import io
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
from deeplab.pixels import PIXEL_MEAN, PIXEL_STD
from deeplab.quiet import quiet
from deeplab.tflite.packing import attached_files, pack

Activation = Literal["none", "sigmoid", "softmax"]
"""The function that a client applies to the scores of the file."""

LABEL_FILE = "labelmap.txt"
_ACTIVATIONS: tuple[Activation, ...] = ("none", "sigmoid", "softmax")
_SEGMENTER_BUFFER = "SEGMENTER_METADATA"
_SEGMENTER_IDENTIFIER = b"V001"


@dataclass(frozen=True)
class Metadata:
    """The metadata of a .tflite file.

    Attributes:
        name: the name of the model.
        description: the description of the model.
        labels: class names by id; None without a label file.
        mean: network input = (byte - mean) / std; one value, or one per channel; None without normalization.
        std: see `mean`.
        activation: the function that MediaPipe applies to the scores; None without MediaPipe's buffer.
        files: the content of all attached files by name.
    """

    name: str = ""
    description: str = ""
    labels: tuple[str, ...] | None = None
    mean: tuple[float, ...] | None = None
    std: tuple[float, ...] | None = None
    activation: Activation | None = None
    files: Mapping[str, bytes] = field(default_factory=dict)


def read_metadata(content: bytes, name: str = "the model") -> Metadata | None:
    """Parse the TFLite metadata of a file; None if it has none.

    Args:
        content: the bytes of the file.
        name: the file, for messages.

    Raises:
        UserError: the metadata are damaged.
    """
    try:
        model = _schema_object(content)
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
    except Exception as error:
        # The generated parser does not validate the metadata: a wrong offset can raise any exception.
        problem = f"metadata are damaged ({type(error).__name__}: {error})"
        raise UserError(name, problem, "export it again") from error


def write_metadata(
    model: bytes,
    labels: Sequence[str],
    *,
    mean: float = PIXEL_MEAN,
    std: float = PIXEL_STD,
    activation: Activation | None = None,
    files: Mapping[str, bytes] | None = None,
) -> bytes:
    """Return a model with the metadata of an image segmenter for the Task Library and MediaPipe.

    Args:
        model: a .tflite file with one image input and one output of scores, which is not checked here. Its previous
            metadata are replaced.
        labels: class names by id.
        mean: network input = (byte - mean) / std.
        std: see `mean`.
        activation: the function that MediaPipe applies to the scores; None omits MediaPipe's buffer.
        files: content of files to attach, by name.

    Raises:
        UserError: a label is empty or has several lines.
        ImportError: the metadata writer of tflite-support cannot be loaded.
    """
    model = _without_files(model)
    for label in labels:
        if label.splitlines() != [label]:
            raise UserError("data.classes", f"expected labels of one line, got {label!r}", "rename the class")
    with quiet():
        import libusb_package

        # The native modules of tflite-support need libusb; loading it here makes a system package unnecessary.
        ctypes.CDLL(str(libusb_package.get_library_path()), mode=ctypes.RTLD_GLOBAL)
        from tensorflow_lite_support.metadata.python import metadata as support
        from tensorflow_lite_support.metadata.python.metadata_writers import image_segmenter
    with tempfile.TemporaryDirectory() as folder:
        label_path = Path(folder) / LABEL_FILE
        label_path.write_text("".join(f"{label}\n" for label in labels), encoding="utf-8")
        writer = image_segmenter.MetadataWriter.create_for_inference(bytearray(model), [mean], [std], [str(label_path)])
        attached = {LABEL_FILE: label_path.read_bytes(), **(files or {})}
    metadata = metadata_schema.ModelMetadataT.InitFromPackedBuf(bytes(writer._metadata_buffer), 0)
    if activation is not None:
        metadata.subgraphMetadata[0].customMetadata = [_segmenter_metadata(activation)]
    if files:
        metadata.associatedFiles = [_file_entry(name) for name in files]
    builder = flatbuffers.Builder(0)
    builder.Finish(metadata.Pack(builder), b"M001")
    populator = support.MetadataPopulator.with_model_buffer(bytearray(model))
    populator.load_metadata_buffer(bytearray(builder.Output()))
    populator.load_associated_file_buffers(attached)
    populator.populate()
    return pack(bytes(populator.get_model_buffer()))


def _schema_object(content: bytes) -> Any:
    """Return the metadata as an object of the schema; None if the file has none."""
    model = schema.Model.GetRootAs(content, 0)
    for i in range(model.MetadataLength()):
        if model.Metadata(i).Name() == b"TFLITE_METADATA":
            buffer = model.Buffers(model.Metadata(i).Buffer()).DataAsNumpy()
            return metadata_schema.ModelMetadataT.InitFromPackedBuf(np.asarray(buffer, np.uint8).tobytes(), 0)
    return None


def _without_files(content: bytes) -> bytes:
    """Return the model without the zip archive of attached files at its end."""
    if not zipfile.is_zipfile(io.BytesIO(content)):
        return content
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        return content[: min(info.header_offset for info in archive.infolist())]


def _normalization(tensors: list[Any] | None) -> tuple[tuple[float, ...] | None, tuple[float, ...] | None]:
    """Return (mean, std) of the first input."""
    for unit in (tensors[0].processUnits or []) if tensors else []:
        if unit.optionsType == metadata_schema.ProcessUnitOptions.NormalizationOptions:
            return tuple(float(v) for v in unit.options.mean), tuple(float(v) for v in unit.options.std)
    return None, None


def _labels(tensors: list[Any] | None, files: Mapping[str, bytes]) -> tuple[str, ...] | None:
    """Return the lines of the label file of the first output."""
    for entry in (tensors[0].associatedFiles or []) if tensors else []:
        if entry.type == metadata_schema.AssociatedFileType.TENSOR_AXIS_LABELS:
            return tuple(files[_text(entry.name)].decode("utf-8").splitlines())
    return None


def _activation(custom: list[Any] | None) -> Activation | None:
    """Return the activation in MediaPipe's buffer; None without one."""
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
    """Return MediaPipe's buffer: a table {activation: byte, min_parser_version: string} with the identifier V001."""
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
    """Return the list entry of an attached file."""
    entry = metadata_schema.AssociatedFileT()
    entry.name = name
    entry.description = "How the model came about."
    entry.type = metadata_schema.AssociatedFileType.DESCRIPTIONS
    return entry


def _text(value: bytes | str | None) -> str:
    """Return a schema string."""
    return value.decode("utf-8") if isinstance(value, bytes) else value or ""
