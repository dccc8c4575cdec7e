"""The rules that follow from the pretrained weights, on statistics made by hand."""

import dataclasses
from typing import Any

import pytest

from deeplab.config import TrainConfig, with_values
from deeplab.datasets.voc import CLASSES
from deeplab.plan import fine_tuning
from deeplab.plan.facts import Facts
from tests.plan.test_rules import config, facts

OTHER_DECODER = {"head": "v3plus", "decoder_channels": 128}


@pytest.mark.parametrize(
    ("pretrained", "given_head", "model", "trained"),
    [
        ("official", None, {}, True),
        ("official_050", None, {"head": "v3plus"}, True),
        ("file.tflite", "v3", {}, True),
        ("run", "v3plus", {"head": "v3"}, True),
        # All of ASPP is random after ImageNet, after another head, or if a setting by hand changes it.
        ("imagenet", None, {}, False),
        ("mobilenet.h5", None, {}, False),
        ("run", "lraspp", {"head": "v3"}, False),
        ("run", "lraspp", {"head": "lraspp", "aspp_rates": []}, False),
        ("official", None, {"aspp_rates": [6, 12, 18]}, False),
        ("official", None, {"aspp_channels": 128}, False),
        ("official", None, {"backbone": "mobilenet_v2"}, False),
        # A new decoder is the identity only with the channels of ASPP.
        ("official", None, OTHER_DECODER, False),
        (None, None, {}, False),
    ],
)
def test_trained_features_are_kept_and_others_are_trained_anew(pretrained, given_head, model, trained):
    known = facts(given_head=given_head, given_classes=("x", "y"))
    decided = plan_of_weights(known, config(pretrained=pretrained, model=model))
    assert decided == (FITTED if trained else NEW)


FITTED, NEW, KEPT = (
    (367, "frozen_statistics", None, 1e-4),
    (0, "train", 0.95, 1e-3),
    (0, "frozen_statistics", None, 5e-6),
)
"""Images of the linear probe, batch norm, its momentum, and the learning rate."""


def plan_of_weights(known: Facts, given: TrainConfig, **by_hand: Any) -> tuple[Any, ...]:
    """Return what the rules of the classifier decide; values by hand, with dots as double underscores, stay."""
    fixed = {name.replace("__", "."): value for name, value in by_hand.items()}
    given = with_values(given, {"training.optimizer": "adamw"} | fixed)
    for rule in (
        fine_tuning.linear_probe,
        fine_tuning.batch_norm,
        fine_tuning.batch_norm_momentum,
        fine_tuning.learning_rate,
    ):
        given = with_values(given, {key: value for key, value in rule(known, given)[0].items() if key not in fixed})
    training = given.training
    momentum = given.network.batch_norm_momentum
    return training.linear_probe_images, training.batch_norm, momentum, training.learning_rate


def test_the_fit_takes_at_most_500_images():
    assert plan_of_weights(facts(images=5000), config(pretrained="official"))[0] == 500


def test_a_classifier_of_the_same_classes_is_kept():
    voc_classes = facts(pixels=(1,) * 21)
    assert plan_of_weights(voc_classes, config(pretrained="official")) == (367, *FITTED[1:])
    voc_classes = dataclasses.replace(voc_classes, classes=CLASSES)
    assert plan_of_weights(voc_classes, config(pretrained="official")) == KEPT
    run = facts(given_head="v3plus", given_classes=("c0", "c1", "c2"))
    assert plan_of_weights(run, config(pretrained="run")) == KEPT
    # The published learning rate of SGD would make a trained classifier diverge.
    assert plan_of_weights(run, config(pretrained="run"), training__optimizer="sgd") == (*KEPT[:3], 2e-5)


@pytest.mark.parametrize(
    ("by_hand", "expected"),
    [
        # Without a fit, the classifier is random.
        ({"training__linear_probe_images": 0}, NEW),
        # Statistics of 4 images lose the fit: the usual momentum and learning rate.
        ({"training__batch_norm": "train"}, (367, "train", 0.95, 1e-3)),
        # SGD has the published learning rate, with which a fitted classifier would diverge.
        ({"training__optimizer": "sgd"}, (0, "train", 0.95, 0.007)),
    ],
)
def test_the_rules_of_the_classifier_follow_settings_given_by_hand(by_hand, expected):
    assert plan_of_weights(facts(), config(pretrained="official"), **by_hand) == expected


def test_a_fit_given_by_hand_does_not_slow_down_random_layers():
    decided = plan_of_weights(facts(), config(pretrained="imagenet"), training__linear_probe_images=300)
    assert decided == (300, *NEW[1:])


def test_a_momentum_given_with_the_network_is_kept():
    network = config(model={"backbone": "resnet50", "batch_norm_momentum": 0.9})
    assert fine_tuning.batch_norm_momentum(facts(), network)[0] == {}


def test_the_learning_rate_is_that_of_the_optimizer():
    assert fine_tuning.learning_rate(facts(), config(training={"optimizer": "adamw"}))[0] == {
        "training.learning_rate": 1e-3,
        "training.weight_decay": 0.01,
        "training.learning_policy": "poly",
    }
    sgd = fine_tuning.learning_rate(facts(), config(training={"optimizer": "sgd"}))[0]
    assert sgd == {"training.learning_rate": 0.007, "training.learning_policy": "poly"}


@pytest.mark.parametrize(
    ("explained", "rate", "text"),
    [
        (None, 1e-4, "fitted classifier; it decreases"),
        (0.29, 3e-4, "explain little of the labels (here 29% of their entropy)"),
        (0.3, 1e-4, "explain much of the labels (here 30% of their entropy)"),
        (0.0, 3e-4, "(here 0% of their entropy)"),
    ],
)
def test_weights_whose_classes_explain_little_are_changed_faster(explained: float | None, rate: float, text: str):
    fitted = config(pretrained="official", training={"linear_probe_images": 5, "batch_norm": "frozen_statistics"})
    fitted = with_values(fitted, {"training.optimizer": "adamw"})
    values, reason = fine_tuning.learning_rate(facts(explained=explained), fitted)
    assert values["training.learning_rate"] == rate
    assert text in reason
    assert fine_tuning.needs_explained(facts(), fitted)
    for changes in (
        {"training.optimizer": "sgd"},
        {"training.batch_norm": "train"},
        {"training.linear_probe_images": 0},
    ):
        assert not fine_tuning.needs_explained(facts(), with_values(fitted, changes))
    assert not fine_tuning.needs_explained(dataclasses.replace(facts(pixels=(1,) * 21), classes=CLASSES), fitted)
