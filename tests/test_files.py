import json

import pytest

from deeplab.errors import UserError
from deeplab.files import atomic_write, check_writable, read_json, write_json


def test_a_file_appears_when_it_is_whole(tmp_path):
    path = tmp_path / "new" / "a.txt"
    with atomic_write(path) as aside:
        aside.write_text("half")
        assert not path.exists()
    assert path.read_text() == "half"
    assert [p.name for p in path.parent.iterdir()] == ["a.txt"]


def test_a_failure_leaves_the_old_file(tmp_path):
    path = tmp_path / "a.txt"
    path.write_text("old")

    def fail_half_way() -> None:
        with atomic_write(path) as aside:
            aside.write_text("half")
            raise RuntimeError

    with pytest.raises(RuntimeError):
        fail_half_way()
    assert path.read_text() == "old"
    assert len(list(tmp_path.iterdir())) == 1


def test_json_there_and_back(tmp_path):
    write_json(tmp_path / "a.json", {"a": [1, None]})
    assert read_json(tmp_path / "a.json") == {"a": [1, None]}
    with pytest.raises(ValueError, match="Out of range"):
        write_json(tmp_path / "a.json", {"a": float("nan")})
    assert json.loads((tmp_path / "a.json").read_text()) == {"a": [1, None]}


@pytest.mark.parametrize(
    ("content", "message"), [("{", "is no JSON"), ("[1]", "holds a list"), (None, "cannot be read")]
)
def test_what_cannot_be_read_is_named(content, message, tmp_path):
    if content is not None:
        (tmp_path / "a.json").write_text(content)
    with pytest.raises(UserError, match=rf"a\.json: {message}"):
        read_json(tmp_path / "a.json")


def test_a_place_is_looked_at_before_the_work(tmp_path):
    (tmp_path / "file").write_text("")
    check_writable(tmp_path / "new" / "folder" / "model.tflite")
    assert not (tmp_path / "new").exists()
    with pytest.raises(UserError, match="file is no folder that can be written to"):
        check_writable(tmp_path / "file" / "folder" / "model.tflite")
