"""Trainings on several devices and several workers, in separate processes, compared with one device."""

import json
import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from deeplab.config import TrainingConfig
from deeplab.errors import UserError
from deeplab.run_folder import load_model
from deeplab.training.distribution import Workers, check_batch_size, find_workers

PROJECT = Path(__file__).parents[2]
SETTINGS = [
    # Each batch norm amplifies rounding; this backbone has the fewest. MobileNetV2 has 52, which turn 1e-7 into 1e-3.
    "model.backbone=mobilenet_v3_small",
    "model.depth_multiplier=0.1",
    "model.head=v3",
    "model.aspp_rates=[]",
    "model.aspp_channels=8",
    # Dropout differs between replicas.
    "model.dropout=0.0",
    "data.val_size=2",
    "output_stride=[16]",
    "training.batch_size=4",
    "training.crop_size=65",
    # Small images are padded with ignored pixels, so that replicas have different numbers of valid pixels.
    "training.augment.min_scale=0.25",
    "training.augment.max_scale=2.0",
    "training.clip_norm=0.5",
    "training.log_every=1",
    "training.preview_images=0",
]
MODES = {
    "frozen": ("training.batch_norm=frozen", "training.learning_rate=0.05"),
    "sync": ("training.batch_norm=sync", "training.learning_rate=0.01"),
}
LOGICAL = """
import sys, runpy
import tensorflow as tf
cpu = tf.config.list_physical_devices("CPU")[0]
tf.config.set_logical_device_configuration(cpu, [tf.config.LogicalDeviceConfiguration()] * 2)
sys.argv = ["train.py", *sys.argv[1:]]
runpy.run_path({script!r}, run_name="__main__")
"""


def free_ports(count: int) -> list[int]:
    sockets = [socket.socket() for _ in range(count)]
    for s in sockets:
        s.bind(("127.0.0.1", 0))
    ports = [s.getsockname()[1] for s in sockets]
    for s in sockets:
        s.close()
    return ports


def start(run: Path, *settings: str, environment: dict[str, str] | None = None, logical: bool = False):
    script = ["-c", LOGICAL.format(script=str(PROJECT / "train.py"))] if logical else [str(PROJECT / "train.py")]
    arguments = [sys.executable, *script, f"run={run}", *SETTINGS, *settings]
    variables = {**os.environ, "CUDA_VISIBLE_DEVICES": "", **(environment or {})}
    if logical:
        variables["PYTHONPATH"] = str(PROJECT)
    return subprocess.Popen(
        arguments, env=variables, cwd=PROJECT, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    )


def start_workers(run: Path, *settings: str) -> list[subprocess.Popen]:
    addresses = [f"127.0.0.1:{port}" for port in free_ports(2)]
    configs = [{"cluster": {"worker": addresses}, "task": {"type": "worker", "index": i}} for i in range(2)]
    return [start(run, *settings, environment={"TF_CONFIG": json.dumps(config)}) for config in configs]


def wait_for(processes: list[subprocess.Popen], timeout: float = 600) -> list[str]:
    outputs = []
    for process in processes:
        output, _ = process.communicate(timeout=timeout)
        outputs.append(output)
    return outputs


def weights(run: Path) -> list[np.ndarray]:
    return load_model(run, 16).get_weights()


def assert_equal(one: list[np.ndarray], other: list[np.ndarray]) -> None:
    for a, b in zip(one, other, strict=True):
        np.testing.assert_allclose(a, b, rtol=0, atol=1e-5 * max(1.0, float(np.abs(a).max())))


@pytest.fixture(scope="module")
def pretrained(tmp_path_factory) -> str:
    """Return initial weights with useful batch-norm statistics; with the initial ones, frozen, activations vanish."""
    run = tmp_path_factory.mktemp("pretrained") / "run"
    settings = ("training.steps=40", "training.batch_norm=train", "training.learning_rate=0.02")
    process = start(run, *settings, "training.recalibration_batches=4")
    (output,) = wait_for([process])
    assert process.returncode == 0, output
    return f"pretrained={run}"


@pytest.fixture(scope="module")
def single(tmp_path_factory, pretrained) -> dict[str, list[np.ndarray]]:
    """Return the weights after 5 updates on one device, by the mode of batch norm."""
    folder = tmp_path_factory.mktemp("single")
    trained = {}
    before = weights(Path(pretrained.removeprefix("pretrained=")))
    for mode, settings in MODES.items():
        process = start(folder / mode, "training.steps=5", pretrained, *settings)
        (output,) = wait_for([process])
        assert process.returncode == 0, output
        trained[mode] = weights(folder / mode)
        moved = [float(np.abs(a - b).max()) for a, b in zip(before, trained[mode], strict=True)]
        assert max(moved) > 1e-3, "the weights have hardly changed"
    return trained


@pytest.mark.slow
@pytest.mark.parametrize("mode", MODES)
def test_two_workers_train_to_the_weights_of_one(mode, single, pretrained, tmp_path):
    processes = start_workers(tmp_path / "two", "training.steps=5", pretrained, *MODES[mode])
    outputs = wait_for(processes)
    assert [process.returncode for process in processes] == [0, 0], "\n".join(outputs)
    assert_equal(single[mode], weights(tmp_path / "two"))


@pytest.mark.slow
@pytest.mark.parametrize("mode", MODES)
def test_two_devices_train_to_the_weights_of_one(mode, single, pretrained, tmp_path):
    settings = ("training.steps=5", pretrained, *MODES[mode], "training.devices=mirrored")
    process = start(tmp_path / "two", *settings, logical=True)
    (output,) = wait_for([process])
    assert process.returncode == 0, output
    assert_equal(single[mode], weights(tmp_path / "two"))


@pytest.mark.slow
@pytest.mark.parametrize("loss", ["logits", "channel"])
def test_two_devices_distill_to_the_weights_of_one_device(loss, pretrained, tmp_path):
    teacher = f"training.distillation.teacher={pretrained.removeprefix('pretrained=')}"
    settings = ("training.steps=5", pretrained, teacher, f"training.distillation.loss={loss}", *MODES["frozen"])
    processes = [
        start(tmp_path / "one", *settings),
        start(tmp_path / "two", *settings, "training.devices=mirrored", logical=True),
    ]
    outputs = wait_for(processes)
    assert [process.returncode for process in processes] == [0, 0], "\n".join(outputs)
    assert_equal(weights(tmp_path / "one"), weights(tmp_path / "two"))


@pytest.mark.slow
def test_lost_worker_is_reported_and_the_training_resumes(tmp_path):
    run = tmp_path / "two"
    settings = ("training.steps=400", "training.save_every=2", *MODES["frozen"])
    processes = start_workers(run, *settings)
    begin = time.monotonic()
    while not list((run / "state").glob("step-*.npz")):
        assert time.monotonic() - begin < 400, "no checkpoint was saved"
        assert all(process.poll() is None for process in processes), "a worker ended early"
        time.sleep(0.1)
    processes[1].send_signal(signal.SIGKILL)
    first, _ = wait_for(processes, timeout=120)
    assert processes[0].returncode == 1
    lines = [line for line in first.splitlines() if line.startswith("error: ")]
    assert len(lines) == 1
    assert "another worker stopped answering" in lines[0]
    assert "Traceback" not in first
    steps = sorted(int(path.stem.removeprefix("step-")) for path in (run / "state").glob("step-*.npz"))
    again = start_workers(run, *settings)
    # Resumed until there is another checkpoint, not to the end.
    begin = time.monotonic()
    while not any(int(p.stem.removeprefix("step-")) > steps[-1] + 2 for p in (run / "state").glob("step-*.npz")):
        assert time.monotonic() - begin < 400, "no further checkpoint was saved"
        assert all(process.poll() is None for process in again), "a worker ended early"
        time.sleep(0.1)
    for process in again:
        process.terminate()
    first, _ = wait_for(again, timeout=120)
    assert f"resuming run={run} from step {steps[-1]}" in first


@pytest.mark.parametrize(
    "content",
    ["", "{", "{}", '{"cluster": {"worker": ["a:1"]}, "task": {"type": "worker", "index": 1}}',
     '{"cluster": {"worker": ["a:1"], "ps": ["b:1"]}, "task": {"type": "worker", "index": 0}}'],
)  # fmt: skip
def test_wrong_tf_config_is_refused(content, monkeypatch):
    monkeypatch.setenv("TF_CONFIG", content)
    with pytest.raises(UserError, match=r"TF_CONFIG: .* does not list workers .*set it to"):
        find_workers(TrainingConfig(devices="multi_worker"))


def test_batch_that_cannot_be_divided_among_the_parts_is_refused(monkeypatch):
    monkeypatch.setattr(Workers, "replicas", 4)
    with pytest.raises(UserError, match=r"batch_size: expected a multiple of 8 \(4 replicas x .*=2\), got 12"):
        check_batch_size(TrainingConfig(batch_size=12, accumulation=2), find_workers(TrainingConfig(devices="one")))


@pytest.mark.parametrize("index", [2, 2.0])
def test_workers_on_the_same_host_are_counted(index, monkeypatch):
    config = {"cluster": {"worker": ["a:1", "b:1", "a:2"]}, "task": {"type": "worker", "index": index}}
    monkeypatch.setenv("TF_CONFIG", json.dumps(config))
    monkeypatch.setattr("tensorflow.distribute.MultiWorkerMirroredStrategy", lambda **options: None)
    workers = find_workers(TrainingConfig(devices="multi_worker"))
    assert (workers.index, workers.count, workers.on_machine) == (2, 3, 2)


def test_each_worker_has_its_own_replicas():
    class Four:
        num_replicas_in_sync = 4

    assert list(Workers(Four(), 1, 2).replica_ids) == [2, 3]
    assert Workers(Four(), 0, 2).is_chief
    assert not Workers(Four(), 1, 2).is_chief
