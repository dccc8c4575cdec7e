"""Devices and workers that train together, in the terms of tf.distribute.

A worker is one process, usually on a separate machine; worker 0 is the chief. A replica is the copy of the network on
one device.
"""

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

TIMEOUT = 3600.0
"""Seconds that a worker waits for another one, for example for the chief's evaluation. A dead one is detected at once.
"""

LOST_WORKER_ERRORS = (
    tf.errors.UnavailableError,
    tf.errors.AbortedError,
    tf.errors.DeadlineExceededError,
    tf.errors.CancelledError,
    tf.errors.InternalError,
    tf.errors.FailedPreconditionError,
)
"""What TensorFlow raises when another worker no longer answers."""


@dataclass(frozen=True, eq=False)
class Workers:
    """All workers of a training, as seen by one of them.

    Attributes:
        strategy: shares variables and gradients between the replicas.
        index: index of this worker, from 0.
        count: number of workers.
        on_machine: number of workers on the machine of this one, by their host names in TF_CONFIG.
    """

    strategy: tf.distribute.Strategy
    index: int = 0
    count: int = 1
    on_machine: int = 1

    @property
    def is_chief(self) -> bool:
        """Whether this is the chief, the only worker that reads and writes the run folder."""
        return self.index == 0

    @property
    def replicas(self) -> int:
        """The number of replicas on all workers."""
        return int(self.strategy.num_replicas_in_sync)

    @property
    def replica_ids(self) -> range:
        """The ids of the replicas on this worker, counted over all workers."""
        local = self.replicas // self.count
        return range(self.index * local, (self.index + 1) * local)


def find_workers(config: TrainingConfig) -> Workers:
    """Set up the devices that `config.devices` selects. Must be called before TensorFlow creates anything.

    Raises:
        UserError: TF_CONFIG is missing or wrong.
    """
    kind = config.devices
    if kind == "auto":
        gpus = len(tf.config.list_physical_devices("GPU"))
        kind = "multi_worker" if "TF_CONFIG" in os.environ else "mirrored" if gpus > 1 else "one"
    if kind == "multi_worker":
        return _multi_worker()
    if kind == "mirrored":
        devices = tf.config.list_logical_devices("GPU") or tf.config.list_logical_devices("CPU")
        return Workers(tf.distribute.MirroredStrategy([device.name for device in devices]))
    return Workers(tf.distribute.get_strategy())


def check_batch_size(config: TrainingConfig, workers: Workers) -> None:
    """Raise UserError unless the batch can be divided evenly among the replicas and the accumulated parts."""
    divisor = workers.replicas * config.accumulation
    if config.batch_size % divisor:
        product = f"{workers.replicas} replicas x training.accumulation={config.accumulation}"
        problem = f"expected a multiple of {divisor} ({product}), got {config.batch_size}"
        raise UserError("training.batch_size", problem, "change it, or the number of devices")


def broadcast_from_chief(workers: Workers, variables: Sequence[Any]) -> None:
    """Assign the chief's values of `variables` on all workers. Every worker must call this."""
    if workers.count == 1:
        return
    tensors = [v.value if isinstance(v, keras.Variable) else v for v in variables]

    @tf.function(autograph=False)
    def exchange() -> Any:
        def on_replica() -> list[tf.Tensor]:
            context = tf.distribute.get_replica_context()
            # All other replicas add zeros. float64 represents every float32 and every seed exactly.
            factor = tf.cast(tf.equal(context.replica_id_in_sync_group, 0), tf.float64)
            values = [factor * tf.cast(v, tf.float64) for v in tensors]
            return list(context.all_reduce(tf.distribute.ReduceOp.SUM, values))

        return workers.strategy.run(on_replica)

    for variable, values in zip(variables, exchange(), strict=True):
        value = workers.strategy.experimental_local_results(values)[0]
        variable.assign(tf.cast(value, variable.dtype))


def broadcast_value(workers: Workers, value: Any) -> np.ndarray:
    """Return the chief's `value`, a number or an array of a known shape, as float64. Every worker must call this."""
    variable = tf.Variable(np.asarray(value, np.float64), trainable=False)
    broadcast_from_chief(workers, [variable])
    return np.asarray(variable.numpy())


@contextmanager
def report_lost_workers(workers: Workers) -> Iterator[None]:
    """Report the errors that TensorFlow raises after another worker was lost as one line.

    Raises:
        UserError: another worker no longer answers.
    """
    try:
        yield
    except LOST_WORKER_ERRORS as error:
        if workers.count == 1:
            raise
        reason = str(error.message).split("\n")[0][:160]
        raise UserError(
            f"worker {workers.index} of {workers.count}",
            f"another worker stopped answering ({reason})",
            "start all of them again: the training resumes from its last checkpoint",
        ) from error


def distribute_batches(
    workers: Workers, make: Callable[[int, range], tf.data.Dataset]
) -> tf.distribute.DistributedDataset | tf.data.Dataset:
    """Return the batches for the replicas of this worker.

    Args:
        workers: all workers.
        make: from the number of replicas that share a batch and the ids of the local ones to a dataset of the local
            replicas' parts, one after the other.
    """
    return workers.strategy.distribute_datasets_from_function(lambda _: make(workers.replicas, workers.replica_ids))


def _multi_worker() -> Workers:
    """Connect to all workers that TF_CONFIG lists."""
    content = os.environ.get("TF_CONFIG", "")
    example = '{"cluster": {"worker": ["host1:2222", "host2:2222"]}, "task": {"type": "worker", "index": 0}}'
    try:
        settings = json.loads(content)
        addresses, task = settings["cluster"]["worker"], settings["task"]
        if set(settings["cluster"]) != {"worker"} or task["type"] != "worker":
            raise ValueError("tasks other than workers are not supported")
        if not 0 <= task["index"] < len(addresses):
            raise ValueError(f"task index {task['index']}, but {len(addresses)} workers")
    except (ValueError, KeyError, TypeError) as error:
        problem = f"{content!r} does not list workers ({error})"
        raise UserError("TF_CONFIG", problem, f"set it to TF_CONFIG='{example}'") from None
    options = tf.distribute.experimental.CommunicationOptions(timeout_seconds=TIMEOUT)
    try:
        strategy = tf.distribute.MultiWorkerMirroredStrategy(communication_options=options)
    except (RuntimeError, tf.errors.OpError) as error:
        reason = str(error).split("\n")[0][:160]
        raise UserError("TF_CONFIG", f"the workers cannot connect ({reason})", "check hosts and ports") from None
    hosts, index = [str(address).rpartition(":")[0] for address in addresses], int(task["index"])
    return Workers(strategy, index, len(addresses), hosts.count(hosts[index]))
