"""Signals that arrive where their exception is replaced, swallowed or repeated, in separate processes."""

import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

PROJECT = Path(__file__).parents[1]

PROGRAM = """
import os, signal, sys, threading, time
for number in (signal.SIGINT, signal.SIGTERM):
    signal.signal(number, signal.default_int_handler)
{before}
from deeplab.cli import app
from deeplab.cli.commands import COMMANDS, Job
from deeplab.errors import UserError
from deeplab.files import atomic_write
from deeplab.quiet import quiet

def interrupt():
    os.kill(os.getpid(), {number})

def work(self, config):
    with atomic_write("result.txt") as temporary:
        temporary.write_text("half")
{work}
        time.sleep(30)

Job.run, Job.check, app.load_tensorflow = work, lambda *_: None, lambda: None
app.main("train", [])
"""

WORK = {
    "plain": "interrupt()",
    "replaced by another exception": """
try:
    interrupt()
except KeyboardInterrupt:
    raise SystemError("returned a result with an exception set") from None
""",
    "replaced by an error of the user": """
try:
    interrupt()
except KeyboardInterrupt:
    raise UserError("weights", "are damaged") from None
""",
    "replaced while output is suppressed": """
with quiet():
    print("native noise")
    try:
        interrupt()
    except KeyboardInterrupt:
        raise ImportError("cannot import") from None
""",
    "swallowed": """
try:
    interrupt()
except KeyboardInterrupt:
    pass
""",
    "in a destructor": """
class Thing:
    def __del__(self):
        interrupt()
thing = Thing()
del thing
""",
    "twice": """
try:
    interrupt()
finally:
    interrupt()
""",
    "during the deletion of a temporary file": """
from pathlib import Path
delete = Path.unlink
Path.unlink = lambda self, missing_ok=False: (setattr(Path, "unlink", delete), interrupt())
raise ValueError
""",
    "in the end of suppressed output": """
flush = sys.stderr.flush
class Stream:
    def __getattr__(self, name):
        return getattr(sys.__stderr__, name)
    def flush(self):
        sys.stderr = sys.__stderr__
        interrupt()
with quiet():
    sys.stderr = Stream()
""",
    "while it waits for a thread": """
thread = threading.Thread(target=time.sleep, args=(20,), daemon=True)
thread.start()
threading.Timer(0.3, interrupt).start()
try:
    thread.join()
except KeyboardInterrupt:
    thread.join()
""",
}
"""Statements during which a signal arrives, by what happens to its exception."""


def run(work, number, folder, before=""):
    lines = "\n".join(f"        {line}" for line in work.strip().splitlines())
    program = PROGRAM.format(number=int(number), work=lines, before=before)
    return subprocess.run(
        [sys.executable, "-c", program], cwd=folder, capture_output=True, text=True, env={"PYTHONPATH": str(PROJECT)}
    )


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
@pytest.mark.parametrize("work", WORK.values(), ids=WORK)
def test_a_signal_ends_the_command_with_one_line(work, number, tmp_path):
    start = time.monotonic()
    done = run(work, number, tmp_path)
    assert (done.returncode, done.stdout, done.stderr) == (128 + number, "", "interrupted\n")
    assert time.monotonic() - start < 15
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_after_the_work_changes_nothing(number, tmp_path):
    source = (
        "import atexit, os, sys\n"
        "from deeplab.cli import app\n"
        f"atexit.register(lambda: os.kill(os.getpid(), {int(number)}))\n"
        "sys.argv[1:] = ['train', '--help']\n"
        "app.main()"
    )
    command = [sys.executable, "-c", source]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, env={"PYTHONPATH": str(PROJECT)})
    assert (done.returncode, done.stderr) == (0, "")


def test_a_signal_that_the_process_was_started_to_ignore_stays_ignored(tmp_path):
    """Shells start jobs in the background with SIGINT ignored."""
    before = "signal.signal(signal.SIGINT, signal.SIG_IGN)"
    done = run("interrupt()\nos._exit(7)", signal.SIGINT, tmp_path, before)
    assert (done.returncode, done.stderr) == (7, "")
