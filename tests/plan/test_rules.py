"""Each rule on statistics made by hand."""

import dataclasses
from typing import Any

import pytest

from deeplab.config import TrainConfig, build, with_values
from deeplab.data_check.statistics import SplitStatistics
from deeplab.plan import fine_tuning, rules
from deeplab.plan.facts import Facts

GIB = 2**30


def facts(
    size: tuple[int, int] = (360, 480), pixels: tuple[int, ...] = (50, 30, 20), images: int = 367, **changes: Any
) -> Facts:
    """Return the facts of a set: (height, width), pixels by class, and number of training images."""
    train = SplitStatistics("set/train", images, 200, pixels, pixels, pixels, 0, height_width=size)
    val = dataclasses.replace(train, name="set/val", size=100)
    classes = tuple(f"c{i}" for i in range(len(pixels)))
    return dataclasses.replace(Facts(classes, train, val, minutes=30.0, memory=16 * GIB), **changes)


def config(**settings: Any) -> TrainConfig:
    return build(TrainConfig, {"data": {"source": "folder", "root": "set"}} | settings)


def test_images_up_to_1026_pixels_keep_their_pixels_and_photos_are_letterboxed():
    assert rules.resize(facts((1026, 700)), config())[0] == {"data.resize": "none"}
    values, reason = rules.resize(facts((3000, 4000)), config())
    assert values == {"data.resize": "letterbox", "data.image_size": 513}
    assert "images of 4000x3000 pixels" in reason
    assert rules.resize(facts((3000, 4000), economy=2), config())[0]["data.image_size"] == 353


def test_images_that_are_scaled_by_another_setting_are_not_letterboxed():
    scaled = config(data={"source": "folder", "root": "set", "min_resize_value": 513})
    assert rules.resize(facts((3000, 4000)), scaled)[0] == {"data.resize": "none"}
    padded = config(data={"source": "folder", "root": "set", "eval_size": 3073})
    values, reason = rules.resize(facts((3000, 4000)), padded)
    assert values == {"data.resize": "none"}
    assert reason.startswith("data.eval_size is given")


@pytest.mark.parametrize(("image_size", "expected"), [(257, 257), ((385, 513), (385, 513)), (1025, 1025)])
def test_photos_are_letterboxed_to_an_image_size_given_by_hand(image_size, expected):
    given = config(image_size=image_size)
    for economy in range(4):
        values, reason = rules.resize(facts((3000, 4000), economy=economy), given)
        assert values == {"data.resize": "letterbox", "data.image_size": expected}
        assert with_values(given, values).eval_size == expected
    assert reason == "images of 4000x3000 pixels are scaled to fit into image_size, which is given"
    assert rules.resize(facts((3000, 4000)), config(image_size=(3009, 4001)))[0] == {"data.resize": "none"}


@pytest.mark.parametrize(
    ("size", "has_gpu", "economy", "expected"),
    [
        ((360, 480), False, 0, 353),  # 11 * 32 + 1
        ((480, 360), False, 1, 353),
        ((480, 360), False, 2, 257),
        ((160, 160), False, 0, 161),  # one pixel of padding
        ((150, 200), False, 0, 129),  # 161 would need 11
        ((20, 20), False, 0, 33),
        ((700, 1000), False, 0, 353),
        ((700, 1000), True, 0, 513),
        ((360, 480), True, 0, 353),
    ],
)
def test_crops_are_about_the_shorter_side_up_to_a_limit(size, has_gpu, economy, expected):
    values, _ = rules.crop_size(facts(size, has_gpu=has_gpu, economy=economy), config())
    assert values == {"training.crop_size": expected}


def test_a_crop_that_is_smaller_for_want_of_time_says_so():
    for economy, reason in (
        (0, "the largest crop of a plan on a CPU"),
        (2, "a smaller crop, for more updates in the time"),
    ):
        assert rules.crop_size(facts(economy=economy), config())[1] == reason


def test_crops_of_scaled_images_are_whole_images():
    scaled = config(data={"source": "folder", "root": "set", "resize": "letterbox", "image_size": [257, 385]})
    assert rules.crop_size(facts(), scaled)[0] == {"training.crop_size": (257, 385)}


def test_official_weights_are_taken_if_they_can_be_had():
    assert rules.weights(facts(), config())[0] == {"pretrained": "official"}
    assert rules.weights(facts(economy=3), config())[0] == {"pretrained": "official_050"}
    values, reason = rules.weights(facts(missing_weights="official: offline; save it as x"), config())
    assert values == {"pretrained": None, "model.aspp_rates": []}
    assert reason == "random weights: official: offline; save it as x"


def test_weights_that_are_missing_are_named_with_the_remedy():
    missing = "official_050: no such file in the folder of DEEPLAB_WEIGHTS; put x there"
    values, reason = rules.weights(facts(economy=3, missing_small_weights=missing), config())
    assert values == {"pretrained": "official"}
    assert reason == f"the smaller network would leave more updates, but is missing: {missing}"
    half = config(model={"depth_multiplier": 0.5})
    values, reason = rules.weights(facts(missing_small_weights=missing), half)
    assert values["pretrained"] is None
    assert reason == f"random weights: {missing}"


def test_heads_that_need_rates_keep_them_without_weights():
    assert rules.weights(facts(missing_weights="offline"), config(model={"head": "v2"}))[0] == {"pretrained": None}


@pytest.mark.parametrize(
    ("model", "expected"),
    [
        ({"dropout": 0.0}, "official"),
        ({"depth_multiplier": 1.0}, "official"),
        ({"depth_multiplier": 0.5}, "official_050"),
        ({"depth_multiplier": 0.5, "round_channels": True}, "imagenet"),
        ({"depth_multiplier": 0.1}, None),
        ({"backbone": "resnet50"}, "imagenet"),
        ({"backbone": "xception65"}, None),
    ],
)
def test_other_networks_have_imagenet_weights_or_none(model, expected):
    assert rules.weights(facts(), config(model=model))[0]["pretrained"] == expected


def test_the_head_of_a_network_given_by_hand_is_kept():
    assert rules.head(facts(), config())[0] == {"model.head": "v3plus"}
    assert rules.head(facts(), config(model={"backbone": "resnet50", "head": "v3"}))[0] == {}


def test_batches_fit_into_the_memory():
    """4 crops of 513 pixels need 1.5e9 + 4 * 2000 * 513^2 = 3.6e9 bytes, at most 70 % of the machine: 4.8 GiB."""
    large = config(training={"crop_size": 513})
    assert rules.batch_size(facts(memory=5 * GIB), large)[0] == {"training.batch_size": 4}
    assert rules.batch_size(facts(memory=int(4.5 * GIB)), large)[0] == {"training.batch_size": 2}
    assert rules.batch_size(facts(memory=1 * GIB), large)[0] == {"training.batch_size": 2}
    assert rules.batch_size(facts(memory=None), large)[0] == {"training.batch_size": 4}


def test_batches_are_multiples_of_the_replicas():
    gpus = facts(has_gpu=True, replicas=3)
    assert rules.batch_size(gpus, config())[0] == {"training.batch_size": 18}
    # 3 replicas x 2 parts: the first multiple of 6 that is at least 16
    assert rules.batch_size(gpus, config(training={"accumulation": 2}))[0] == {"training.batch_size": 18}
    assert rules.batch_size(gpus, config(training={"accumulation": 4}))[0] == {"training.batch_size": 24}
    assert fine_tuning.batch_norm(gpus, config())[0]["training.batch_norm"] == "sync"
    assert fine_tuning.batch_norm(facts(), config())[0] == {"training.batch_norm": "train"}


def test_classes_below_two_percent_are_rare():
    """Of 1000 pixels: 981 and 19; 980 and 20; and a class that never occurs."""
    values, reason = rules.rare_classes(facts(pixels=(981, 19)), config())
    assert values == {"training.augment.rare_crops": 0.5, "training.augment.rare_classes": [1]}
    assert reason.endswith("c1")
    for pixels in ((980, 20), (980, 20, 0)):
        values, _ = rules.rare_classes(facts(pixels=pixels), config())
        assert values == {"training.augment.rare_crops": 0.0, "training.augment.rare_classes": []}


def test_rare_crops_are_left_out_with_class_weights():
    weighted = config(training={"class_weights": "median_frequency"})
    assert rules.rare_classes(facts(pixels=(981, 19)), weighted)[0]["training.augment.rare_crops"] == 0.0


def test_every_rule_decides_settings_that_exist():
    for rule in rules.RULES:
        values, reason = rule(facts(), config())
        assert reason
        for path in values:
            inner: Any = config()
            for part in path.split("."):
                inner = inner.get(part) if isinstance(inner, dict) else getattr(inner, part)


def test_the_scale_varies_less_than_in_the_published_recipe():
    values, _ = rules.scales(facts(), config())
    augment = with_values(config(), values).training.augment
    assert (augment.min_scale, augment.max_scale, augment.scale_step) == (0.75, 1.5, 0.0)


@pytest.mark.parametrize(
    ("training", "head", "pretrained", "expected"),
    [
        ({"crop_size": 100}, "v3", "official", 10_000),
        ({"crop_size": [100, 50]}, "v3", "official", 5_000),
        ({"crop_size": 100}, "v3plus", "official", 16_500),
        ({"crop_size": 100}, "v3", "official_050", 5_000),
    ],
)
def test_the_cost_follows_crop_decoder_and_depth(training, head, pretrained, expected):
    settings = config(training=training, model={"head": head}, pretrained=pretrained)
    assert rules.relative_cost(settings) == pytest.approx(expected)
