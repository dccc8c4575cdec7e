"""Faults from outside: full disks, signals at any time, two trainings at once, and clients that misbehave."""

import contextlib
import os
import random
import shlex
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import filelock
import numpy as np
import pytest

from deeplab.errors import UserError
from deeplab.files import atomic_write
from deeplab.run_folder import open_model
from deeplab.tflite.clients import TASK_LIBRARY_PYTHON, segment_with_task_library
from tests.hostile.case import ALIASES, fails

PROJECT = Path(__file__).parents[2]


def start(command: str, folder: Path) -> "subprocess.Popen[str]":
    """Start a command in a separate process, and wait until it handles signals."""
    first, *rest = shlex.split(command)
    arguments = [*shlex.split(ALIASES.get(first, first)), *rest]
    last = {argument.partition("=")[0]: argument for argument in arguments}
    source = (
        "from deeplab.cli.app import Interruption, main\n"
        "start = Interruption.start\n"
        "Interruption.start = lambda self: (start(self), print('started', flush=True))\n"
        "main()"
    )
    environment = os.environ | {"PYTHONPATH": str(PROJECT), "CUDA_VISIBLE_DEVICES": ""}
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    process = subprocess.Popen(
        [sys.executable, "-c", source, *last.values()], cwd=folder, env=environment, text=True, **pipes
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "started\n"
    return process


def finish(process: "subprocess.Popen[str]") -> tuple[int, list[str]]:
    """Wait for a process; return its exit status and the lines of its standard error."""
    _, errors = process.communicate(timeout=300)
    assert "Traceback" not in errors, errors
    return process.returncode, errors.strip().splitlines()


@pytest.fixture
def small_disk(tmp_path):
    """A disk of 16 KiB; the test is skipped where no file system may be mounted."""
    folder = tmp_path / "disk"
    folder.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=16k", "none", folder], capture_output=True, check=False
    )
    if mounted.returncode:
        pytest.skip("mounting a file system needs root")
    yield folder
    subprocess.run(["umount", folder], check=True)


@pytest.mark.parametrize(
    "command",
    [
        "predict run=model.tflite images=large.png out={disk}/p",
        "TINY_TRAIN run={disk}/run",
        "FAST_EXPORT out={disk}/x.tflite quantization=float32",
        "FAST_EVALUATE out={disk}/e",
    ],
)
@pytest.mark.slow
def test_a_full_disk_is_one_line_and_leaves_no_partial_file(command, world, small_disk):
    from PIL import Image

    Image.fromarray(np.random.default_rng(0).integers(0, 256, (300, 300, 3), np.uint8)).save(world / "large.png")
    code, lines = finish(start(command.format(disk=small_disk), world))
    assert code == 1
    assert lines[-1].startswith("error: ")
    assert "No space left" in lines[-1]
    assert lines[-1].endswith("free some disk space")
    results = [
        p for p in small_disk.rglob("*") if p.is_file() and p.suffix in (".png", ".tflite", ".json", ".h5", ".npz")
    ]
    assert all(path.stat().st_size for path in results)
    assert not [p for p in small_disk.rglob(".*") if p.is_file() and p.name != ".lock"]


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM, signal.SIGINT])
@pytest.mark.parametrize(
    ("command", "out"),
    [
        ("predict run=model.tflite images=set/images out=p", "p"),
        ("FAST_EVALUATE out=e", "e"),
        ("FAST_EXPORT quantization=float32 out=t/x.tflite", "t"),
    ],
)
@pytest.mark.slow
def test_a_command_killed_at_a_random_time_leaves_no_partial_result(number, command, out, world):
    moment = random.Random(f"{number} {command}").uniform(0, 8)
    process = start(command, world)
    time.sleep(moment)
    process.send_signal(number)
    code, lines = finish(process)
    # A command may end before the signal arrives.
    assert code in (0, -number if number == signal.SIGKILL else 128 + number), lines
    assert code <= 0 or lines[-1] == "interrupted"
    results = [path for path in (world / out).rglob("*") if path.is_file()]
    visible = [path for path in results if not path.name.startswith(".")]
    assert all(path.stat().st_size for path in visible)
    assert number == signal.SIGKILL or visible == results


def test_two_trainings_in_one_run_folder(world, check):
    (world / "new").mkdir()
    with filelock.FileLock(world / "new" / ".lock"):
        check(fails("TINY_TRAIN", "run=new: another process trains in this folder; wait until it ends"))


def test_a_kill_during_the_final_rename_keeps_the_previous_file(tmp_path):
    path = tmp_path / "result.bin"
    path.write_bytes(b"previous")
    source = (
        "import os, sys\n"
        "from pathlib import Path\n"
        "from deeplab.files import atomic_write\n"
        "Path.replace = lambda *_: os.kill(os.getpid(), 9)\n"
        "with atomic_write(sys.argv[1]) as temporary: temporary.write_bytes(b'next')\n"
    )
    done = subprocess.run([sys.executable, "-c", source, path], cwd=PROJECT, check=False)
    assert done.returncode == -signal.SIGKILL
    assert path.read_bytes() == b"previous"
    assert len(list(tmp_path.iterdir())) == 2
    with atomic_write(path) as temporary:
        temporary.write_bytes(b"next")
    assert path.read_bytes() == b"next"
    assert list(tmp_path.iterdir()) == [path]


def test_the_temporary_file_of_a_running_process_is_kept(tmp_path):
    source = (
        "import sys\n"
        "from deeplab.files import atomic_write\n"
        "with atomic_write(sys.argv[1]) as temporary:\n"
        "    temporary.write_text('complete')\n"
        "    print('writing', flush=True)\n"
        "    sys.stdin.read()\n"
    )
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
    first = subprocess.Popen([sys.executable, "-c", source, tmp_path / "a.txt"], cwd=PROJECT, text=True, **pipes)
    assert first.stdout is not None
    assert first.stdout.readline() == "writing\n"
    with atomic_write(tmp_path / "b.txt") as temporary:
        temporary.write_text("other")
    first.communicate()
    assert (first.returncode, (tmp_path / "a.txt").read_text()) == (0, "complete")


def test_a_kill_between_weights_and_description_is_found(world):
    """New weights with the previous model.json, as after a kill between the two renames."""
    shutil.copy(world / "run" / "model.weights.h5", world / "w")
    (world / "run" / "model.weights.h5").write_bytes((world / "w").read_bytes() + b"\0")
    with pytest.raises(UserError, match="is damaged or of another training"):
        open_model(world / "run").load(16)


def running(command: str) -> bool:
    """Whether a process with exactly this command line runs."""
    found = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        # A process may end before it is read; the command line of one that has ended is empty.
        with contextlib.suppress(OSError):
            found.append(path.read_bytes().rstrip(b"\0").split(b"\0"))
    return command.encode().split() in found


@pytest.mark.parametrize(
    ("program", "problem"),
    [
        ("sleep 600", "did not finish in 3 s"),
        ("kill -9 $$", "crashed with signal 9"),
        ("kill -11 $$", "crashed with signal 11"),
        ("yes no >&2", "did not finish in 3 s"),
        ("yes no", "did not finish in 3 s"),
        ("yes no | head -c 300000000 >&2; exit 1", "failed:"),
        ("exit 0", "ended without masks"),
        ("echo half > $5; exit 0", "ended without masks"),
        ("echo; exit 7", "failed:"),
    ],
)
def test_a_client_that_hangs_dies_or_floods_its_output_is_reported(program, problem, world, monkeypatch):
    script, mark = world / "client", f"no{os.getpid()}"
    script.write_text(f"#!/bin/sh\n{program.replace('yes no', f'yes {mark}')}\n")
    script.chmod(0o755)
    monkeypatch.setenv(TASK_LIBRARY_PYTHON, str(script))
    seconds = 3.0 if "3 s" in problem else 60.0
    with pytest.raises(UserError) as raised:
        segment_with_task_library(world / "model.tflite", [np.zeros((33, 33, 3), np.uint8)], timeout=seconds)
    assert not running(f"yes {mark}")
    assert problem in raised.value.problem
    assert len(str(raised.value)) < 1000
