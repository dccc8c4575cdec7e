import errno
import sys
from dataclasses import dataclass

import pytest

from deeplab import command
from deeplab.errors import UserError


@dataclass(frozen=True)
class Settings:
    number: int = 1


@pytest.fixture
def configs(tmp_path):
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "voc.yaml").write_text("source: voc\n")
    return tmp_path


@pytest.mark.parametrize(
    ("argument", "rewritten"),
    [
        ("training.steps=3", "++training.steps=3"),
        ("output_stride=[16,8]", "++output_stride=[16,8]"),
        ("data=voc", "data=voc"),
        ("data=null", "data=null"),
        ("run=/a/b-c_d.e", "++run=/a/b-c_d.e"),
        ("images=/my pictures (1).jpg", "++images='/my pictures (1).jpg'"),
        ("out=it's", "++out='it\\'s'"),
        ("--cfg", "--cfg"),
    ],
)
def test_arguments_for_hydra(argument, rewritten, configs, monkeypatch):
    monkeypatch.setattr(sys, "argv", ["train.py", argument])
    command.prepare_arguments(configs)
    assert sys.argv[1] == rewritten
    assert "hydra.output_subdir=null" in sys.argv


@pytest.mark.parametrize(
    ("argument", "line"),
    [
        ("data=vox", "error: data=vox: no such choice; did you mean 'voc'?"),
        ("quick", "error: quick: is no setting; write key=value, such as data=voc"),
    ],
)
def test_what_hydra_would_refuse_at_length_is_one_line(argument, line, configs, monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", ["train.py", argument])
    with pytest.raises(SystemExit, match="1"):
        command.prepare_arguments(configs)
    assert capsys.readouterr().err.strip() == line


def raising(error: BaseException):
    def work(_: Settings) -> None:
        raise error

    return work


@pytest.mark.parametrize(
    ("error", "code", "line"),
    [
        (UserError("file.png", "is  cut\noff", "copy it anew"), 1, "error: file.png: is cut off; copy it anew"),
        (OSError(errno.ENOSPC, "No space left", "x.h5"), 1, "error: x.h5: No space left; free some space"),
        (KeyboardInterrupt(), 130, "stopped by the keyboard"),
    ],
)
def test_how_a_command_ends(error, code, line, capsys):
    with pytest.raises(SystemExit) as ended:
        command.run(Settings, {"number": 2}, raising(error))
    assert ended.value.code == code
    assert capsys.readouterr().err.strip().splitlines()[-1] == line


def test_a_fault_of_the_toolkit_keeps_its_traceback():
    with pytest.raises(ZeroDivisionError):
        command.run(Settings, {}, raising(ZeroDivisionError()))


def test_the_function_gets_the_frozen_settings():
    seen = []
    command.run(Settings, {"number": 5}, seen.append)
    assert seen == [Settings(5)]
