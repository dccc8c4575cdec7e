"""TFLite metadata, which the Task Library and MediaPipe read: normalization, labels, activation and attached files."""

import importlib.util
import io
import zipfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import ModuleType
from typing import Any, Literal

import flatbuffers
import numpy as np
from ai_edge_litert import schema_py_generated as schema

from deeplab.errors import UserError
from deeplab.pixels import PIXEL_MEAN, PIXEL_STD
from deeplab.tflite.flatbuffer import serialize

_SCHEMA_FILES = {
    "tensorflow_lite_support": "metadata/metadata_schema_py_generated.py",
    "mediapipe": "tasks/metadata/metadata_schema_py_generated.py",
}
"""By package: its copy of the generated classes of metadata_schema.fbs."""


def load_schema() -> ModuleType:
    """Load the generated classes from their file: importing either package takes seconds and needs native libraries.

    Raises:
        UserError: neither tflite-support nor MediaPipe is installed.
    """
    for package, file in _SCHEMA_FILES.items():
        found = importlib.util.find_spec(package)
        for folder in (found.submodule_search_locations or ()) if found else ():
            spec = importlib.util.spec_from_file_location("tflite_metadata_schema", Path(folder) / file)
            if spec is not None and spec.loader is not None and (Path(folder) / file).is_file():
                module = importlib.util.module_from_spec(spec)
                spec.loader.exec_module(module)
                return module
    raise UserError("TFLite metadata", "neither mediapipe nor tflite-support is installed", "pip install mediapipe")


fields = load_schema()
"""The generated classes of the metadata schema."""

Activation = Literal["none", "sigmoid", "softmax"]
"""The function that a client applies to the scores of the file."""

LABEL_FILE = "labelmap.txt"

ATTACHED_FILES, ATTACHED_BYTES = 100, 16 * 2**20
"""Limits of the attached files, unpacked: labels and reports have some kilobytes, a zip bomb has gigabytes."""

_ACTIVATIONS: tuple[Activation, ...] = ("none", "sigmoid", "softmax")
_METADATA_BUFFER = b"TFLITE_METADATA"
_SEGMENTER_BUFFER = b"SEGMENTER_METADATA"
"""MediaPipe's addition to the schema: the activation that it applies to the scores."""
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
    """Parse the TFLite metadata of a file, which messages call `name`; None if it has none.

    Raises:
        UserError: the metadata are damaged.
    """
    try:
        model = _schema_object(content)
        if model is None:
            return None
        files = split_files(content)[1]
        subgraph = model.subgraphMetadata[0]
        mean, std = _normalization(subgraph.inputTensorMetadata)
        labels = _labels(subgraph.outputTensorMetadata, files)
        activation = _activation(subgraph.customMetadata)
        title, description = ((text or b"").decode() for text in (model.name, model.description))
        return Metadata(title, description, labels, mean, std, activation, files)
    except UserError as error:
        raise error.about(name) from error
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
    content = schema.ModelT.InitFromPackedBuf(split_files(model)[0], 0)
    graph = content.subgraphs[0]
    metadata = _segmenter(graph.tensors[graph.inputs[0]].type, mean, std)
    # The versions of the schema that introduced the fields in use.
    metadata.minParserVersion = "1.0.0"
    if activation is not None:
        metadata.subgraphMetadata[0].customMetadata = [_activation_buffer(activation)]
        metadata.minParserVersion = "1.5.0"
    if files:
        text = "How the model came about."
        kind = fields.AssociatedFileType.DESCRIPTIONS
        metadata.associatedFiles = [_new("AssociatedFile", name=name, description=text, type=kind) for name in files]
    builder = flatbuffers.Builder(0)
    builder.Finish(metadata.Pack(builder), b"M001")
    _set_metadata(content, bytes(builder.Output()))
    label_file = "".join(f"{label}\n" for label in labels).encode()
    return with_files(serialize(content), {LABEL_FILE: label_file, **(files or {})})


def split_files(content: bytes) -> tuple[bytes, dict[str, bytes]]:
    """Return the model without the zip archive at its end, and the files of the archive by name."""
    if not zipfile.is_zipfile(io.BytesIO(content)):
        return content, {}
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        entries = archive.infolist()
        size = sum(entry.file_size for entry in entries)
        if size > ATTACHED_BYTES or len(entries) > ATTACHED_FILES:
            problem = f"{len(entries)} attached files of {size:,} bytes, expected at most {ATTACHED_FILES} files of "
            raise UserError("the model", f"{problem}{ATTACHED_BYTES:,} bytes", "use the original file")
        end = min((entry.header_offset for entry in entries), default=len(content))
        return content[:end], {name: archive.read(name) for name in archive.namelist()}


def with_files(model: bytes, files: Mapping[str, bytes]) -> bytes:
    """Return the model with attached files, stored without compression because the runtimes map them into memory."""
    buffer = io.BytesIO(model)
    with zipfile.ZipFile(buffer, "a", zipfile.ZIP_STORED) as archive:
        for name, data in files.items():
            # ZipInfo has a fixed date: the same model always produces the same bytes.
            archive.writestr(zipfile.ZipInfo(name), data)
    return buffer.getvalue()


def _segmenter(input_type: int, mean: float, std: float) -> Any:
    """Return the schema object of an image segmenter with a label file."""
    image = _tensor("image", "Input image to be segmented.", fields.ColorSpaceType.RGB)
    normalization = _new("NormalizationOptions", mean=[mean], std=[std])
    kind = fields.ProcessUnitOptions.NormalizationOptions
    image.processUnits = [_new("ProcessUnit", optionsType=kind, options=normalization)]
    if input_type == schema.TensorType.UINT8:
        image.stats.min, image.stats.max = [0], [255]
    elif input_type == schema.TensorType.FLOAT32:
        image.stats.min, image.stats.max = [(0 - mean) / std], [(255 - mean) / std]
    text = "Masks over the target objects with high accuracy."
    mask = _tensor("segmentation_masks", text, fields.ColorSpaceType.GRAYSCALE)
    # Dimensions 1 and 2 are height and width.
    mask.content.range = _new("ValueRange", min=1, max=2)
    text = "Labels for categories that the model can recognize."
    kind = fields.AssociatedFileType.TENSOR_AXIS_LABELS
    mask.associatedFiles = [_new("AssociatedFile", name=LABEL_FILE, description=text, type=kind)]
    text = "Semantic image segmentation predicts whether each pixel of an image is associated with a certain class."
    graph = _new("SubGraphMetadata", inputTensorMetadata=[image], outputTensorMetadata=[mask])
    return _new("ModelMetadata", name="ImageSegmenter", description=text, subgraphMetadata=[graph])


def _tensor(name: str, description: str, color_space: int) -> Any:
    """Return the schema object of an image tensor."""
    properties = _new("ImageProperties", colorSpace=color_space)
    kind = fields.ContentProperties.ImageProperties
    content = _new("Content", contentPropertiesType=kind, contentProperties=properties)
    return _new("TensorMetadata", name=name, description=description, content=content, stats=_new("Stats"))


def _new(kind: str, **values: Any) -> Any:
    """Return an object of a class of the metadata schema."""
    instance = getattr(fields, f"{kind}T")()
    vars(instance).update(values)
    return instance


def _set_metadata(model: Any, data: bytes) -> None:
    """Store the buffer TFLITE_METADATA in a model; an existing one is replaced."""
    buffer = schema.BufferT()
    buffer.data = np.frombuffer(data, np.uint8)
    model.metadata = list(model.metadata or ())
    for entry in model.metadata:
        if entry.name == _METADATA_BUFFER:
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
        if model.Metadata(i).Name() == _METADATA_BUFFER:
            buffer = model.Buffers(model.Metadata(i).Buffer()).DataAsNumpy()
            return fields.ModelMetadataT.InitFromPackedBuf(np.asarray(buffer, np.uint8).tobytes(), 0)
    return None


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
            return tuple(files[entry.name.decode()].decode().splitlines())
    return None


def _activation(custom: list[Any] | None) -> Activation | None:
    """Return the activation in MediaPipe's buffer; None without one."""
    for entry in custom or []:
        if entry.name == _SEGMENTER_BUFFER:
            buffer = np.asarray(entry.data, np.uint8).tobytes()
            if buffer[4:8] != _SEGMENTER_IDENTIFIER:
                raise ValueError(f"SEGMENTER_METADATA begins with {buffer[4:8]!r}")
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
    return _new("CustomMetadata", name=_SEGMENTER_BUFFER, data=np.frombuffer(bytes(builder.Output()), np.uint8))
