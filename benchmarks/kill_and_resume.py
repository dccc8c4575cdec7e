"""Kills a training at random times until it is complete, and compares it with an uninterrupted one.

    python -m benchmarks.kill_and_resume [--kills 10] [--seed 0]

After each kill, every file of the run folder is read: none may be incomplete. At the end the weights must be bit-equal,
and the logs too, except for the speed; otherwise the exit code is 1. The times are drawn from the whole duration of a
process: while it loads, compiles, trains, saves and evaluates.
"""

import argparse
import csv
import json
import random
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import h5py
import numpy as np

PROJECT = Path(__file__).parents[1]
SETTINGS = (
    "model.depth_multiplier=0.25",
    "model.batch_norm_momentum=0.9",
    "data.val_size=4",
    "training.steps=60",
    "training.batch_size=4",
    "training.crop_size=65",
    "training.ema_decay=0.9",
    "training.save_every=3",
    "training.evaluate_every=10",
    "training.evaluate_images=4",
    "training.log_every=1",
    "training.preview_images=1",
)


def main() -> None:
    """Run both trainings and print the differences."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--kills", type=int, default=10)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    rng = random.Random(options.seed)
    with tempfile.TemporaryDirectory() as folder:
        straight, killed = Path(folder) / "straight", Path(folder) / "killed"
        begin = time.monotonic()
        subprocess.run(command(straight), check=True, stdout=subprocess.DEVNULL)
        duration = time.monotonic() - begin
        print(f"uninterrupted run: {duration:.0f} s", flush=True)
        kills, files = 0, 0
        while kills < options.kills:
            delay = rng.uniform(0, duration)
            if kill_after(killed, delay):
                kills += 1
                files += check_files(killed)
                print(f"kill {kills} after {delay:5.1f} s, at step {last_step(killed)}", flush=True)
            else:
                # It ended before the kill: its result is removed, and the next one resumes from a checkpoint.
                (killed / "model.weights.h5").unlink()
        subprocess.run(command(killed), check=True, stdout=subprocess.DEVNULL)
        differing = differences(straight, killed)
        print(f"{kills} kills, {files} complete files, {len(differing)} differences: {', '.join(differing) or 'none'}")
        sys.exit(1 if differing else 0)


def command(run: Path) -> list[str]:
    """Return the command that trains into `run`."""
    return [sys.executable, str(PROJECT / "train.py"), f"run={run}", *SETTINGS]


def kill_after(run: Path, seconds: float) -> bool:
    """Train for `seconds` at most; return whether the process had to be killed."""
    with subprocess.Popen(command(run), stdout=subprocess.DEVNULL) as process:
        try:
            process.wait(seconds)
        except subprocess.TimeoutExpired:
            process.send_signal(signal.SIGKILL)
        killed = process.wait() == -signal.SIGKILL
    if not killed and process.returncode:
        raise SystemExit(f"the training failed with exit code {process.returncode}")
    return killed


def check_files(run: Path) -> int:
    """Read every file that has its final name; return their number."""
    paths = [path for path in run.rglob("*") if path.is_file() and not path.name.startswith((".", "events."))]
    for path in paths:
        if path.suffix == ".npz":
            with np.load(path) as arrays:
                assert all(arrays[name] is not None for name in arrays.files), path
        elif path.suffix == ".h5":
            with h5py.File(path) as file:
                file.visititems(lambda _, item: item[()] if isinstance(item, h5py.Dataset) else None)
        elif path.suffix == ".json":
            json.loads(path.read_text())
        elif path.suffix == ".html":
            assert path.read_text().rstrip().endswith("</html>"), path
    return len(paths)


def last_step(run: Path) -> int:
    """Return the last step in the log."""
    path = run / "log.csv"
    rows = path.read_text().splitlines()[1:] if path.is_file() else []
    return int(rows[-1].split(",")[0]) if rows else 0


def differences(one: Path, other: Path) -> list[str]:
    """Return the names of the files that differ: weights in any bit, tables in any digit except for the speed."""
    differing = [name for name in ("model.weights.h5", "best.weights.h5") if arrays(one / name) != arrays(other / name)]
    for name in ("log.csv", "validation.csv"):
        rows = [table(run / name) for run in (one, other)]
        differing += [name] if rows[0] != rows[1] else []
    return differing


def arrays(path: Path) -> dict[str, bytes]:
    """Return the bytes of every array of a weights file."""
    content: dict[str, bytes] = {}
    with h5py.File(path) as file:
        file.visititems(
            lambda name, item: content.update({name: item[()].tobytes()}) if isinstance(item, h5py.Dataset) else None
        )
    return content


def table(path: Path) -> list[list[str]]:
    """Return the rows of a CSV file without the column of the speed."""
    with path.open(newline="") as file:
        header, *rows = list(csv.reader(file))
    kept = [i for i, name in enumerate(header) if name != "images_per_second"]
    return [[row[i] for i in kept] for row in rows]


if __name__ == "__main__":
    main()
