"""Evaluation on all replicas of a tf.distribute strategy; needs TensorFlow."""

from collections.abc import Iterable, Iterator, Sequence
from itertools import islice
from typing import Any

import numpy as np

from deeplab.datasets.source import Example
from deeplab.evaluation.confusion import Scores
from deeplab.evaluation.evaluate import evaluate
from deeplab.evaluation.fitting import Fitted, Size, fit_picture, undo_scores
from deeplab.evaluation.predictor import GREY


def evaluate_on_replicas(
    model: Any,
    strategy: Any,
    examples: Iterable[Example],
    classes: Sequence[str],
    image_size: int | Size,
    *,
    trimaps: Sequence[int] = (),
    progress: str | None = None,
    total: int | None = None,
) -> Scores:
    """As `evaluate`, with as many pictures at a time as this process has replicas, one on each.

    The counts are whole numbers and every picture is a batch of its own, so the scores are those of one replica. More
    machines measure a share of the pictures each; their scores add up with `+`.

    Args:
        model: built under `strategy`; RGB float32 0..255 `[b, h, w, 3]` to logits `[b, h, w, classes]`.
        strategy: a tf.distribute strategy.
        examples: the labelled pictures.
        classes: names by id, background first.
        image_size: pictures are padded to this size; larger ones are not allowed.
        trimaps: as for `evaluate`.
        progress: as for `evaluate`.
        total: as for `evaluate`.

    Raises:
        UserError: as `evaluate`; a picture larger than `image_size`.
    """
    predicted: list[np.ndarray] = []

    def with_predictions() -> Iterator[Example]:
        for example, ids in _predicted(model, strategy, examples, image_size):
            predicted.append(ids)
            yield example

    # `evaluate` asks for the prediction of an example right after taking it.
    return evaluate(
        lambda _: predicted.pop(), with_predictions(), classes, trimaps=trimaps, progress=progress, total=total
    )


def _predicted(
    model: Any, strategy: Any, examples: Iterable[Example], image_size: int | Size
) -> Iterator[tuple[Example, np.ndarray]]:
    """Each example with its class ids `[h, w]`, in order."""
    import tensorflow as tf

    size = (image_size, image_size) if isinstance(image_size, int) else image_size
    replicas = len(strategy.extended.worker_devices) if strategy.num_replicas_in_sync > 1 else 1

    @tf.function
    def forward(images: Any) -> Any:
        return strategy.run(lambda image: model(image, training=False), args=(images,))

    waiting = iter(examples)
    while group := list(islice(waiting, replicas)):
        fitted = [fit_picture(example.image, size, "pad", GREY) for example in group]
        outputs = _on_replicas(strategy, forward, fitted)
        for example, each, output in zip(group, fitted, outputs, strict=False):
            yield example, np.argmax(undo_scores(output, each), axis=-1).astype(np.uint8)


def _on_replicas(strategy: Any, forward: Any, fitted: Sequence[Fitted]) -> list[np.ndarray]:
    """The logits `[h, w, classes]` of the replicas; the last group's idle ones repeat a picture."""
    import tensorflow as tf

    def of_replica(context: Any) -> Any:
        return tf.constant(fitted[context.replica_id_in_sync_group % len(fitted)].image[None], tf.float32)

    outputs = forward(strategy.experimental_distribute_values_from_function(of_replica))
    return [output[0].numpy() for output in strategy.experimental_local_results(outputs)]
