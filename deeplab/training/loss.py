"""The loss of DeepLab training, in keras.ops alone."""

from typing import Any

from keras import ops

from deeplab.datasets.source import IGNORE_LABEL


def cross_entropy(labels: Any, logits: Any) -> tuple[Any, Any]:
    """Softmax cross entropy summed over the pixels that count, and how many they are.

    The published loss divides the sum by the number of pixels whose label is not 255, of the whole batch
    (tensorflow/models research/deeplab, utils/train_utils.py). Sum and number come apart so that several replicas can
    add theirs up before they divide.

    Args:
        labels: `[b, h, w]` integers, class ids, 255 = ignore.
        logits: `[b, h, w, classes]`, already at the size of the labels.

    Returns:
        (sum, number), float32 scalars.
    """
    counts = labels != IGNORE_LABEL
    # An ignored pixel still needs some class within range; its share of the loss is thrown away.
    safe = ops.where(counts, labels, ops.zeros_like(labels))
    losses = ops.sparse_categorical_crossentropy(safe, ops.cast(logits, "float32"), from_logits=True)
    return ops.sum(ops.where(counts, losses, ops.zeros_like(losses))), ops.sum(ops.cast(counts, "float32"))


def weight_decay(kernels: list[Any], factor: float) -> Any:
    """`factor / 2` times the sum of squares of all `kernels`: slim's L2 regularisation, a float32 scalar."""
    return 0.5 * factor * sum((ops.sum(ops.square(ops.cast(k, "float32"))) for k in kernels), ops.zeros(()))
