"""Metadata equal the golden document of tflite-support, and are read as they were written."""

import importlib.util
import json
import tempfile
from pathlib import Path

import flatbuffers
import numpy as np
import pytest
from ai_edge_litert import schema_py_generated as schema

from deeplab.errors import UserError
from deeplab.tflite import metadata as metadata_module
from deeplab.tflite.flatbuffer import read_graph
from deeplab.tflite.metadata import load_schema, read_metadata, split_files, with_files, write_metadata
from tests.tflite.metadata_json import metadata_json


@pytest.fixture(scope="module")
def starter(official_models):
    return (official_models / "starter_deeplabv3_257_float.tflite").read_bytes()


@pytest.fixture(scope="module")
def voc_labels(official_models):
    return (official_models / "labelmap.txt").read_text().splitlines()


def test_metadata_of_the_official_starter_file_are_read(starter, voc_labels):
    metadata = read_metadata(starter)
    assert metadata is not None
    assert metadata.name == "DeepLabV3"
    assert (metadata.mean, metadata.std) == ((127.5,), (127.5,))
    assert list(metadata.labels or ()) == voc_labels
    assert metadata.activation is None


def test_a_file_without_metadata_is_read_as_none(official_models):
    assert read_metadata((official_models / "deeplabv3_mnv2_pascal_quant.tflite").read_bytes()) is None


def test_written_metadata_equal_the_golden_document(official_models, starter, voc_labels):
    written = metadata_json(write_metadata(starter, voc_labels))
    # The golden document is the input of the writer, which adds the minimum parser version.
    assert written.pop("min_parser_version") == "1.0.0"
    assert written == json.loads((official_models / "deeplabv3.json").read_text())


@pytest.mark.parametrize("activation", ["none", "sigmoid", "softmax"])
def test_metadata_are_read_as_they_were_written(starter, activation):
    labels = [f"class {i}" for i in range(20)] + ["Straße"]
    files = {"origin.json": b'{"steps": 3}'}
    model = write_metadata(starter, labels, mean=100.0, std=50.0, activation=activation, files=files)
    metadata = read_metadata(model)
    assert metadata is not None
    assert metadata.labels == tuple(labels)
    assert (metadata.mean, metadata.std) == ((100.0,), (50.0,))
    assert metadata.activation == activation
    assert metadata.files["origin.json"] == files["origin.json"]


def test_writing_metadata_does_not_change_the_graph(starter, voc_labels):
    before, after = read_graph(starter), read_graph(write_metadata(starter, voc_labels, activation="softmax"))
    assert before.operators == after.operators
    for old, new in zip(before.tensors, after.tensors, strict=True):
        assert (old.shape, old.dtype, old.quantization) == (new.shape, new.dtype, new.quantization)
        assert (old.data is None) == (new.data is None)
        assert old.data is None or new.data is None or old.data.tobytes() == new.data.tobytes()


@pytest.mark.parametrize("label", ["", "two\nlines"])
def test_an_empty_label_or_one_of_two_lines_is_rejected(starter, label):
    with pytest.raises(UserError, match=r"data\.classes: expected labels of one line, got"):
        write_metadata(starter, ["background", label])


def test_damaged_metadata_are_rejected(starter):
    start = starter.index(b"labelmap.txt")
    damaged = starter[:start] + b"\xff" * 12 + starter[start + 12 :]
    with pytest.raises(UserError, match="the model: metadata are damaged"):
        read_metadata(damaged)


@pytest.mark.parametrize(("activation", "number"), [("none", 0), ("sigmoid", 1), ("softmax", 2)])
def test_the_reader_of_mediapipe_finds_the_activation(starter, activation, number):
    reader = pytest.importorskip(
        "mediapipe.tasks.metadata.image_segmenter_metadata_schema_py_generated", exc_type=ImportError
    )
    written = metadata_json(write_metadata(starter, ["background"] * 21, activation=activation))
    (entry,) = written["subgraph_metadata"][0]["custom_metadata"]
    assert entry["name"] == "SEGMENTER_METADATA"
    options = reader.ImageSegmenterOptions.GetRootAs(bytes(entry["data"]), 0)
    assert options.Activation() == number
    assert options.MinParserVersion() == b"1.0.0"


def test_attached_files_are_listed(starter):
    written = metadata_json(write_metadata(starter, ["background"] * 21, files={"origin.json": b"{}"}))
    assert [f["name"] for f in written["associated_files"]] == ["origin.json"]


def test_files_can_be_attached_and_read(starter):
    files = {"a.txt": b"one", "b.txt": b"two"}
    plain = split_files(starter)[0]
    content = with_files(plain, files)
    assert content.startswith(plain)
    assert split_files(content) == (plain, files)
    assert split_files(plain) == (plain, {})


def written_by_tflite_support(model, labels, activation, files):
    """The same metadata by tflite-support's writer; what it lacks is added to its result by the schema's classes."""
    import ctypes

    libusb_package = pytest.importorskip("libusb_package", reason="tflite-support is not installed")
    ctypes.CDLL(str(libusb_package.get_library_path()), mode=ctypes.RTLD_GLOBAL)
    from tensorflow_lite_support.metadata import metadata_schema_py_generated as classes
    from tensorflow_lite_support.metadata.python import metadata as support
    from tensorflow_lite_support.metadata.python.metadata_writers import image_segmenter

    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "labelmap.txt"
        path.write_text("".join(f"{label}\n" for label in labels))
        writer = image_segmenter.MetadataWriter.create_for_inference(bytearray(model), [127.5], [127.5], [str(path)])
        attached = {"labelmap.txt": path.read_bytes(), **files}
    metadata = classes.ModelMetadataT.InitFromPackedBuf(bytes(writer._metadata_buffer), 0)
    if activation:
        entry = classes.CustomMetadataT()
        entry.name, entry.data = "SEGMENTER_METADATA", np.frombuffer(SEGMENTER[activation], np.uint8)
        metadata.subgraphMetadata[0].customMetadata = [entry]
    for name in files:
        entry = classes.AssociatedFileT()
        entry.name, entry.description = name, "How the model came about."
        entry.type = classes.AssociatedFileType.DESCRIPTIONS
        metadata.associatedFiles = [entry]
    builder = flatbuffers.Builder(0)
    builder.Finish(metadata.Pack(builder), b"M001")
    populator = support.MetadataPopulator.with_model_buffer(bytearray(model))
    populator.load_metadata_buffer(bytearray(builder.Output()))
    populator.load_associated_file_buffers(attached)
    populator.populate()
    return bytes(populator.get_model_buffer())


SEGMENTER = {
    name: bytes.fromhex("10000000 56303031 08000c00 0b000400 08000000 08000000 000000")
    + bytes([number])
    + bytes.fromhex("05000000 312e302e 30000000")
    for name, number in (("sigmoid", 1), ("softmax", 2))
}
"""MediaPipe's buffer as bytes: identifier V001, activation, parser version 1.0.0."""


@pytest.mark.parametrize("activation", [None, "sigmoid", "softmax"])
@pytest.mark.parametrize("files", [{}, {"origin.json": b"{}"}])
@pytest.mark.parametrize("name", ["starter_deeplabv3_257_float.tflite", "deeplabv3_mnv2_dm05_pascal_quant.tflite"])
def test_written_bytes_equal_those_of_tflite_support(official_models, name, activation, files):
    model = (official_models / name).read_bytes()
    labels = [f"class {i}" for i in range(21)]
    expected = written_by_tflite_support(split_files(model)[0], labels, activation, files)
    written = write_metadata(model, labels, activation=activation, files=files)
    assert metadata_bytes(written) == metadata_bytes(expected)
    assert split_files(written)[1] == split_files(expected)[1]


def metadata_bytes(content):
    """The buffer TFLITE_METADATA."""
    model = schema.Model.GetRootAs(content, 0)
    (index,) = [i for i in range(model.MetadataLength()) if model.Metadata(i).Name() == b"TFLITE_METADATA"]
    return model.Buffers(model.Metadata(index).Buffer()).DataAsNumpy().tobytes()


@pytest.mark.parametrize("package", ["tensorflow_lite_support", "mediapipe"])
def test_either_package_provides_the_schema(package, starter, monkeypatch):
    if importlib.util.find_spec(package) is None:
        pytest.skip(f"{package} is not installed")
    monkeypatch.setattr(metadata_module, "_SCHEMA_FILES", {package: metadata_module._SCHEMA_FILES[package]})
    fields = load_schema()
    assert fields.__file__.split("site-packages")[1].startswith(f"/{package}/")
    assert fields.ModelMetadataT.InitFromPackedBuf(metadata_bytes(starter), 0).name == b"DeepLabV3"


def test_a_missing_schema_is_reported_with_the_command_that_installs_it(monkeypatch):
    monkeypatch.setattr(metadata_module, "_SCHEMA_FILES", {"no_such_package": "x.py"})
    with pytest.raises(UserError, match=r"neither mediapipe nor tflite-support is installed; pip install mediapipe"):
        load_schema()
