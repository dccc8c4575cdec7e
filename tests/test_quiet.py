"""Suppression of output in a separate process with real streams."""

import subprocess
import sys

import pytest

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
