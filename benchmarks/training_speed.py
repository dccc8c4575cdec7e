"""Measures the speed and memory of a training step: several settings, the whole loop, and TensorFlow Model Garden.

    python -m benchmarks.training_speed [--rounds 5] [--part step xla precision loop] [--peer PYTHON] [--voc VOCDEVKIT]

The network is MobileNetV2 DeepLabv3 with the mobile head at 513 pixels, output stride 16, batch size 4, float32, with
trained batch norm. Each candidate runs in a separate process. They make steps in turn, in an order that changes from
round to round. The comparison is the median of the ratios within the rounds, so that a temporarily slow machine is slow
for all of them.

The peer needs a separate environment because its packages conflict with those of this project:

    python3.11 -m venv garden && garden/bin/pip install tf-models-official==2.19.1
    python -m benchmarks.training_speed --peer garden/bin/python
"""

import argparse
import json
import os
import random
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

PROJECT = Path(__file__).parents[1]
ENVIRONMENT = {**os.environ, "TF_CPP_MIN_LOG_LEVEL": "3", "PYTHONPATH": str(PROJECT), "CUDA_VISIBLE_DEVICES": ""}
SIZE, BATCH, CLASSES = 513, 4, 21
STEPS = 3
"""Updates per turn."""


def main() -> None:
    """Print a table of the candidates."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--part", nargs="+", choices=["step", "xla", "precision", "loop"], default=["step"])
    parser.add_argument("--peer", help="the Python executable of an environment with tf-models-official")
    parser.add_argument("--voc", help="a VOCdevkit folder, for the whole loop")
    parser.add_argument("--worker", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.worker:
        _serve(options.worker)
        return
    kinds = ["ours"]
    kinds += ["ours xla"] if "xla" in options.part else []
    kinds += ["ours mixed_bfloat16", "ours mixed_float16"] if "precision" in options.part else []
    kinds += ["garden"] if options.peer else []
    pythons = {"garden": options.peer}
    if kinds != ["ours"] or "step" in options.part:
        compare({kind: pythons.get(kind) or sys.executable for kind in kinds}, options.rounds)
    if "loop" in options.part:
        if not options.voc:
            parser.error("--part loop needs --voc")
        compare_loop(Path(options.voc), options.rounds)


def compare(kinds: dict[str, str], rounds: int) -> None:
    """Let the candidates make steps in turn, and print their speed."""
    workers = {
        kind: subprocess.Popen(
            [python, __file__, "--worker", kind],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
            env=ENVIRONMENT,
        )
        for kind, python in kinds.items()
    }
    measured: dict[str, list[dict[str, float]]] = {kind: [] for kind in kinds}
    for number in range(rounds + 1):
        order = random.Random(number).sample(list(workers), len(workers))
        for kind in order:
            result = _turn(workers[kind], kind)
            if number:  # The first round compiles.
                measured[kind].append(result)
        print(f"round {number} of {rounds}", file=sys.stderr, flush=True)
    for worker in workers.values():
        worker.kill()
    print(f"{'candidate':<22}{'images/s':>10}{'CPU s/step':>12}{'peak MB':>9}{'speed by wall':>15}{'by CPU':>9}")
    for kind, results in measured.items():
        wall, cpu = (statistics.median(r[name] for r in results) for name in ("wall", "cpu"))
        ratios = [
            statistics.median(ours[name] / other[name] for ours, other in zip(measured["ours"], results, strict=True))
            for name in ("wall", "cpu")
        ]
        peak = max(r["peak_mb"] for r in results)
        print(f"{kind:<22}{BATCH / wall:>10.2f}{cpu:>12.2f}{peak:>9.0f}{ratios[0]:>15.2f}{ratios[1]:>9.2f}")


def compare_loop(voc: Path, rounds: int) -> None:
    """Compare the whole loop, with data, logs and checkpoints, with the bare step in the same process."""
    with tempfile.TemporaryDirectory() as folder:
        ratios = []
        for number in range(rounds):
            run = json.dumps({"voc": str(voc), "run": f"{folder}/{number}"})
            done = subprocess.run(
                [sys.executable, __file__, "--worker", f"loop {run}"],
                stdout=subprocess.PIPE,
                stderr=subprocess.DEVNULL,
                text=True,
                env=ENVIRONMENT,
                check=True,
            )
            result = json.loads(done.stdout.splitlines()[-1])
            bare, loop = result["bare"], result["loop"]
            ratios.append(bare / loop)
            print(f"round {number + 1}: bare step {bare:.2f} s, in the loop {loop:.2f} s", flush=True)
        print(f"speed of the whole loop / speed of the bare step: {statistics.median(ratios):.2f}")


def _turn(worker: subprocess.Popen[str], kind: str) -> dict[str, float]:
    assert worker.stdin is not None
    assert worker.stdout is not None
    worker.stdin.write("go\n")
    worker.stdin.flush()
    line = worker.stdout.readline()
    if not line:
        raise SystemExit(f"{kind} ended; try: {' '.join(map(str, worker.args))} < /dev/zero")  # type: ignore[arg-type]
    return dict(json.loads(line))


def _serve(kind: str) -> None:
    """Make updates for every line on standard input, and print their time as JSON."""
    if kind.startswith("loop "):
        print(json.dumps(_loop(**json.loads(kind.removeprefix("loop ")))))
        return
    # Output of libraries goes to standard error.
    out = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    step = _garden_step() if kind == "garden" else _our_step(*kind.split()[1:])
    for _ in sys.stdin:
        wall, cpu = time.perf_counter(), time.process_time()
        for _ in range(STEPS):
            step()
        result = {
            "wall": (time.perf_counter() - wall) / STEPS,
            "cpu": (time.process_time() - cpu) / STEPS,
            "peak_mb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024,
        }
        print(json.dumps(result), file=out, flush=True)


def _our_step(setting: str = "float32") -> Callable[[], float]:
    """Return a function that makes an update on constant images."""
    from deeplab.config import ModelConfig, TrainConfig, TrainingConfig
    from deeplab.training.train_state import make_train_state
    from deeplab.training.train_step import make_train_step

    model = ModelConfig(head="v3", aspp_rates=(), classes=CLASSES)
    precision: Any = "float32" if setting == "xla" else setting
    training = TrainingConfig(
        batch_size=BATCH, crop_size=SIZE, weight_decay=4e-5, precision=precision, xla=setting == "xla"
    )
    state = make_train_state(TrainConfig(model=model, training=training))
    step = make_train_step(state.model, state.optimizer, training)
    images, labels = _images()
    return lambda: float(step((images, labels))["loss"])


def _garden_step() -> Callable[[], float]:
    """Return an update of the same network in TensorFlow Model Garden, without its synchronized batch norm."""
    import tensorflow as tf
    import tf_keras
    from official.core import exp_factory
    from official.vision.tasks import semantic_segmentation

    config = exp_factory.get_exp_config("mnv2_deeplabv3_pascal")
    config.task.model.norm_activation.use_sync_bn = False
    config.task.model.input_size = [SIZE, SIZE, 3]
    config.task.train_data.output_size = [SIZE, SIZE]
    task = semantic_segmentation.SemanticSegmentationTask(config.task)
    model = task.build_model()
    optimizer = tf_keras.optimizers.SGD(0.007, momentum=0.9)
    images, labels = _images()
    features = images * (2.0 / 255.0) - 1.0
    valid = labels != 255
    info = {
        "masks": tf.cast(tf.where(valid, labels, 0), tf.float32)[..., None],
        "valid_masks": valid[..., None],
        "image_info": tf.zeros((BATCH, 4, 2)),
    }

    @tf.function
    def step(features: Any, info: Any) -> Any:
        return task.train_step((features, info), model, optimizer, metrics=None)

    return lambda: float(step(features, info)["loss"])


def _images() -> Any:
    """Return images of noise, with labels in blocks of which a tenth is ignored."""
    import numpy as np
    import tensorflow as tf

    rng = np.random.default_rng(0)
    blocks = rng.integers(0, CLASSES, (BATCH, 9, 9)).repeat(57, axis=1).repeat(57, axis=2)
    blocks[rng.random(blocks.shape) < 0.1] = 255
    images = rng.uniform(0, 255, (BATCH, SIZE, SIZE, 3))
    return tf.constant(images, tf.float32), tf.constant(blocks, tf.int32)


def _loop(voc: str, run: str, updates: int = 24) -> dict[str, float]:
    """Return the mean seconds of an update in the whole loop, and without it, in one process."""
    import contextlib

    import keras
    import tensorflow as tf

    from deeplab.config import TrainConfig, build
    from deeplab.training.train import train

    class Clock(keras.callbacks.Callback):
        """Records when each update ends, including all other callbacks, because it is called last."""

        times: list[float] = []  # noqa: RUF012

        def on_train_batch_end(self, batch: int, logs: Any = None) -> None:
            self.times.append(time.perf_counter())
            if batch + 1 == updates:
                raise KeyboardInterrupt

    settings = {
        "run": run,
        "model": {"head": "v3", "aspp_rates": []},
        "data": {"source": "voc", "root": voc, "eval_size": SIZE},
        "training": {"steps": 1000, "batch_size": BATCH, "crop_size": SIZE, "save_every": 500, "preview_images": 0},
    }
    clock = Clock()
    with contextlib.redirect_stdout(sys.stderr), contextlib.suppress(KeyboardInterrupt):
        train(build(TrainConfig, settings), [clock])
    bare = _our_step()
    bare()
    times = []
    for _ in range(updates // 2):
        begin = time.perf_counter()
        bare()
        times.append(time.perf_counter() - begin)
    tf.keras.backend.clear_session()
    # The mean, because occasional work such as logging counts; the first updates compile and fill buffers.
    ends = clock.times[4:]
    return {"loop": (ends[-1] - ends[0]) / (len(ends) - 1), "bare": statistics.mean(times)}


if __name__ == "__main__":
    main()
