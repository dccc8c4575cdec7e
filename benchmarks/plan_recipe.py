"""The plan against the fine-tuning recipe in the same time: `python -m benchmarks.plan_recipe VOCDEVKIT --out DIR`.

For each set of `benchmarks.voc_folders` and each folder given by `--also`, and for each seed, two trainings run at the
same time, each on half of the processor cores:

- `train.py data=folder data.root=SET minutes=M`, which follows the plan,
- `train.py data=folder data.root=SET experiment=voc_finetune pretrained=official training.learning_rate=0.007`, with
  as many updates as fit into the same minutes, by the same trial as that of the plan.

The table has the mIoU at output stride 16 on all validation images. Pairs that are complete are not trained again.
"""

import argparse
import json
import os
import subprocess
import sys
import time
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict, dataclass
from multiprocessing import get_context
from pathlib import Path

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

from benchmarks.voc_folders import make_folders

RECIPE = ("experiment=voc_finetune", "pretrained=official", "training.learning_rate=0.007", "output_stride=[16]")


@dataclass(frozen=True)
class Outcome:
    """A complete training.

    Attributes:
        miou: mean IoU at output stride 16.
        classes: IoU of each class.
        steps: number of updates.
        minutes: time of the whole command.
    """

    miou: float
    classes: dict[str, float | None]
    steps: int
    minutes: float


def recipe_steps(root: Path, minutes: float, seed: int, cores: set[int]) -> int:
    """Return the number of updates of the recipe in `minutes`, with the reserve of the plan but without validations."""
    os.sched_setaffinity(0, cores)
    from deeplab.cli.settings import compose_settings, config_folder
    from deeplab.config import TrainConfig, build
    from deeplab.data_check.check import check_before_training
    from deeplab.plan.schedule import BUDGET_SHARE
    from deeplab.training.distribution import find_workers
    from deeplab.training.trial import measure_trial

    settings = compose_settings("train", ["data=folder", f"data.root={root}", f"seed={seed}", *RECIPE], config_folder())
    assert settings is not None
    config = build(TrainConfig, settings)
    val = check_before_training(config.data, None, seed).splits[1]
    trial = measure_trial(config, find_workers(config.training))
    seconds = BUDGET_SHARE * 60 * minutes - trial.start_seconds - (val.size or val.checked) * trial.image_seconds
    return max(int(seconds / trial.update_seconds), 1)


def train(root: Path, run: Path, cores: set[int], settings: list[str]) -> tuple[subprocess.Popen[bytes], float]:
    """Start a training on some processor cores; its output goes to a log file next to the run folder."""
    command = [sys.executable, "train.py", "data=folder", f"data.root={root}", f"run={run}", *settings]
    log = run.with_suffix(".log").open("wb")
    process = subprocess.Popen(
        command, stdout=log, stderr=subprocess.STDOUT, preexec_fn=lambda: os.sched_setaffinity(0, cores)
    )
    return process, time.perf_counter()


def outcome(run: Path, process: subprocess.Popen[bytes], began: float) -> Outcome:
    """Wait for a training and read its scores."""
    if process.wait():
        raise SystemExit(f"{run}: the training failed; see {run.with_suffix('.log')}")
    minutes = (time.perf_counter() - began) / 60
    scores = json.loads((run / "scores.json").read_text())["16"]
    steps = json.loads((run / "train.json").read_text())["training"]["steps"]
    return Outcome(scores["miou"], scores["per_class"], steps, minutes)


def compare(name: str, root: Path, seed: int, minutes: float, out: Path) -> tuple[Outcome, Outcome]:
    """Train both at the same time, or read the results of a complete pair."""
    file = out / f"{name}_{seed}.json"
    if file.exists():
        plan, recipe = (Outcome(**values) for values in json.loads(file.read_text()))
        return plan, recipe
    cores = sorted(os.sched_getaffinity(0))
    halves = set(cores[::2]), set(cores[1::2]) or set(cores)
    if seed % 2:
        halves = halves[::-1]
    # The trial of the recipe runs beside that of the plan.
    runs = out / f"{name}_{seed}_plan", out / f"{name}_{seed}_recipe"
    first = train(root, runs[0], halves[0], [f"minutes={minutes:g}", f"seed={seed}"])
    with ProcessPoolExecutor(1, get_context("spawn")) as pool:
        steps = pool.submit(recipe_steps, root, minutes, seed, halves[1]).result()
    second = train(root, runs[1], halves[1], [*RECIPE, f"training.steps={steps}", f"seed={seed}"])
    pair = outcome(runs[0], *first), outcome(runs[1], *second)
    file.write_text(json.dumps([asdict(result) for result in pair]))
    return pair


def row(name: str, seed: int, pair: tuple[Outcome, Outcome]) -> str:
    """Return a row of the table."""
    cells = [name, str(seed)]
    for result in pair:
        zero = sum(not value for value in result.classes.values() if value is not None)
        cells += [f"{100 * result.miou:.2f}", str(zero), str(result.steps), f"{result.minutes:.1f}"]
    cells.append(f"{100 * (pair[0].miou - pair[1].miou):+.2f}")
    return "| " + " | ".join(cells) + " |"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("voc", help="VOCdevkit folder with train_aug")
    parser.add_argument("--out", type=Path, required=True, help="folder of the sets, the runs and the results")
    parser.add_argument("--sets", nargs="*", help="names of the sets; default: all")
    parser.add_argument("--also", type=Path, nargs="*", default=[], help="more folders of images and masks")
    parser.add_argument("--minutes", type=float, default=30)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1])
    arguments = parser.parse_args()
    out = arguments.out.resolve()
    sets = out / "sets"
    sets.mkdir(parents=True, exist_ok=True)
    folders = make_folders(arguments.voc, sets) | {path.name: path.resolve() for path in arguments.also}
    unknown = set(arguments.sets or ()) - set(folders)
    if unknown:
        parser.error(f"--sets {' '.join(sorted(unknown))}: expected {', '.join(folders)}")
    columns = ("mIoU", "classes at 0", "updates", "minutes")
    print(f"| set | seed | plan: {' | '.join(columns)} | recipe: {' | '.join(columns)} | difference |")
    print("|" + "---|" * 11)
    for seed in arguments.seeds:
        for name in arguments.sets or folders:
            print(row(name, seed, compare(name, folders[name], seed, arguments.minutes, out)), flush=True)


if __name__ == "__main__":
    main()
