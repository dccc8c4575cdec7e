"""The rules after the trial, with times made by hand."""

import pytest

from deeplab.config import TrainConfig, build, with_values
from deeplab.errors import UserError
from deeplab.plan import schedule
from deeplab.plan.facts import Trial
from tests.plan.test_rules import config, facts

TRIAL = Trial(update_seconds=0.5, start_seconds=20.0, image_seconds=0.1)


def planned(**training: object) -> TrainConfig:
    return config(training={"batch_size": 4} | training)


def test_the_budget_is_filled_with_updates():
    """30 minutes: 0.92 * 1800 - 60 - 20 - 100 * 0.1 = 1566 s, of which 90 % for updates of 0.5 s: 2818.8."""
    values, reason = schedule.steps(facts(), planned(), TRIAL, spent=60.0)
    assert values == {"training.steps": 2816}  # a multiple of 8
    # 2816 * 0.5 s = 23.47 minutes
    expected = "23.5 of 30 minutes at 0.50 s per update; planning, validations and a reserve take the rest"
    assert reason == expected
    assert schedule.useful_steps(facts(), planned(), TRIAL, 60.0) == 2818
    # 25 batches of 4 for the linear probe, each half an update, and 10 s for the fit: 1549.75 s instead of 1566.
    assert schedule.useful_steps(facts(), planned(linear_probe_images=100), TRIAL, 60.0) == 2789


def test_more_updates_than_pay_are_not_made():
    """30 images: 150 epochs are 1125 updates of 4, fewer than 3000; 400 images: 15,000 updates of 4."""
    fast = Trial(0.01, 20.0, 0.1)
    assert schedule.steps(facts(images=30), planned(), fast, 60.0)[0] == {"training.steps": 3000}
    values, reason = schedule.steps(facts(images=400), planned(), fast, 60.0)
    assert values == {"training.steps": 15000}
    assert reason.startswith("150 epochs")


def test_the_minutes_for_a_useful_training_are_enough():
    """60 + 20 + 100 * 0.1 + 300 * 6 / 0.9 = 2090 s, 92 % of 37.9 minutes."""
    slow = Trial(6.0, 20.0, 0.1)
    assert schedule.useful_minutes(facts(), planned(), slow, spent=60.0) == 38
    assert schedule.useful_steps(facts(minutes=38.0), planned(), slow, 60.0) >= 300
    assert schedule.useful_steps(facts(minutes=37.0), planned(), slow, 60.0) < 300


@pytest.mark.parametrize("minutes", [0.1, 2.0, 2.42])
def test_a_budget_without_time_for_updates_is_refused(minutes: float):
    """2.42 minutes: 0.92 * 145.2 - 100 - 20 - 10 = 3.58 s, 90 % of which hold 6 updates of 0.5 s."""
    # 100 + 20 + 10 + 300 * 0.5 / 0.9 = 296.7 s, 92 % of 5.4 minutes.
    expected = f"minutes: {minutes:g} are too few for a training: planning took 1.7 minutes; set minutes=6"
    with pytest.raises(UserError, match=expected):
        schedule.steps(facts(minutes=minutes), planned(), TRIAL, spent=100.0)
    assert schedule.steps(facts(minutes=2.45), planned(), TRIAL, spent=100.0)[0] == {"training.steps": 8}


def test_validations_take_a_tenth_of_the_time():
    """800 updates of 0.5 s are 90 %: the other 10 % are 44.4 s, 8 validations of 55 images."""
    values, _ = schedule.validation(facts(), planned(steps=800), TRIAL)
    assert values == {"training.evaluate_every": 100, "training.evaluate_images": 55}
    assert schedule.validation(facts(), planned(steps=1600), TRIAL)[0]["training.evaluate_images"] is None


def test_pretrained_classifiers_are_validated_before_the_first_update():
    """44.4 s for 9 validations of 49 images. Forecast: 480 + (9 * 49 + 100) * 0.1 s, and 10 + 6.25 s to fit."""
    settings = with_values(planned(steps=800, linear_probe_images=100), {"pretrained": "official"})
    values, reason = schedule.validation(facts(), settings, TRIAL)
    assert values == {"training.evaluate_every": 100, "training.evaluate_images": 49}
    assert reason == "before the first update and 8 times during the training, on 49 of 100 images"
    seconds = schedule.forecast_seconds(facts(), with_values(settings, values), TRIAL, spent=60.0)
    assert seconds == pytest.approx(534.1 + 16.25)
    # 44 images for 4 validations of at least 10.
    values, reason = schedule.validation(facts(), with_values(settings, {"training.steps": 80}), TRIAL)
    assert values == {"training.evaluate_every": 26, "training.evaluate_images": 11}
    assert reason.startswith("before the first update and 3 times during the training")
    # No update is validated, so that the initial weights are not either.
    rare = with_values(settings, {"training.evaluate_every": 801})
    assert schedule.validation(facts(), rare, TRIAL)[1].startswith("0 times, on ")
    seconds = schedule.forecast_seconds(facts(), rare, TRIAL, spent=60.0)
    assert seconds == pytest.approx(60 + 20 + 400 + 100 * 0.1 + 16.25)


def test_short_trainings_have_fewer_validations_instead_of_fewer_than_10_images():
    """80 updates leave 80 * 0.5 / 9 = 4.4 s: 44 images of 0.1 s."""
    values, reason = schedule.validation(facts(), planned(steps=80), TRIAL)
    assert values == {"training.evaluate_every": 20, "training.evaluate_images": 11}
    assert reason == "4 times, on 11 of 100 images"
    values, reason = schedule.validation(facts(), planned(steps=8), TRIAL)
    assert values == {"training.evaluate_every": 8, "training.evaluate_images": 10}
    assert reason == "once, on 10 of 100 images"


def test_without_a_trial_all_images_are_validated():
    values, _ = schedule.validation(facts(), planned(steps=13), None)
    assert values == {"training.evaluate_every": 1, "training.evaluate_images": None}


def test_only_a_few_updates_follow_the_last_validation():
    """Every 63 updates would be 7 validations, and the last 59 of 500 updates would never be the best."""
    values, reason = schedule.validation(facts(), planned(steps=500), None)
    assert values["training.evaluate_every"] == 62  # 8 * 62 = 496
    assert reason == "8 times, on all 100 images"


def test_more_validations_given_by_hand_have_fewer_images_each():
    """800 updates of 0.5 s leave 44.4 s: 32 validations of 1.39 s, 13 images of 0.1 s."""
    values, reason = schedule.validation(facts(), planned(steps=800, evaluate_every=25), TRIAL)
    assert values["training.evaluate_images"] == 13
    assert reason == "32 times, on 13 of 100 images"


def test_patience_needs_validations():
    assert schedule.early_stop(facts(), planned(evaluate_every=10), TRIAL)[0] == {"training.patience": 4}
    assert schedule.early_stop(facts(), planned(), TRIAL)[0] == {"training.patience": None}


def test_short_trainings_do_not_stop_early():
    """A training of 24 updates stopped at 18 with its weights of update 6, before batch norm had settled."""
    short = planned(evaluate_every=3, steps=299)
    assert schedule.early_stop(facts(), short, TRIAL)[0] == {"training.patience": None}
    assert schedule.early_stop(facts(), planned(evaluate_every=3, steps=300), TRIAL)[0] == {"training.patience": 4}


@pytest.mark.parametrize(("seconds", "every"), [(0.5, 240), (0.1, 500), (60.0, 10)])
def test_checkpoints_are_two_minutes_apart(seconds: float, every: int):
    assert schedule.checkpoints(facts(), planned(), Trial(seconds, 20.0, 0.1))[0] == {"training.save_every": every}


def test_the_forecast_adds_everything_up():
    """60 + 20 + 800 * 0.5 + (8 * 55 + 100) * 0.1 = 534 seconds."""
    settings = build(TrainConfig, {"training": {"steps": 800, "evaluate_every": 100, "evaluate_images": 55}})
    assert schedule.forecast_seconds(facts(), settings, TRIAL, spent=60.0) == pytest.approx(534)
    probing = with_values(settings, {"training.linear_probe_images": 100})
    # 10 + 0.5 * 100 / 16 * 0.5 s more
    assert schedule.forecast_seconds(facts(), probing, TRIAL, spent=60.0) == pytest.approx(545.5625)
