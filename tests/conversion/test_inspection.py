"""The description of a .tflite file as text."""

import json

import pytest

from deeplab.conversion.inspection import inspect
from deeplab.datasets.shapes import CLASSES
from deeplab.errors import UserError
from deeplab.tflite.metadata import write_metadata


def test_attached_json_is_printed_in_full(workshop):
    names = [f"image {i}" for i in range(100)]
    origin = json.dumps({"quantization": "int8", "images": names}).encode()
    text = inspect(write_metadata(workshop.bare("int8"), CLASSES, files={"origin.json": origin}))
    assert '\n  quantization      "int8"' in text
    assert json.dumps(names) in text


def test_a_damaged_file_is_reported_by_its_name(workshop, tmp_path):
    path = tmp_path / "model.tflite"
    path.write_bytes(workshop.bare("int8")[:2000])
    with pytest.raises(UserError, match=r"model\.tflite: is damaged or truncated"):
        inspect(path)
