"""TFLite metadata: normalization, labels, activation and attached files.

The Task Library and MediaPipe read them on devices. Both use the schema of TFLite metadata; MediaPipe adds a small
buffer, SEGMENTER_METADATA, with the activation that it applies to the scores.
"""

import io
import zipfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

import flatbuffers
import numpy as np
from ai_edge_litert import schema_py_generated as schema

from deeplab.errors import UserError
from deeplab.pixels import PIXEL_MEAN, PIXEL_STD
from deeplab.tflite.metadata_schema import load_schema
from deeplab.tflite.packing import attached_files, serialize, with_files

fields = load_schema()
"""The generated classes of the metadata schema."""

Activation = Literal["none", "sigmoid", "softmax"]
"""The function that a client applies to the scores of the file."""

LABEL_FILE = "labelmap.txt"
_ACTIVATIONS: tuple[Activation, ...] = ("none", "sigmoid", "softmax")
_METADATA_BUFFER = "TFLITE_METADATA"
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

    The fields and their texts are those of tflite-support's `image_segmenter.MetadataWriter`, and so are the bytes.

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
    """
    for label in labels:
        if label.splitlines() != [label]:
            raise UserError("data.classes", f"expected labels of one line, got {label!r}", "rename the class")
    content = schema.ModelT.InitFromPackedBuf(_without_files(model), 0)
    graph = content.subgraphs[0]
    metadata = _segmenter(graph.tensors[graph.inputs[0]].type, mean, std)
    # The versions of the schema that introduced the fields in use.
    metadata.minParserVersion = "1.0.0"
    if activation is not None:
        metadata.subgraphMetadata[0].customMetadata = [_activation_buffer(activation)]
        metadata.minParserVersion = "1.5.0"
    if files:
        metadata.associatedFiles = [
            _file_entry(name, "How the model came about.", fields.AssociatedFileType.DESCRIPTIONS) for name in files
        ]
    builder = flatbuffers.Builder(0)
    builder.Finish(metadata.Pack(builder), b"M001")
    _set_metadata(content, bytes(builder.Output()))
    label_file = "".join(f"{label}\n" for label in labels).encode()
    return with_files(serialize(content), {LABEL_FILE: label_file, **(files or {})})


def _segmenter(input_type: int, mean: float, std: float) -> Any:
    """Return the schema object of an image segmenter with a label file."""
    image = _tensor("image", "Input image to be segmented.", fields.ColorSpaceType.RGB)
    normalization = fields.ProcessUnitT()
    normalization.optionsType = fields.ProcessUnitOptions.NormalizationOptions
    normalization.options = fields.NormalizationOptionsT()
    normalization.options.mean, normalization.options.std = [mean], [std]
    image.processUnits = [normalization]
    if input_type == schema.TensorType.UINT8:
        image.stats.min, image.stats.max = [0], [255]
    elif input_type == schema.TensorType.FLOAT32:
        image.stats.min, image.stats.max = [(0 - mean) / std], [(255 - mean) / std]
    mask = _tensor(
        "segmentation_masks", "Masks over the target objects with high accuracy.", fields.ColorSpaceType.GRAYSCALE
    )
    # Dimensions 1 and 2 are height and width.
    mask.content.range = fields.ValueRangeT()
    mask.content.range.min, mask.content.range.max = 1, 2
    labels = "Labels for categories that the model can recognize."
    mask.associatedFiles = [_file_entry(LABEL_FILE, labels, fields.AssociatedFileType.TENSOR_AXIS_LABELS)]
    graph = fields.SubGraphMetadataT()
    graph.inputTensorMetadata, graph.outputTensorMetadata = [image], [mask]
    metadata = fields.ModelMetadataT()
    metadata.name = "ImageSegmenter"
    metadata.description = (
        "Semantic image segmentation predicts whether each pixel of an image is associated with a certain class."
    )
    metadata.subgraphMetadata = [graph]
    return metadata


def _tensor(name: str, description: str, color_space: int) -> Any:
    """Return the schema object of an image tensor."""
    tensor = fields.TensorMetadataT()
    tensor.name, tensor.description, tensor.stats = name, description, fields.StatsT()
    tensor.content = fields.ContentT()
    tensor.content.contentPropertiesType = fields.ContentProperties.ImageProperties
    tensor.content.contentProperties = fields.ImagePropertiesT()
    tensor.content.contentProperties.colorSpace = color_space
    return tensor


def _set_metadata(model: Any, data: bytes) -> None:
    """Store the buffer TFLITE_METADATA in a model; an existing one is replaced."""
    buffer = schema.BufferT()
    buffer.data = np.frombuffer(data, np.uint8)
    model.metadata = list(model.metadata or ())
    for entry in model.metadata:
        if _text(entry.name) == _METADATA_BUFFER:
            model.buffers[entry.buffer] = buffer
            return
    model.buffers = [*model.buffers, buffer]
    entry = schema.MetadataT()
    entry.name, entry.buffer = _METADATA_BUFFER, len(model.buffers) - 1
    model.metadata.append(entry)


def _schema_object(content: bytes) -> Any:
    """Return the metadata as an object of the schema; None if the file has none."""
    model = schema.Model.GetRootAs(content, 0)
    for i in range(model.MetadataLength()):
        if model.Metadata(i).Name() == _METADATA_BUFFER.encode():
            buffer = model.Buffers(model.Metadata(i).Buffer()).DataAsNumpy()
            return fields.ModelMetadataT.InitFromPackedBuf(np.asarray(buffer, np.uint8).tobytes(), 0)
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
        if unit.optionsType == fields.ProcessUnitOptions.NormalizationOptions:
            return tuple(float(v) for v in unit.options.mean), tuple(float(v) for v in unit.options.std)
    return None, None


def _labels(tensors: list[Any] | None, files: Mapping[str, bytes]) -> tuple[str, ...] | None:
    """Return the lines of the label file of the first output."""
    for entry in (tensors[0].associatedFiles or []) if tensors else []:
        if entry.type == fields.AssociatedFileType.TENSOR_AXIS_LABELS:
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


def _activation_buffer(activation: Activation) -> Any:
    """Return MediaPipe's buffer: a table {activation: byte, min_parser_version: string} with the identifier V001."""
    builder = flatbuffers.Builder(64)
    version = builder.CreateString("1.0.0")
    builder.StartObject(2)
    builder.PrependInt8Slot(0, _ACTIVATIONS.index(activation), 0)
    builder.PrependUOffsetTRelativeSlot(1, version, 0)
    builder.Finish(builder.EndObject(), _SEGMENTER_IDENTIFIER)
    entry = fields.CustomMetadataT()
    entry.name = _SEGMENTER_BUFFER
    entry.data = np.frombuffer(bytes(builder.Output()), np.uint8)
    return entry


def _file_entry(name: str, description: str, kind: int) -> Any:
    """Return the list entry of an attached file."""
    entry = fields.AssociatedFileT()
    entry.name, entry.description, entry.type = name, description, kind
    return entry


def _text(value: bytes | str | None) -> str:
    """Return a schema string."""
    return value.decode("utf-8") if isinstance(value, bytes) else value or ""
