import errno
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest

from deeplab.cli import app
from deeplab.cli.commands import COMMANDS, Command, Job
from deeplab.errors import UserError

PROJECT = Path(__file__).parents[2]


@dataclass(frozen=True)
class Settings:
    """Settings of a command for tests.

    Attributes:
        number: any.
    """

    number: int = 1


@pytest.fixture
def command(tmp_path, monkeypatch):
    """Registers the command "work", which calls a function; returns the setter of that function."""
    (tmp_path / "work.yaml").write_text("{}\n")
    monkeypatch.setattr(app, "config_folder", lambda: tmp_path)

    def set_function(function):
        job = Job(Settings, "unused:unused", needs_tensorflow=False)
        object.__setattr__(job, "run", function)
        monkeypatch.setitem(COMMANDS, "work", Command("work", "Works.", {"": job}, ()))

    return set_function


def raising(error: BaseException):
    def function(_: Settings) -> None:
        raise error

    return function


@pytest.mark.parametrize(
    ("error", "code", "line"),
    [
        (UserError("file.png", "is cut\noff", "copy it again"), 1, "error: file.png: is cut off; copy it again"),
        (UserError("a; b: c.png", "no such file"), 1, "error: a; b: c.png: no such file"),
        (OSError(errno.ENOSPC, "No space left", "x.h5"), 1, "error: x.h5: No space left; free some disk space"),
        (KeyboardInterrupt(), 130, "interrupted"),
    ],
)
def test_an_error_ends_the_command_with_one_line(error, code, line, command, capsys):
    command(raising(error))
    with pytest.raises(SystemExit) as ended:
        app.main("work", ["number=2"])
    assert ended.value.code == code
    assert capsys.readouterr().err.strip().splitlines()[-1] == line


def test_a_bug_keeps_its_traceback(command):
    command(raising(ZeroDivisionError()))
    with pytest.raises(ZeroDivisionError):
        app.main("work", [])


def test_the_job_gets_the_frozen_config(command):
    received = []
    command(received.append)
    app.main("work", ["number=5"])
    assert received == [Settings(5)]


def test_the_command_line_deeplab_takes_the_command_first(command, capsys):
    received = []
    command(received.append)
    app.main(None, ["work", "number=6"])
    assert received == [Settings(6)]
    with pytest.raises(SystemExit):
        app.main(None, ["wrok"])
    assert capsys.readouterr().err.startswith("error: wrok: unknown command; use one of train, evaluate, export")


@pytest.mark.parametrize(
    ("settings", "config"),
    [
        ({}, "ExportConfig"),
        ({"verify": "x", "run": "y"}, "VerifyConfig"),
        ({"inspect": "x"}, "InspectConfig"),
        ({"page": "x"}, "PageConfig"),
        ({"run": "x", "page": True}, "ExportConfig"),
    ],
)
def test_a_key_selects_the_job(settings, config):
    assert COMMANDS["export"].job_for(settings).config.__name__ == config


def test_the_jobs_exist():
    for name, command in COMMANDS.items():
        assert (PROJECT / f"{name}.py").is_file()
        for job in command.jobs.values():
            module, _, function = job.function.partition(":")
            path = PROJECT / Path(*module.split(".")).with_suffix(".py")
            assert f"def {function}(" in path.read_text(), job.function


@pytest.mark.parametrize("arguments", [["--help"], ["data=voc", "--help"], ["training.steps=3", "-h"]])
def test_help_works_alone_and_after_settings(arguments):
    done = subprocess.run([sys.executable, "train.py", *arguments], cwd=PROJECT, capture_output=True, text=True)
    assert done.returncode == 0
    assert done.stdout.startswith("usage: python train.py key=value ...")
    assert done.stderr == ""


def test_a_missing_folder_is_reported_without_loading_tensorflow(capsys):
    source = (
        "import sys; from deeplab.cli import app\n"
        "try: app.main('train', ['data=voc', 'data.root=/no/such/folder'])\n"
        "finally: print('tensorflow' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", source], cwd=PROJECT, capture_output=True, text=True)
    assert done.returncode == 1
    assert done.stderr.startswith("error: ")
    assert done.stdout.strip() == "False"


@pytest.mark.parametrize(("arguments", "code"), [(["--help"], 0), ([], 1)])
def test_closed_output_ends_the_help_quietly_and_a_job_with_exit_code_1(arguments, code, tmp_path):
    source = (
        "import sys\n"
        "from deeplab.cli import app\n"
        "from deeplab.cli.commands import COMMANDS, Job\n"
        "def work(self, config): print('x' * 100000, flush=True)\n"
        "Job.run, Job.check, app.load_tensorflow = work, lambda *_: None, lambda: None\n"
        "app.main('train', sys.argv[1:])"
    )
    command = [sys.executable, "-c", source, *arguments]
    process = subprocess.Popen(command, cwd=PROJECT, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    process.stdout.close()
    assert process.wait() == code
    assert b"Traceback" not in process.stderr.read()


@pytest.mark.parametrize("closed", [">&-", "2>&-", ">&- 2>&-"])
@pytest.mark.parametrize(("arguments", "code"), [(["--help"], 0), (["image_size=abc"], 1)])
def test_a_process_that_is_started_without_output_ends_with_its_exit_code(arguments, code, closed):
    command = ["sh", "-c", f'"$@" {closed}', "sh", sys.executable, "summarize.py", *arguments]
    done = subprocess.run(command, cwd=PROJECT, capture_output=True, text=True)
    assert done.returncode == code
    assert "Traceback" not in done.stderr
