"""The loss of DeepLab training, in keras.ops alone."""

from collections.abc import Sequence
from typing import Any

from keras import ops

from deeplab.datasets.source import IGNORE_LABEL


def cross_entropy(
    labels: Any,
    logits: Any,
    class_weights: Sequence[float] | None = None,
    label_smoothing: float = 0.0,
    kept: Any = None,
) -> tuple[Any, Any]:
    """Softmax cross entropy summed over the pixels that count, and how many they are.

    The published loss divides the sum by the number of pixels whose label is not 255, of the whole batch, also where
    classes are weighted; with hard-pixel mining it divides by the number of those kept whose loss is not zero
    (tensorflow/models research/deeplab, utils/train_utils.py). Sum and number come apart so that several replicas can
    add theirs up before they divide.

    Args:
        labels: `[b, h, w]` integers, class ids, 255 = ignore.
        logits: `[b, h, w, classes]`, already at the size of the labels.
        class_weights: factor on the loss of each class.
        label_smoothing: share of each label that is spread evenly over all classes (arXiv:1512.00567, sec. 7).
        kept: share of all pixels, ignored ones included, that is kept, those of the highest loss; None keeps all.

    Returns:
        (sum, number), float32 scalars.
    """
    counts = labels != IGNORE_LABEL
    # An ignored pixel still needs some class within range; its share of the loss is thrown away.
    safe = ops.where(counts, labels, ops.zeros_like(labels))
    logits = ops.cast(logits, "float32")
    losses = ops.sparse_categorical_crossentropy(safe, logits, from_logits=True)
    if label_smoothing:
        spread = ops.logsumexp(logits, axis=-1) - ops.mean(logits, axis=-1)
        losses = (1 - label_smoothing) * losses + label_smoothing * spread
    if class_weights is not None:
        losses = losses * ops.take(ops.convert_to_tensor(class_weights, "float32"), safe)
    losses = ops.where(counts, losses, ops.zeros_like(losses))
    if kept is None:
        return ops.sum(losses), ops.sum(ops.cast(counts, "float32"))
    return _hardest(losses, kept)


def mining_share(step: Any, top: float, steps: int) -> Any:
    """The share of pixels that hard-pixel mining keeps at update `step`: from 1 straight to `top` over `steps` updates.

    As in tensorflow/models research/deeplab, utils/train_utils.py; a float32 scalar.
    """
    ratio = ops.minimum(ops.cast(step, "float32") / max(steps, 1), 1.0) if steps else 1.0
    return ratio * top + (1.0 - ratio)


def weight_decay(kernels: list[Any], factor: float) -> Any:
    """`factor / 2` times the sum of squares of all `kernels`: slim's L2 regularization, a float32 scalar."""
    return 0.5 * factor * sum((ops.sum(ops.square(ops.cast(k, "float32"))) for k in kernels), ops.zeros(()))


def _hardest(losses: Any, kept: Any) -> tuple[Any, Any]:
    """Sum and number of the highest losses, a share of `kept` of all, leaving out zeros."""
    flat = ops.reshape(losses, (-1,))
    total = flat.shape[0] or ops.shape(flat)[0]
    number = ops.cast(ops.floor(kept * ops.cast(total, "float32")), "int32")
    # Sorted whole and cut by a mask: the number may be known only when the graph runs, which top-k does not take.
    hardest = ops.flip(ops.sort(flat))
    hardest = ops.where(ops.arange(total) < number, hardest, ops.zeros_like(hardest))
    return ops.sum(hardest), ops.sum(ops.cast(hardest > 0, "float32"))
