"""The rules of the plan that follow from the pretrained weights: classifier, batch norm, optimizer, learning rate.

The constants are the values to change after new measurements; docs/figures.md has the measurements.
"""

from deeplab.config import ModelConfig, TrainConfig
from deeplab.config.class_names import same_classes
from deeplab.config.model import SINGLE_CLASSIFIER_HEADS
from deeplab.datasets.voc import CLASSES
from deeplab.plan.facts import Decision, Facts

OFFICIAL, OFFICIAL_SMALL = "official", "official_050"
"""Published weights of depth multiplier 1.0 and 0.5."""

NEW_RATE, UNEXPLAINED_RATE, FITTED_RATE, KEPT_RATE, WEIGHT_DECAY = 1e-3, 3e-4, 1e-4, 5e-6, 0.01
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

_ASPP_KEYS = ("aspp_rates", "aspp_channels", "aspp_separable", "image_pooling")
"""Keys of `model` that change the layers between the backbone and the classifier."""

DECODER_KEYS = ("low_level_channels", "decoder_channels", "decoder_separable")
"""Keys of `model` that only the decoder of v3+ has."""


def has_trained_features(facts: Facts, config: TrainConfig) -> bool:
    """Return whether all layers before the classifier have trained weights; a new decoder starts as the identity."""
    head = "v3" if config.pretrained in (OFFICIAL, OFFICIAL_SMALL) else facts.given_head
    if head not in SINGLE_CLASSIFIER_HEADS or config.network.head not in SINGLE_CLASSIFIER_HEADS:
        return False
    changed = ("backbone", *_ASPP_KEYS, *DECODER_KEYS)
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
        unexplained = facts.explained is not None and facts.explained < MIN_EXPLAINED
        rate, reason = UNEXPLAINED_RATE if unexplained else FITTED_RATE, "measured for AdamW and a fitted classifier"
        if facts.explained is not None:
            reason += f" where the classes of the weights explain {'little' if unexplained else 'much'} of the labels"
            reason += f" (here {facts.explained:.0%} of their entropy)"
    values = {"training.learning_rate": rate, "training.weight_decay": WEIGHT_DECAY, "training.learning_policy": "poly"}
    return values, f"{reason}; it decreases to 0 by the poly rule"
