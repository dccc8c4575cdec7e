"""The plan against the fine-tuning recipe in the same time: `python -m benchmarks.plan_recipe VOCDEVKIT --out DIR`.

For each set of `benchmarks.voc_folders` and each folder given by `--also`, and for each seed, two trainings run at the
same time, each on half of the processor cores:

- `train.py data=folder data.root=SET minutes=M`, which follows the plan,
- `train.py data=folder data.root=SET experiment=voc_finetune pretrained=official`, with as many updates as fit into the
  same minutes, by the same trial as that of the plan. For other classes than those of VOC the classifier is new, and
  `training.learning_rate=0.007` is added; the classifier of VOC would diverge with it.

The table has the mIoU at output stride 16 on all validation images. Pairs that are complete are not trained again; one
that was interrupted starts again. Delete DIR after a change of the code.
"""

import argparse
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict, dataclass
from multiprocessing import get_context
from pathlib import Path

from benchmarks.voc_folders import make_folders
from deeplab.config import DataConfig
from deeplab.config.class_names import same_classes
from deeplab.datasets.open import open_source
from deeplab.datasets.voc import CLASSES
from deeplab.errors import UserError
from deeplab.files import read_json, write_json
from deeplab.quiet import load_tensorflow

RECIPE = ("experiment=voc_finetune", "pretrained=official", "output_stride=[16]")


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


def recipe(root: Path) -> list[str]:
    """Return the settings of the fine-tuning recipe for a folder of images and masks.

    Raises:
        UserError: the folder cannot be used, for example without class names.
    """
    config = DataConfig(source="folder", root=str(root))
    classes = open_source(config, config.train_split).classes
    return [*RECIPE] if same_classes(CLASSES, classes) else [*RECIPE, "training.learning_rate=0.007"]


def recipe_steps(root: Path, settings: Sequence[str], minutes: float, seed: int, cores: set[int]) -> int:
    """Return the number of updates of the recipe in `minutes`, with the reserve of the plan but without validations.

    Runs in a separate process, whose memory is free before the training starts.

    Args:
        root: folder of images and masks.
        settings: of the recipe and the seed, as arguments of train.py.
        minutes: time of the whole training.
        seed: of the training.
        cores: processor cores that the training will have.

    Raises:
        SystemExit: the data cannot be used.
    """
    os.sched_setaffinity(0, cores)
    load_tensorflow()
    from deeplab.cli.settings import compose_settings, config_folder
    from deeplab.config import TrainConfig, build
    from deeplab.data_check.check import check_before_training
    from deeplab.plan.schedule import BUDGET_SHARE
    from deeplab.training.distribution import find_workers
    from deeplab.training.trial import measure_trial

    composed = compose_settings("train", ["data=folder", f"data.root={root}", *settings], config_folder())
    assert composed is not None
    try:
        config = build(TrainConfig, composed)
        val = check_before_training(config.data, None, seed).splits[1]
        trial = measure_trial(config, find_workers(config.training))
    except UserError as error:
        # A UserError does not return from a separate process: pickle cannot make it again from its line.
        raise SystemExit(f"error: {error}") from None
    seconds = BUDGET_SHARE * 60 * minutes - trial.start_seconds - (val.size or val.checked) * trial.image_seconds
    return max(int(seconds / trial.update_seconds), 1)


@dataclass(frozen=True)
class Training:
    """A training that was started: its run folder, its process, and when it began, in seconds of `perf_counter`."""

    run: Path
    process: subprocess.Popen[bytes]
    began: float


def log_file(run: Path) -> Path:
    """Return the file for the output of a training, next to its run folder."""
    return run.with_name(f"{run.name}.log")


def train(root: Path, run: Path, cores: set[int], settings: Sequence[str]) -> Training:
    """Start a training in a separate process, with its output in `log_file`.

    Args:
        root: folder of images and masks.
        run: the run folder.
        cores: processor cores of the training.
        settings: further arguments of train.py.
    """
    command = [sys.executable, "train.py", "data=folder", f"data.root={root}", f"run={run}", *settings]
    with log_file(run).open("wb") as log:
        process = subprocess.Popen(
            command, stdout=log, stderr=subprocess.STDOUT, preexec_fn=lambda: os.sched_setaffinity(0, cores)
        )
    return Training(run, process, time.perf_counter())


def outcome(training: Training) -> Outcome:
    """Wait for a training and read its scores.

    Raises:
        SystemExit: the training failed.
    """
    run = training.run
    if training.process.wait():
        raise SystemExit(f"error: {run}: the training failed; see {log_file(run)}")
    minutes = (time.perf_counter() - training.began) / 60
    scores = read_json(run / "scores.json")["16"]
    steps = read_json(run / "train.json")["training"]["steps"]
    return Outcome(scores["miou"], scores["per_class"], steps, minutes)


def compare(
    name: str, root: Path, settings: Sequence[str], seed: int, minutes: float, out: Path
) -> tuple[Outcome, Outcome]:
    """Train with the plan and with the recipe at the same time, or read the results of a complete pair.

    Args:
        name: of the set.
        root: folder of its images and masks.
        settings: the result of `recipe` for this folder.
        seed: of both trainings.
        minutes: time of each training.
        out: folder of the runs and the results.

    Returns:
        The outcomes of the plan and of the recipe.

    Raises:
        SystemExit: the trial or a training failed; what still runs is then ended.
    """
    key = f"{name}_{minutes:g}min_{seed}"
    file = out / f"{key}.json"
    if file.exists():
        stored = read_json(file)
        return Outcome(**stored["plan"]), Outcome(**stored["recipe"])
    runs = out / f"{key}_plan", out / f"{key}_recipe"
    for run in runs:
        # A training that resumes would have more time, and the recipe another number of updates.
        shutil.rmtree(run, ignore_errors=True)
    cores = sorted(os.sched_getaffinity(0))
    halves = set(cores[::2]), set(cores[1::2]) or set(cores)
    if seed % 2:
        halves = halves[::-1]
    settings = [*settings, f"seed={seed}"]
    trainings: list[Training] = []
    try:
        trainings.append(train(root, runs[0], halves[0], [f"minutes={minutes:g}", f"seed={seed}"]))
        # The plan measures its trial at the same time, under the same load.
        with ProcessPoolExecutor(1, get_context("spawn")) as pool:
            steps = pool.submit(recipe_steps, root, settings, minutes, seed, halves[1]).result()
        trainings.append(train(root, runs[1], halves[1], [*settings, f"training.steps={steps}"]))
        pair = outcome(trainings[0]), outcome(trainings[1])
    finally:
        for training in trainings:
            training.process.kill()
            training.process.wait()
    write_json(file, {"plan": asdict(pair[0]), "recipe": asdict(pair[1])})
    return pair


def row(name: str, seed: int, pair: tuple[Outcome, Outcome]) -> str:
    """Return a row of the table in Markdown; mIoU and the difference are in percent."""
    cells = [name, str(seed)]
    for result in pair:
        zero = sum(not value for value in result.classes.values() if value is not None)
        cells += [f"{100 * result.miou:.2f}", str(zero), str(result.steps), f"{result.minutes:.1f}"]
    cells.append(f"{100 * (pair[0].miou - pair[1].miou):+.2f}")
    return "| " + " | ".join(cells) + " |"


def main() -> None:
    """Make the sets, train all pairs that are missing, and print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("voc", help="VOCdevkit folder with train_aug")
    parser.add_argument("--out", type=Path, required=True, help="folder of the sets, the runs and the results")
    parser.add_argument("--sets", nargs="*", help="names of the sets; default: all")
    parser.add_argument("--also", type=Path, nargs="*", default=[], help="more folders of images and masks")
    parser.add_argument("--minutes", type=float, default=30, help="time of each training (default: 30)")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1], help="seeds of the pairs (default: 0 1)")
    arguments = parser.parse_args()
    out = arguments.out.resolve()
    sets = out / "sets"
    sets.mkdir(parents=True, exist_ok=True)
    try:
        folders = make_folders(arguments.voc, sets) | {path.name: path.resolve() for path in arguments.also}
        unknown = set(arguments.sets or ()) - set(folders)
        if unknown:
            parser.error(f"--sets {' '.join(sorted(unknown))}: expected {', '.join(folders)}")
        # Before the first training: a folder that cannot be used would be found after hours.
        recipes = {name: recipe(folders[name]) for name in arguments.sets or folders}
    except UserError as error:
        raise SystemExit(f"error: {error}") from None
    columns = ("mIoU", "classes at 0", "updates", "minutes")
    print(f"| set | seed | plan: {' | '.join(columns)} | recipe: {' | '.join(columns)} | difference |")
    print("|" + "---|" * 11)
    for seed in arguments.seeds:
        for name, settings in recipes.items():
            pair = compare(name, folders[name], settings, seed, arguments.minutes, out)
            print(row(name, seed, pair), flush=True)


if __name__ == "__main__":
    main()
