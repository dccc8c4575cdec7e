"""Metadata equal the golden document of tflite-support, and are read as they were written."""

import json

import pytest

from deeplab.errors import UserError
from deeplab.tflite.flatbuffer import read_graph
from deeplab.tflite.metadata import read_metadata, write_metadata
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
    reader = pytest.importorskip("mediapipe.tasks.metadata.image_segmenter_metadata_schema_py_generated")
    written = metadata_json(write_metadata(starter, ["background"] * 21, activation=activation))
    (entry,) = written["subgraph_metadata"][0]["custom_metadata"]
    assert entry["name"] == "SEGMENTER_METADATA"
    options = reader.ImageSegmenterOptions.GetRootAs(bytes(entry["data"]), 0)
    assert options.Activation() == number
    assert options.MinParserVersion() == b"1.0.0"


def test_attached_files_are_listed(starter):
    written = metadata_json(write_metadata(starter, ["background"] * 21, files={"origin.json": b"{}"}))
    assert [f["name"] for f in written["associated_files"]] == ["origin.json"]
