"""Which devices and machines train together, and what they tell each other."""

import json
import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from deeplab.config import TrainingConfig
from deeplab.errors import UserError

PATIENCE = 3600.0
"""Seconds that a worker waits for the others, which may be measuring; one that dies is noticed at once."""


@dataclass(frozen=True, eq=False)
class Machines:
    """Who trains.

    Attributes:
        strategy: how variables and gradients are shared.
        worker: which of `workers` processes this is, from 0. The first alone reads and writes the run folder.
        workers: how many processes there are, one a machine.
    """

    strategy: tf.distribute.Strategy
    worker: int = 0
    workers: int = 1

    @property
    def first(self) -> bool:
        """Whether this process is the one with the run folder."""
        return self.worker == 0

    @property
    def replicas(self) -> int:
        """Copies of the network over all machines."""
        return int(self.strategy.num_replicas_in_sync)

    @property
    def mine(self) -> range:
        """Which of the replicas, counted over all machines, are on this one."""
        here = self.replicas // self.workers
        return range(self.worker * here, (self.worker + 1) * here)


def find_machines(config: TrainingConfig) -> Machines:
    """The devices that `config.devices` asks for. Has to come before anything else of TensorFlow.

    Raises:
        UserError: TF_CONFIG is missing or wrong, there is no TPU, or the batch cannot be shared out evenly.
    """
    kind = config.devices
    if kind == "auto":
        gpus = len(tf.config.list_physical_devices("GPU"))
        kind = "multi_worker" if "TF_CONFIG" in os.environ else "mirrored" if gpus > 1 else "one"
    if kind == "multi_worker":
        found = _several_machines()
    elif kind == "mirrored":
        here = tf.config.list_logical_devices("GPU") or tf.config.list_logical_devices("CPU")
        found = Machines(tf.distribute.MirroredStrategy([device.name for device in here]))
    else:
        found = Machines(tf.distribute.get_strategy())
    if config.batch_size % (found.replicas * config.accumulation):
        parts = f"{found.replicas} replicas" + f" of {config.accumulation} parts" * (config.accumulation > 1)
        raise UserError("training.batch_size", f"{config.batch_size} does not go into {parts}", "choose a multiple")
    return found


def from_first(machines: Machines, variables: Sequence[Any]) -> None:
    """Gives all machines the values that the first has: what it loaded, or was told by its run folder."""
    if machines.workers == 1:
        return

    tensors = [v.value if isinstance(v, keras.Variable) else v for v in variables]

    @tf.function(autograph=False)
    def exchanged() -> Any:
        def on_replica() -> list[tf.Tensor]:
            context = tf.distribute.get_replica_context()
            # All others add zeros. In float64, where any float32 and any seed is exact.
            share = tf.cast(tf.equal(context.replica_id_in_sync_group, 0), tf.float64)
            values = [share * tf.cast(v, tf.float64) for v in tensors]
            return list(context.all_reduce(tf.distribute.ReduceOp.SUM, values))

        return machines.strategy.run(on_replica)

    for variable, values in zip(variables, exchanged(), strict=True):
        value = machines.strategy.experimental_local_results(values)[0]
        variable.assign(tf.cast(value, variable.dtype))


@contextmanager
def lost_workers_told(machines: Machines) -> Iterator[None]:
    """Turns what TensorFlow raises when another machine is gone into one clear line.

    Raises:
        UserError: another worker stopped answering.
    """
    gone = (
        tf.errors.UnavailableError,
        tf.errors.AbortedError,
        tf.errors.DeadlineExceededError,
        tf.errors.CancelledError,
        tf.errors.InternalError,
        tf.errors.FailedPreconditionError,
    )
    try:
        yield
    except gone as error:
        if machines.workers == 1:
            raise
        reason = str(error.message).split("\n")[0][:160]
        raise UserError(
            f"worker {machines.worker} of {machines.workers}",
            f"another worker stopped answering ({reason})",
            "start all of them again: the training goes on from its last saved state",
        ) from error


def batches_of(
    machines: Machines, make: Callable[[int, range], tf.data.Dataset]
) -> tf.distribute.DistributedDataset | tf.data.Dataset:
    """The batches that this machine's replicas take.

    Args:
        machines: who trains.
        make: from how many pieces a batch has, and which of them are wanted, to the dataset of these pieces in turn.
    """
    return machines.strategy.distribute_datasets_from_function(lambda _: make(machines.replicas, machines.mine))


def _several_machines() -> Machines:
    """All the machines that TF_CONFIG names."""
    content = os.environ.get("TF_CONFIG", "")
    example = (
        """TF_CONFIG='{"cluster": {"worker": ["host1:2222", "host2:2222"]}, "task": {"type": "worker", "index": 0}}'"""
    )
    try:
        settings = json.loads(content)
        workers, task = settings["cluster"]["worker"], settings["task"]
        if set(settings["cluster"]) != {"worker"} or task["type"] != "worker" or not 0 <= task["index"] < len(workers):
            raise ValueError("only workers, and an index among them, are known")
    except (ValueError, KeyError, TypeError) as error:
        raise UserError("TF_CONFIG", f"{content!r} names no machines ({error})", f"set it to {example}, say") from None
    options = tf.distribute.experimental.CommunicationOptions(timeout_seconds=PATIENCE)
    try:
        strategy = tf.distribute.MultiWorkerMirroredStrategy(communication_options=options)
    except (RuntimeError, tf.errors.OpError) as error:
        reason = str(error).split("\n")[0][:160]
        raise UserError(
            "TF_CONFIG", f"the machines do not find each other ({reason})", "look at hosts and ports"
        ) from None
    return Machines(strategy, int(task["index"]), len(workers))


def as_variable(value: Any) -> tf.Variable:
    """A number that machines can tell each other."""
    return tf.Variable(np.asarray(value, np.float64), trainable=False)
