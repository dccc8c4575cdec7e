"""Suppression of output in a separate process with real streams."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from deeplab.quiet import LOG_LEVEL

PROJECT = Path(__file__).parents[1]

PROGRAM = """
import os, sys
from deeplab.quiet import quiet
with quiet():
    print("python")
    os.write(1, b"native out\\n")
    os.write(2, b"native err\\n")
    if {fails}:
        raise KeyError("reason")
print("after")
"""


@pytest.mark.parametrize("fails", [False, True])
def test_output_is_shown_only_if_the_block_raises(fails):
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM.format(fails=fails)], capture_output=True, text=True, check=False
    )
    if fails:
        assert done.stdout == ""
        assert all(line in done.stderr for line in ("python\n", "native out\n", "native err\n", "KeyError"))
    else:
        assert (done.stdout, done.stderr) == ("after\n", "")


TENSORFLOW = """
import os
os.write(2, b"E0000 no GPU\\n")
class config:
    list_physical_devices = staticmethod(lambda kind: os.write(2, b"E0000 no driver\\n"))
"""


@pytest.mark.parametrize(("level", "notes"), [(None, ""), ("2", ""), ("0", "E0000 no GPU\nE0000 no driver\n")])
def test_tensorflow_starts_without_messages_unless_the_environment_requests_them(level, notes, tmp_path):
    (tmp_path / "tensorflow.py").write_text(TENSORFLOW)
    environment = {key: value for key, value in os.environ.items() if key != LOG_LEVEL}
    environment |= {"PYTHONPATH": f"{tmp_path}:{PROJECT}"} | ({} if level is None else {LOG_LEVEL: level})
    source = (
        "from deeplab.quiet import load_tensorflow\nload_tensorflow()\n"
        "import sys, os\nassert 'tensorflow' in sys.modules\nprint(os.environ['TF_CPP_MIN_LOG_LEVEL'])"
    )
    done = subprocess.run([sys.executable, "-c", source], env=environment, capture_output=True, text=True, check=True)
    assert (done.stdout, done.stderr) == (f"{level or 2}\n", notes)


@pytest.mark.parametrize("closed", [">&-", "2>&-", ">&- 2>&-"])
def test_tensorflow_starts_in_a_program_without_standard_output(closed, tmp_path):
    (tmp_path / "tensorflow.py").write_text(TENSORFLOW)
    environment = os.environ | {"PYTHONPATH": f"{tmp_path}:{PROJECT}"}
    source = "from deeplab.quiet import load_tensorflow\nload_tensorflow()\nopen('done', 'w').close()"
    command = ["sh", "-c", f'exec "$0" "$@" {closed}', sys.executable, "-c", source]
    assert subprocess.run(command, env=environment, cwd=tmp_path, check=False).returncode == 0
    assert (tmp_path / "done").is_file()


@pytest.mark.slow
@pytest.mark.parametrize(
    "call",
    [
        "deeplab.build_model(deeplab.ModelConfig(depth_multiplier=0.1, aspp_rates=()), 16)",
        "deeplab.load_model({run!r}, 16)",
        "deeplab.train(data='shapes', pretrained='nothing')",
    ],
)
def test_the_library_starts_tensorflow_without_messages(call, tmp_path, make_run):
    call = call.format(run=str(make_run(("a", "b"))))
    environment = {key: value for key, value in os.environ.items() if key != LOG_LEVEL} | {"PYTHONPATH": str(PROJECT)}
    source = (
        f"import sys, deeplab\nassert 'tensorflow' not in sys.modules\n"
        f"try:\n    {call}\nexcept deeplab.UserError as error:\n    print(error)\n"
        "assert 'tensorflow' in sys.modules"
    )
    command = [sys.executable, "-c", source]
    done = subprocess.run(command, env=environment, cwd=tmp_path, capture_output=True, text=True, check=True)
    assert done.stderr == ""
