"""Opening .tflite files."""

import pytest

from deeplab.errors import UserError
from deeplab.tflite.tflite_file import open_tflite

STARTER = "starter_deeplabv3_257_float.tflite"


def test_an_opened_file_is_returned_as_it_is(official_models):
    file = open_tflite(official_models / STARTER)
    assert open_tflite(file) is file
    assert file.name == str(official_models / STARTER)


def test_graph_and_metadata_are_parsed_once(official_models):
    file = open_tflite((official_models / STARTER).read_bytes())
    assert file.name == "the model"
    assert file.graph is file.graph
    assert file.metadata is file.metadata
    assert file.metadata is not None


@pytest.mark.parametrize("content", [b"", b"TFL3", b"\x1c\x00\x00\x00TFL2"])
def test_content_without_the_identifier_is_rejected(content):
    with pytest.raises(UserError, match=rf"the model: is not a .tflite file \({len(content)} bytes\)"):
        open_tflite(content)


def test_content_that_ends_after_the_identifier_is_rejected():
    with pytest.raises(UserError, match="the model: is damaged or truncated"):
        _ = open_tflite(b"\x1c\x00\x00\x00TFL3").graph


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(UserError, match=r"missing\.tflite: cannot be read"):
        open_tflite(tmp_path / "missing.tflite")
