"""Kills a training at random moments until it is done, and compares it with one that was left in peace.

    python -m benchmarks.kill_and_resume [--kills 10] [--seed 0]

After every kill each file of the run folder is read: none may be half written. In the end the weights must be equal bit
for bit, and so must the curves. Exit code 1 if not. The moments are drawn over the whole life of a process: while it
loads, compiles, trains, saves and measures.
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
    """Runs both trainings and prints what was found."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--kills", type=int, default=10)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    moments = random.Random(options.seed)
    with tempfile.TemporaryDirectory() as place:
        straight, killed = Path(place) / "straight", Path(place) / "killed"
        begin = time.monotonic()
        subprocess.run(command(straight), check=True, stdout=subprocess.DEVNULL)
        life = time.monotonic() - begin
        print(f"straight run: {life:.0f} s")
        kills, files = 0, 0
        while kills < options.kills:
            delay = moments.uniform(0, life)
            if kill_after(killed, delay):
                kills += 1
                files += check_files(killed)
                print(f"kill {kills} after {delay:5.1f} s, at step {last_step(killed)}")
            else:
                # It got to its end before its time: what is left of it is gone, and the next goes on from a state.
                (killed / "model.weights.h5").unlink()
        subprocess.run(command(killed), check=True, stdout=subprocess.DEVNULL)
        differing = differences(straight, killed)
        print(
            f"{kills} kills, {files} files read whole, {len(differing)} differences: {', '.join(differing) or 'none'}"
        )
        sys.exit(1 if differing else 0)


def command(run: Path) -> list[str]:
    """What trains into `run`."""
    return [sys.executable, str(PROJECT / "train.py"), f"run={run}", *SETTINGS]


def kill_after(run: Path, seconds: float) -> bool:
    """Trains for so long; whether the process had to be killed."""
    with subprocess.Popen(command(run), stdout=subprocess.DEVNULL) as process:
        try:
            process.wait(seconds)
        except subprocess.TimeoutExpired:
            process.send_signal(signal.SIGKILL)
        return process.wait() == -signal.SIGKILL


def check_files(run: Path) -> int:
    """Reads every file that bears its final name; returns how many there were."""
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
            assert path.read_text().endswith("</html>\n"), path
    return len(paths)


def last_step(run: Path) -> int:
    """The last step in the log."""
    path = run / "log.csv"
    rows = path.read_text().splitlines()[1:] if path.is_file() else []
    return int(rows[-1].split(",")[0]) if rows else 0


def differences(one: Path, other: Path) -> list[str]:
    """Names of what is not equal: weights bit for bit, curves to the digit but for the speed."""
    found = [name for name in ("model.weights.h5", "best.weights.h5") if arrays(one / name) != arrays(other / name)]
    for name in ("log.csv", "validation.csv"):
        rows = [table(run / name) for run in (one, other)]
        found += [name] if rows[0] != rows[1] else []
    return found


def arrays(path: Path) -> dict[str, bytes]:
    """Every array of a weights file, as bytes."""
    content: dict[str, bytes] = {}
    with h5py.File(path) as file:
        file.visititems(
            lambda name, item: content.update({name: item[()].tobytes()}) if isinstance(item, h5py.Dataset) else None
        )
    return content


def table(path: Path) -> list[list[str]]:
    """A CSV file without the column of speeds."""
    with path.open(newline="") as file:
        header, *rows = list(csv.reader(file))
    kept = [i for i, name in enumerate(header) if name != "images_per_second"]
    return [[row[i] for i in kept] for row in rows]


if __name__ == "__main__":
    main()
