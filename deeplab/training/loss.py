"""The loss of DeepLab training, in keras.ops."""

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
    """Compute the softmax cross entropy summed over pixels, and the number of pixels to divide it by.

    The published loss divides the sum over a batch by its number of pixels whose label is not 255, also with class
    weights. With hard-pixel mining it divides by the number of kept pixels whose loss is not zero (tensorflow/models
    research/deeplab, utils/train_utils.py). The sum and the number are separate so that replicas can add up theirs
    before the division.

    Args:
        labels: class ids `[b, h, w]`, integers; 255 is ignored.
        logits: `[b, h, w, classes]`, at the size of the labels.
        class_weights: factor on the loss of each class.
        label_smoothing: fraction of each label that is spread evenly over all classes (arXiv:1512.00567, sec. 7).
        kept: fraction of all pixels, including ignored ones, that is kept, those with the highest loss; None keeps all.

    Returns:
        (sum, number), float32 scalars.
    """
    valid = labels != IGNORE_LABEL
    # The ids of ignored pixels are replaced by 0 because they must be within range; their loss is dropped below.
    safe = ops.where(valid, labels, ops.zeros_like(labels))
    logits = ops.cast(logits, "float32")
    losses = ops.sparse_categorical_crossentropy(safe, logits, from_logits=True)
    if label_smoothing:
        uniform = ops.logsumexp(logits, axis=-1) - ops.mean(logits, axis=-1)
        losses = (1 - label_smoothing) * losses + label_smoothing * uniform
    if class_weights is not None:
        losses = losses * ops.take(ops.convert_to_tensor(class_weights, "float32"), safe)
    losses = ops.where(valid, losses, ops.zeros_like(losses))
    if kept is None:
        return ops.sum(losses), ops.sum(ops.cast(valid, "float32"))
    return _sum_hardest(losses, kept)


def logit_distillation(student: Any, teacher: Any, counted: Any, temperature: float) -> Any:
    """Compute the divergence KL(teacher || student) of the softened class probabilities, summed over pixels.

    It is multiplied by the squared temperature, so that its gradients have the size of those of the cross entropy
    (Hinton et al., arXiv:1503.02531, sec. 2).

    Args:
        student: logits `[b, h, w, classes]`.
        teacher: logits of the same shape.
        counted: the pixels to sum over, `[b, h, w]` bool.
        temperature: divisor of the logits of both networks.

    Returns:
        A float32 scalar.
    """
    expected, actual = (ops.log_softmax(ops.cast(x, "float32") / temperature) for x in (teacher, student))
    divergence = ops.sum(ops.exp(expected) * (expected - actual), axis=-1)
    return temperature**2 * ops.sum(ops.where(counted, divergence, ops.zeros_like(divergence)))


def channel_distillation(student: Any, teacher: Any, counted: Any, temperature: float) -> Any:
    """Compute the divergence KL(teacher || student) of the distribution of each class over pixels, summed over images.

    A softmax over the counted pixels of an image makes each channel of logits a distribution; the divergence is
    averaged over the channels and multiplied by the squared temperature (arXiv:2011.13256, sec. 3.2, eq. 6).

    Args:
        student: logits `[b, h, w, classes]`.
        teacher: logits of the same shape.
        counted: the pixels of the distributions, `[b, h, w]` bool; an image without any adds 0.
        temperature: divisor of the logits of both networks.

    Returns:
        A float32 scalar.
    """

    def log_distribution(logits: Any) -> Any:
        logits = ops.cast(logits, "float32") / temperature
        # Far below every logit: the exponential is exactly 0.
        logits = ops.where(counted[..., None], logits, ops.full_like(logits, -1e9))
        return ops.log_softmax(ops.reshape(logits, (ops.shape(logits)[0], -1, logits.shape[-1])), axis=1)

    expected, actual = log_distribution(teacher), log_distribution(student)
    return temperature**2 / student.shape[-1] * ops.sum(ops.exp(expected) * (expected - actual))


def mining_share(step: Any, top: float, steps: int) -> Any:
    """Return the fraction of pixels that hard-pixel mining keeps at update `step`, a float32 scalar.

    It decreases linearly from 1 to `top` over `steps` updates (tensorflow/models research/deeplab,
    utils/train_utils.py).
    """
    ratio = ops.minimum(ops.cast(step, "float32") / max(steps, 1), 1.0) if steps else 1.0
    return ratio * top + (1.0 - ratio)


def weight_decay(kernels: list[Any], factor: float) -> Any:
    """Return `factor / 2` times the sum of squares of all `kernels`, slim's L2 regularization, a float32 scalar."""
    return 0.5 * factor * sum((ops.sum(ops.square(ops.cast(k, "float32"))) for k in kernels), ops.zeros(()))


def _sum_hardest(losses: Any, kept: Any) -> tuple[Any, Any]:
    """Return the sum of the highest losses, a fraction `kept` of all, and the number of nonzero ones among them."""
    flat = ops.reshape(losses, (-1,))
    total = flat.shape[0] or ops.shape(flat)[0]
    number = ops.cast(ops.floor(kept * ops.cast(total, "float32")), "int32")
    # Sorted and masked, because top_k does not accept a number that is known only when the graph runs.
    hardest = ops.flip(ops.sort(flat))
    hardest = ops.where(ops.arange(total) < number, hardest, ops.zeros_like(hardest))
    return ops.sum(hardest), ops.sum(ops.cast(hardest > 0, "float32"))
