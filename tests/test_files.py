"""Atomic writes, and JSON files."""

import json

import pytest

from deeplab.errors import UserError
from deeplab.files import atomic_write, check_writable, read_json, write_json


def test_file_appears_when_it_is_complete(tmp_path):
    path = tmp_path / "new" / "a.txt"
    with atomic_write(path) as temporary:
        temporary.write_text("content")
        assert not path.exists()
    assert path.read_text() == "content"
    assert [p.name for p in path.parent.iterdir()] == ["a.txt"]


def test_failed_write_keeps_the_old_file(tmp_path):
    path = tmp_path / "a.txt"
    path.write_text("old")

    def write_and_fail() -> None:
        with atomic_write(path) as temporary:
            temporary.write_text("content")
            raise RuntimeError

    with pytest.raises(RuntimeError):
        write_and_fail()
    assert path.read_text() == "old"
    assert len(list(tmp_path.iterdir())) == 1


def test_a_name_of_the_greatest_length_can_be_written(tmp_path):
    path = tmp_path / ("ü" * 125 + ".json")
    assert len(path.name.encode()) == 255
    write_json(path, {})
    assert list(tmp_path.iterdir()) == [path]


def test_json_is_read_back_as_written(tmp_path):
    write_json(tmp_path / "a.json", {"a": [1, None]})
    assert read_json(tmp_path / "a.json") == {"a": [1, None]}
    with pytest.raises(ValueError, match="Out of range"):
        write_json(tmp_path / "a.json", {"a": float("nan")})
    assert json.loads((tmp_path / "a.json").read_text()) == {"a": [1, None]}


@pytest.mark.parametrize(
    ("content", "message"), [("{", "is not valid JSON"), ("[1]", "holds a list"), (None, "cannot be read")]
)
def test_error_names_a_file_that_is_not_a_json_mapping(content, message, tmp_path):
    if content is not None:
        (tmp_path / "a.json").write_text(content)
    with pytest.raises(UserError, match=rf"a\.json: {message}"):
        read_json(tmp_path / "a.json")


def test_place_that_is_not_writable_is_refused_without_creating_anything(tmp_path):
    (tmp_path / "file").write_text("")
    check_writable(tmp_path / "new" / "folder" / "model.tflite")
    assert not (tmp_path / "new").exists()
    with pytest.raises(UserError, match=r"cannot write to .*file"):
        check_writable(tmp_path / "file" / "folder" / "model.tflite")
