"""The rules of the plan that do not need the time of an update: each returns settings, and the reason for them.

The constants are the values to change after new measurements; docs/figures.md has the measurements.
"""

from collections.abc import Callable
from typing import Any

from deeplab.config import ModelConfig, TrainConfig, fixed_height_width
from deeplab.config.class_names import same_classes
from deeplab.config.model import SINGLE_CLASSIFIER_HEADS
from deeplab.datasets.voc import CLASSES
from deeplab.plan.facts import Facts
from deeplab.pretrained.keras_applications import has_imagenet_weights

Decision = tuple[dict[str, Any], str]
"""Values by setting ("training.steps"), and the reason for them."""

Rule = Callable[[Facts, TrainConfig], Decision]
"""From the facts, and a config with the settings given or decided before, to a decision; {} decides nothing."""

LARGE_SIDE = 1026
"""Longer side in pixels above which images are scaled down, for training as for the app: twice 513."""

IMAGE_SIZES = ((513, 513, 353, 257), (513, 513, 353, 257))
CROP_SIZES = ((513, 513, 353, 257), (353, 353, 257, 257))
"""Sides in pixels of scaled images and largest crops: on a GPU and on a CPU, by economy."""

ECONOMIES = 4
"""Number of recipes, from the best to the cheapest (`Facts.economy`)."""

DECODER_COST, SMALL_COST = 1.65, 0.5
"""Time of an update with the decoder, and with the official weights of depth multiplier 0.5, as factors.

From the CPU times in docs/figures.md: 1.29 against 0.79 s with crops of 353, and 0.28 against 0.50 s with crops of 241.
"""

CROP_PADDING = 8
"""Number of pixels by which a crop may exceed the shorter side of the images."""

BATCH_SIZES = {True: 16, False: 4}
"""Images per update on a GPU and on a CPU."""

BYTES_PER_PIXEL, BASE_BYTES, MEMORY_SHARE = 2000, 1.5e9, 0.7
"""Memory of a training of MobileNetV2: per pixel of a batch, without images, and the share of the machine to use.

`python -m benchmarks.training_speed` measured 2.6 GB for 4 images of 513 pixels.
"""

NEW_RATE, DISTANT_RATE, FITTED_RATE, KEPT_RATE, WEIGHT_DECAY = 1e-3, 3e-4, 1e-4, 5e-6, 0.01
"""Learning rates of AdamW and its weight decay.

The rates are for random layers; for a fitted classifier where the classes of the weights explain little of the labels,
and where they explain much; and for a trained classifier.
"""

MIN_EXPLAINED = 0.3
"""Value of `Facts.explained` below which the classes of the weights explain little of the labels."""

SGD_LEARNING_RATE, KEPT_SGD_RATE = 0.007, 2e-5
BATCH_NORM_MOMENTUM = 0.95

LINEAR_PROBE_IMAGES = 500
"""Largest number of images that the classifier is fitted to."""

SCALES = (0.75, 1.5)
"""Smallest and largest scale factor of the augmentation."""

RARE_SHARE, RARE_CROPS = 0.02, 0.5
"""Share of the labeled pixels below which a class is rare, and the share of crops that are centered on rare classes."""

OFFICIAL, OFFICIAL_SMALL = "official", "official_050"
"""Published weights of depth multiplier 1.0 and 0.5."""

_NETWORK_KEYS = ("backbone", "round_channels", "reduced_tail")
"""Keys of `model` that no published weights fit if they are changed."""

_ASPP_KEYS = ("aspp_rates", "aspp_channels", "aspp_separable", "image_pooling")
"""Keys of `model` that change the layers between the backbone and the classifier."""

_DECODER_KEYS = ("low_level_channels", "decoder_channels", "decoder_separable")
"""Keys of `model` that only the decoder of v3+ has."""


def resize(facts: Facts, config: TrainConfig) -> Decision:
    """Scale large photos as the app does; smaller images keep their pixels."""
    height, width = facts.train.height_width
    seen = f"images of {width}x{height} pixels"
    for key in ("min_resize_value", "eval_size"):
        if getattr(config.data, key) is not None:
            return {"data.resize": "none"}, f"data.{key} is given, which decides the scale of the evaluation"
    if facts.longer_side <= LARGE_SIDE:
        return {"data.resize": "none"}, f"{seen} need no scaling"
    if (given := fixed_height_width(config.image_size)) is not None:
        if height <= given[0] and width <= given[1]:
            return {"data.resize": "none"}, f"{seen} are padded to image_size, which is given"
        reason = f"{seen} are scaled to fit into image_size, which is given"
        return {"data.resize": "letterbox", "data.image_size": config.image_size}, reason
    side = IMAGE_SIZES[not facts.has_gpu][facts.economy]
    reason = f"{seen} are scaled to fit into {side} pixels, as an app shows them to the model"
    return {"data.resize": "letterbox", "data.image_size": side}, reason


def fitting_weights(config: TrainConfig) -> tuple[str, ...]:
    """Return the names of the official weights that fit the network as far as it was given by hand, best first."""
    if not isinstance(config.model, dict) or any(key in config.model for key in _NETWORK_KEYS):
        return ()
    names = {1.0: (OFFICIAL,), 0.5: (OFFICIAL_SMALL,), None: (OFFICIAL, OFFICIAL_SMALL)}
    return names.get(config.model.get("depth_multiplier"), ())


def weights(facts: Facts, config: TrainConfig) -> Decision:
    """Start from the official weights if the network allows it, else from ImageNet weights, else from random ones."""
    names = fitting_weights(config)
    if not names:
        if has_imagenet_weights(config.network):
            return {"pretrained": "imagenet"}, f"weights of {config.network.backbone} for a network given by hand"
        return {"pretrained": None}, "random weights: no published weights fit the network given by hand"
    name = names[-1] if facts.economy > 2 else names[0]
    missing = facts.missing_weights if name == OFFICIAL else facts.missing_small_weights
    if missing and name != names[0] and not facts.missing_weights:
        return {"pretrained": names[0]}, f"the smaller network would leave more updates, but is missing: {missing}"
    if missing:
        values: dict[str, Any] = {"pretrained": None}
        if config.network.head not in ("v1", "v2"):
            # No ASPP branches, as in the official networks: they are slow, and random weights need more updates.
            values["model.aspp_rates"] = []
        return values, f"random weights: {missing}"
    if name != names[0]:
        return {"pretrained": name}, "the smaller of the official networks, for more updates in the time"
    return {"pretrained": name}, "trained on COCO and VOC; a new classifier replaces the last layer"


def head(facts: Facts, config: TrainConfig) -> Decision:
    """Add the decoder of DeepLabv3+, which sharpens borders and small objects, if there is time for enough updates."""
    if isinstance(config.model, ModelConfig):
        return {}, ""
    if any(key in config.model for key in _DECODER_KEYS):
        return {"model.head": "v3plus"}, "the decoder is described by hand"
    if facts.economy:
        return {"model.head": "v3"}, "no decoder: it would cost more updates than it gains in this time"
    return {"model.head": "v3plus"}, "its decoder sharpens borders and small objects"


def output_strides(facts: Facts, config: TrainConfig) -> Decision:
    """Train and evaluate at output stride 16; evaluate.py measures others from the same weights."""
    values = {"training.output_stride": 16, "output_stride": [16]}
    return values, "8 takes 2 to 3 times as long; evaluate.py measures it from the same weights"


def crop_size(facts: Facts, config: TrainConfig) -> Decision:
    """Take nearly the whole image, up to a largest crop."""
    if config.data.image_size is not None:
        return {"training.crop_size": config.data.image_size}, "the size that images are scaled to"
    largest = CROP_SIZES[not facts.has_gpu][facts.economy]
    side = max(min((facts.shorter_side + CROP_PADDING - 1) // 32 * 32 + 1, largest), 33)
    if side == largest:
        reason = f"the largest crop of a plan on a {_device(facts)}"
        if largest < CROP_SIZES[not facts.has_gpu][0]:
            reason = "a smaller crop, for more updates in the time"
        return {"training.crop_size": side}, reason
    return {"training.crop_size": side}, f"about the shorter side of the images, {facts.shorter_side} pixels"


def batch_size(facts: Facts, config: TrainConfig) -> Decision:
    """Take a usual batch, or what fits into the memory."""
    # Each replica takes an equal share of each accumulated part.
    unit = facts.replicas * config.training.accumulation
    size = -(-BATCH_SIZES[facts.has_gpu] // unit) * unit
    reason = f"usual on a {_device(facts)}: more updates instead of larger batches"
    height, width = config.training.crop
    bound = size
    if facts.memory is not None and not facts.has_gpu:
        bound = int((MEMORY_SHARE * facts.memory - BASE_BYTES) / (BYTES_PER_PIXEL * height * width))
    while size > 2 * unit and size > bound:
        size = size // 2 // unit * unit
        reason = f"what fits into {(facts.memory or 0) / 2**30:.1f} GiB of memory"
    return {"training.batch_size": size}, reason


def has_trained_features(facts: Facts, config: TrainConfig) -> bool:
    """Return whether all layers before the classifier have trained weights; a new decoder starts as the identity."""
    head = "v3" if config.pretrained in (OFFICIAL, OFFICIAL_SMALL) else facts.given_head
    if head not in SINGLE_CLASSIFIER_HEADS or config.network.head not in SINGLE_CLASSIFIER_HEADS:
        return False
    changed = ("backbone", *_ASPP_KEYS, *_DECODER_KEYS)
    return isinstance(config.model, dict) and not any(key in config.model for key in changed)


def has_trained_classifier(facts: Facts, config: TrainConfig) -> bool:
    """Return whether the classifier has trained weights too, because its classes are those of the data."""
    classes = CLASSES if config.pretrained in (OFFICIAL, OFFICIAL_SMALL) else facts.given_classes
    return has_trained_features(facts, config) and same_classes(classes, facts.classes)


def linear_probe(facts: Facts, config: TrainConfig) -> Decision:
    """Fit a new classifier to the pretrained features before the first update."""
    images = 0
    if not has_trained_features(facts, config):
        reason = "not all layers before the classifier are trained"
    elif has_trained_classifier(facts, config):
        reason = "the pretrained classifier has the classes of the data"
    elif config.training.optimizer == "sgd":
        reason = "measured with AdamW only"
    else:
        images, reason = min(facts.train_images, LINEAR_PROBE_IMAGES), "fits the new classifier to pretrained features"
    return {"training.linear_probe_images": images}, reason


def fine_tunes(facts: Facts, config: TrainConfig) -> bool:
    """Return whether a classifier that suits the features is trained further, so that updates should be small."""
    fitted = config.training.linear_probe_images > 0 and has_trained_features(facts, config)
    return fitted or has_trained_classifier(facts, config)


def batch_norm(facts: Facts, config: TrainConfig) -> Decision:
    """Keep the statistics that the classifier suits; else train batch norm."""
    if fine_tunes(facts, config):
        return {"training.batch_norm": "frozen_statistics"}, "keeps the statistics that suit the classifier"
    mode = "sync" if facts.replicas > 1 else "train"
    return {"training.batch_norm": mode}, "adapts the statistics to the new images"


def batch_norm_momentum(facts: Facts, config: TrainConfig) -> Decision:
    """Take a momentum that suits short trainings, unless the statistics are frozen."""
    given = isinstance(config.model, ModelConfig) and config.model.batch_norm_momentum is not None
    if given or config.training.freezes_statistics:
        return {}, "not needed"
    reason = "the published momentum needs tens of thousands of updates"
    return {"model.batch_norm_momentum": BATCH_NORM_MOMENTUM}, reason


def optimizer(facts: Facts, config: TrainConfig) -> Decision:
    """Take AdamW, which learns new classes in few updates."""
    return {"training.optimizer": "adamw"}, "learns new classes in fewer updates than SGD"


def needs_explained(facts: Facts, config: TrainConfig) -> bool:
    """Return whether the learning rate depends on `Facts.explained`: with AdamW and a fitted classifier."""
    fits = fine_tunes(facts, config) and not has_trained_classifier(facts, config)
    return fits and config.training.freezes_statistics and config.training.optimizer == "adamw"


def learning_rate(facts: Facts, config: TrainConfig) -> Decision:
    """Take the learning rate and the weight decay of the optimizer."""
    continues = fine_tunes(facts, config) and config.training.freezes_statistics
    kept = continues and has_trained_classifier(facts, config)
    if config.training.optimizer == "sgd":
        rate, reason = SGD_LEARNING_RATE, "the published value of SGD"
        if kept:
            rate, reason = KEPT_SGD_RATE, "that of experiment=voc_finetune, for a trained classifier"
        return {"training.learning_rate": rate, "training.learning_policy": "poly"}, reason
    rate, reason = NEW_RATE, "measured for AdamW and random layers"
    if kept:
        rate, reason = KEPT_RATE, "measured for AdamW and a trained classifier"
    elif continues:
        distant = facts.explained is not None and facts.explained < MIN_EXPLAINED
        rate, reason = DISTANT_RATE if distant else FITTED_RATE, "measured for AdamW and a fitted classifier"
        if facts.explained is not None:
            reason += f" where the classes of the weights explain {'little' if distant else 'much'} of the labels"
            reason += f" (here {facts.explained:.0%} of their entropy)"
    values = {"training.learning_rate": rate, "training.weight_decay": WEIGHT_DECAY, "training.learning_policy": "poly"}
    return values, f"{reason}; it decreases to 0 by the poly rule"


def scales(facts: Facts, config: TrainConfig) -> Decision:
    """Vary the scale less than the published recipe, which has many more updates."""
    values = dict(zip(("training.augment.min_scale", "training.augment.max_scale"), SCALES, strict=True))
    reason = "measured for short trainings; the published 0.5 to 2 is for 30,000 updates"
    return values | {"training.augment.scale_step": 0.0}, reason


def rare_classes(facts: Facts, config: TrainConfig) -> Decision:
    """Show rare classes more often instead of weighting them, which costs precision."""
    rare = [i for i, pixels in enumerate(facts.train.pixels) if pixels and facts.share(i) < RARE_SHARE]
    if not rare or config.training.class_weights is not None:
        reason = f"no class has less than {RARE_SHARE:.0%} of the pixels" if not rare else "class weights are given"
        return {"training.augment.rare_crops": 0.0, "training.augment.rare_classes": []}, reason
    names = ", ".join(facts.classes[i] for i in rare[:5]) + ", ..." * (len(rare) > 5)
    values = {"training.augment.rare_crops": RARE_CROPS, "training.augment.rare_classes": rare}
    return values, f"classes with less than {RARE_SHARE:.0%} of the pixels: {names}"


def relative_cost(config: TrainConfig) -> float:
    """Return the relative time of an update; only the crop, the decoder and the smaller network count."""
    height, width = config.training.crop
    cost = float(height * width)
    cost *= DECODER_COST if config.network.head == "v3plus" else 1.0
    return cost * (SMALL_COST if config.pretrained == OFFICIAL_SMALL else 1.0)


def _device(facts: Facts) -> str:
    return "GPU" if facts.has_gpu else "CPU"


RULES: tuple[Rule, ...] = (
    resize,
    weights,
    head,
    output_strides,
    crop_size,
    batch_size,
    optimizer,
    linear_probe,
    batch_norm,
    batch_norm_momentum,
    learning_rate,
    scales,
    rare_classes,
)
"""The rules in the order in which they decide."""
