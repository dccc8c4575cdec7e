"""Runs LiteRT's benchmark binary (`benchmark_model`) on an Android device through adb, and reads its output."""

import contextlib
import os
import re
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from deeplab.errors import UserError

DEVICE_FOLDER = PurePosixPath("/data/local/tmp")
"""The folder of a device that adb can write to and run programs from."""
BIG_CORES = "f0"
"""Mask of cores for `taskset`: the big ones of most phones with eight cores."""
DELEGATES = ("xnnpack", "gpu", "nnapi")
WARM_UP_RUNS = 5
TIMEOUT = 600
"""Seconds after which a command of adb is stopped."""
_NUMBER = r"([0-9.]+(?:e[+-]?[0-9]+)?)"


@dataclass(frozen=True)
class DeviceTimes:
    """The times of one file on a device, in milliseconds per image.

    Attributes:
        average: mean of all runs after the warm-up.
        deviation: their standard deviation; None if the binary does not print it.
        median: None for binaries before 2024, which do not print it.
        first: the first run.
        start: loading the file and preparing the delegate.
        delegated: nodes that the delegate took, and all nodes, as "62 of 71"; None if no delegate is reported.
    """

    average: float
    deviation: float | None
    median: float | None
    first: float
    start: float
    delegated: str | None


class AndroidDevice:
    """An attached Android device.

    Attributes:
        name: model and Android version.
    """

    def __init__(self, binary: Path | None = None, serial: str | None = None) -> None:
        """Connect to a device and copy the binary to it.

        Args:
            binary: `benchmark_model` for Android on this machine; None uses the one at `DEVICE_FOLDER`.
            serial: serial number of the device; None takes the only one.

        Raises:
            UserError: adb is missing, there is not exactly one usable device, or the binary is missing.
        """
        if shutil.which("adb") is None:
            raise UserError("adb", "not found in PATH", "install the Android SDK platform tools")
        self._serial = _choose(_adb("devices"), serial)
        self._binary = DEVICE_FOLDER / "benchmark_model"
        if binary is not None:
            if not binary.is_file():
                remedy = "give the downloaded android_aarch64_benchmark_model"
                raise UserError("--adb-binary", f"no such file: {binary}", remedy)
            self._run("push", str(binary), str(self._binary))
            self._run("shell", "chmod", "+x", str(self._binary))
        elif self._run("shell", f"test -x {self._binary} && echo yes || echo no").strip() != "yes":
            remedy = "add --adb-binary=android_aarch64_benchmark_model, which LiteRT publishes"
            raise UserError("--adb", f"the device has no {self._binary}", remedy)
        properties = (
            self._run("shell", "getprop", p).strip() for p in ("ro.product.model", "ro.build.version.release")
        )
        self.name = "{}, Android {}".format(*properties)

    def measure(self, path: Path, threads: int, runs: int, delegate: str = DELEGATES[0]) -> DeviceTimes:
        """Copy a .tflite file to the device, time it there, and remove it.

        Args:
            path: the file.
            threads: number of threads.
            runs: minimum number of runs.
            delegate: one of `DELEGATES`.

        Raises:
            UserError: the binary fails, for example because it was built for another processor.
        """
        remote = DEVICE_FOLDER / f"deeplab_{os.getpid()}.tflite"
        self._run("push", str(path), str(remote))
        try:
            return parse(self._run("shell", *command(self._binary, remote, threads, runs, delegate), merge=True))
        finally:
            # A lost phone must not hide the first error.
            with contextlib.suppress(UserError):
                self._run("shell", "rm", "-f", str(remote))

    def _run(self, *arguments: str, merge: bool = False) -> str:
        return _adb("-s", self._serial, *arguments, merge=merge)


def command(binary: PurePosixPath, file: PurePosixPath, threads: int, runs: int, delegate: str) -> list[str]:
    """Return the command that runs the binary on the device."""
    return [
        "taskset", BIG_CORES, str(binary), f"--graph={file}", f"--num_threads={threads}", f"--num_runs={runs}",
        f"--warmup_runs={WARM_UP_RUNS}", f"--use_{delegate}=true",
    ]  # fmt: skip


def parse(output: str) -> DeviceTimes:
    """Read the output of `benchmark_model`; its times are microseconds, and large ones have an exponent.

    Raises:
        UserError: the output does not state the times; the message contains its last line.
    """
    summary = re.search(
        rf"Inference timings in us: Init: {_NUMBER}, First inference: {_NUMBER}, "
        rf"Warmup \(avg\): {_NUMBER}, Inference \(avg\): {_NUMBER}",
        output,
    )
    if summary is None:
        lines = [line.strip() for line in output.splitlines() if line.strip()]
        errors = [line for line in lines if "ERROR" in line] or lines or ["it printed nothing"]
        remedy = "use the binary for the processor of the device, and a file that its LiteRT supports"
        raise UserError("benchmark_model", errors[-1][:200], remedy)
    start, first, _, average = (float(value) / 1000 for value in summary.groups())
    # The last such line belongs to the runs after the warm-up.
    statistics = [line for line in output.splitlines() if re.search(r"\bcount=\d+ .*\bavg=", line)]
    values = dict(re.findall(rf"(\w+)={_NUMBER}", statistics[-1])) if statistics else {}
    deviation, median = (float(values[key]) / 1000 if key in values else None for key in ("std", "median"))
    taken = re.search(r"Replacing (\d+) out of (\d+) node\(s\) with delegate", output)
    return DeviceTimes(average, deviation, median, first, start, f"{taken[1]} of {taken[2]}" if taken else None)


def _choose(listing: str, serial: str | None) -> str:
    """Return the serial number of the device to use from the output of `adb devices`."""
    rows = (line.split() for line in listing.splitlines()[1:])
    states = {row[0]: " ".join(row[1:]) for row in rows if len(row) > 1}
    if serial is not None and serial not in states:
        known = ", ".join(states) or "none"
        raise UserError("--adb-serial", f"no device {serial!r} (attached: {known})", "omit it, or attach the device")
    candidates = {serial: states[serial]} if serial is not None else states
    if not candidates:
        raise UserError("--adb", "no device is attached", "attach a phone with USB debugging enabled")
    ready = [each for each, state in candidates.items() if state == "device"]
    if len(ready) == 1:
        return ready[0]
    if ready:
        raise UserError("--adb", f"{len(ready)} devices are attached", f"add --adb-serial={ready[0]}")
    each, state = next(iter(candidates.items()))
    remedy = "allow USB debugging on the phone" if state == "unauthorized" else "attach it again"
    raise UserError("--adb", f"device {each} is {state}", remedy)


def _adb(*arguments: str, merge: bool = False) -> str:
    """Return the standard output of adb, with its standard error if `merge`; raise UserError if it fails."""
    stderr = subprocess.STDOUT if merge else subprocess.PIPE
    try:
        done = subprocess.run(
            ("adb", *arguments), stdout=subprocess.PIPE, stderr=stderr, text=True, errors="replace", timeout=TIMEOUT
        )
    except subprocess.TimeoutExpired as error:
        raise UserError("adb", f"no answer within {TIMEOUT} seconds", "restart the phone, or lower --rounds") from error
    if done.returncode:
        lines = (done.stderr or done.stdout).strip().splitlines() or ["no message"]
        action = " ".join(arguments[2:4] if arguments[0] == "-s" else arguments[:1])
        code = f"{action} failed with code {done.returncode}"
        raise UserError("adb", f"{code}: {lines[-1].strip()[:200]}", "check the connection, and the binary")
    return done.stdout
