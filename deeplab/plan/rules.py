"""The rules of the plan that do not need the time of an update: each returns settings, and the reason for them.

The constants are the values to change after new measurements; docs/figures.md has the measurements.
"""

from collections.abc import Callable
from typing import Any

from deeplab.config import ModelConfig, TrainConfig, fixed_height_width
from deeplab.plan.facts import Decision, Facts
from deeplab.plan.fine_tuning import (
    DECODER_KEYS,
    OFFICIAL,
    OFFICIAL_SMALL,
    batch_norm,
    batch_norm_momentum,
    learning_rate,
    linear_probe,
    optimizer,
)
from deeplab.pretrained.keras_applications import has_imagenet_weights

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

SCALES = (0.75, 1.5)
"""Smallest and largest scale factor of the augmentation."""

RARE_SHARE, RARE_CROPS = 0.02, 0.5
"""Share of the labeled pixels below which a class is rare, and the share of crops that are centered on rare classes."""

_NETWORK_KEYS = ("backbone", "round_channels", "reduced_tail")
"""Keys of `model` that no published weights fit if they are changed."""


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
    if any(key in config.model for key in DECODER_KEYS):
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
