import json
import warnings
from pathlib import Path
from typing import Any

import pytest

from deeplab.config import TrainConfig, record_given
from deeplab.errors import UserError
from deeplab.plan.choice import is_planned
from deeplab.plan.facts import Trial
from deeplab.plan.plan import BY_HAND, EXCLUDED, PLAN_FILE, Plan, _Draft, make_plan, read_plan
from tests.plan.test_rules import config, facts


class Machine:
    """A machine of constant speed: seconds per update by crop side, weights and head, and the trials made on it."""

    def __init__(self, seconds: float = 0.5) -> None:
        self.seconds, self.trials = seconds, []

    def __call__(self, settings: TrainConfig) -> Trial:
        self.trials.append((settings.training.crop_size, settings.pretrained, settings.network.head))
        share = (settings.training.crop[0] / 353) ** 2
        share *= 0.5 if settings.pretrained == "official_050" else 1.0
        share *= 0.6 if settings.network.head == "v3" else 1.0
        return Trial(self.seconds * share, 20.0, 0.1)


def plan_for(settings: TrainConfig, machine: Machine | None = None, **changes: Any) -> Plan:
    return make_plan(settings, facts(**changes), machine or Machine(), clock=lambda: 0.0)


def values(plan: Plan) -> dict[str, Any]:
    return {row.setting: row.value for row in plan.rows}


def test_a_plan_decides_the_whole_recipe():
    plan = plan_for(config())
    applied = plan.apply(config())
    assert (applied.pretrained, applied.network.head) == ("official", "v3plus")
    training = applied.training
    assert (training.optimizer, training.learning_rate, training.batch_size) == ("adamw", 1e-4, 4)
    assert (training.linear_probe_images, training.batch_norm) == (367, "frozen_statistics")
    # 0.92 * 1800 - 20 - 100 * 0.1 = 1626 s, without 10 + 0.5 * 367 / 4 * 0.5 s for the linear probe: 1593 s, 90 % of
    # which hold 2867.5 updates.
    assert (training.steps, training.evaluate_every, training.patience) == (2864, 358, 4)
    assert plan.forecast_minutes is not None
    assert 25 < plan.forecast_minutes < 30


@pytest.mark.parametrize("by_hand", ["", "training.steps"])
def test_the_learning_rate_follows_what_the_classes_of_the_weights_explain(tmp_path: Path, by_hand: str):
    """It is measured with the settings of the plan, also if the number of updates was given."""
    measured = []

    def explain(settings: TrainConfig) -> float:
        measured.append((settings.training.crop_size, settings.pretrained, settings.network.head))
        return 0.25

    given = record_given(config(), {by_hand})
    plan = make_plan(given, facts(), Machine(), explain, clock=lambda: 0.0)
    assert measured == [(353, "official", "v3plus")]
    assert values(plan) == values(plan_for(given)) | {"training.learning_rate": 3e-4}
    plan.write(tmp_path)
    assert read_plan(tmp_path) == plan
    assert plan.facts.explained == 0.25


def test_what_no_rule_needs_is_not_measured():
    for key in ("training.learning_rate", "training.optimizer"):
        make_plan(record_given(config(), {key}), facts(), Machine(), lambda _: pytest.fail("measured"))


def test_settings_given_by_hand_win_and_others_follow_them():
    given = record_given(config(training={"steps": 80, "optimizer": "sgd"}, pretrained="runs/other"), ())
    record_given(given, ("data", "data.root", "training.steps", "training.optimizer", "pretrained"))
    machine = Machine()
    plan = plan_for(given, machine)
    applied = plan.apply(given)
    assert (applied.pretrained, applied.training.steps, applied.training.optimizer) == ("runs/other", 80, "sgd")
    assert (applied.training.learning_rate, applied.training.evaluate_every) == (0.007, 10)
    by_hand = {row.setting for row in plan.rows if row.reason == BY_HAND}
    assert by_hand == {"training.steps", "training.optimizer", "pretrained"}
    # The time of an update is not needed.
    assert not machine.trials
    assert plan.forecast_minutes is None


@pytest.mark.parametrize(("setting", "value"), [("patience", 2), ("result", "best")])
def test_settings_that_need_validations_are_kept_and_the_plan_adds_them(setting: str, value: object):
    given = record_given(config(training={setting: value}), (f"training.{setting}",))
    training = plan_for(given).apply(given).training
    assert getattr(training, setting) == value
    assert training.evaluate_every == 358
    training.require_validations()


def test_a_setting_equal_to_the_default_counts_as_given_on_a_command_line():
    given = record_given(config(training={"batch_size": 16}), ("training.batch_size",))
    assert plan_for(given).apply(given).training.batch_size == 16


def test_decisions_that_contradict_settings_given_by_hand_are_dropped():
    """Without rare classes, crops cannot be centered on them: the decision on both settings is dropped."""
    given = record_given(config(), ("training.augment.rare_crops",))
    plan = plan_for(given, pixels=(990, 10))
    assert values(plan)["training.augment.rare_classes"] == []
    assert plan.apply(given).training.augment.rare_crops == 0
    row = next(row for row in plan.rows if row.setting == "training.augment.rare_classes")
    assert row.reason == "unchanged: settings given by hand exclude another value"


def test_a_decision_about_the_network_can_be_dropped():
    """The head v2 needs rates; both settings keep their defaults, although `model` contains neither."""
    draft = _Draft(config(), facts(), lambda: None)
    draft.decide(({"model.aspp_rates": [], "model.head": "v2"}, "contradiction"))
    assert [(row.value, row.reason) for row in draft.rows[-2:]] == [([6, 12, 18], EXCLUDED), ("v3plus", EXCLUDED)]


def test_a_slow_machine_gets_no_decoder_then_smaller_crops_and_then_the_smaller_network():
    """(1616 s - 45.9 updates) * 0.9 hold 700 updates of 1.96 s with the decoder, and 300 of 4.26 s without.

    1616 = 0.92 * 1800 - 20 - 10 - 100 * 0.1 s; 45.9 = 0.5 * 367 / 4 updates are the time of the linear probe.

    Expected without the decoder: 1 / 1.65 of the seconds. 257 pixels take 0.53 of that, the smaller network half.
    """
    recipes = [
        (353, "official", "v3plus"),
        (353, "official", "v3"),
        (257, "official", "v3"),
        (257, "official_050", "v3"),
    ]
    for seconds, chosen in ((1.9, 0), (2.2, 1), (7.0, 1), (7.2, 2), (13.0, 2), (16.0, 3)):
        machine = Machine(seconds)
        decided = values(plan_for(config(), machine))
        # Recipes that are expected to be too slow are not measured.
        assert machine.trials == [recipes[0], *recipes[chosen : chosen + 1 if chosen else 0]]
        expected = list(recipes[chosen])
        assert [decided[key] for key in ("training.crop_size", "pretrained", "model.head")] == expected
    assert decided["training.steps"] == 528  # of 16 * 0.6 * 0.53 * 0.5 s: 530.4, in multiples of 8


def test_a_recipe_that_is_slower_than_estimated_is_replaced():
    """Estimated at 7 / 1.65 = 4.24 s without the decoder, of which 301 fit, measured 4.29 s, of which 297 fit."""

    class Slow(Machine):
        def __call__(self, settings: TrainConfig) -> Trial:
            trial = super().__call__(settings)
            return trial if settings.network.head == "v3plus" else trial.scaled(4.9 / 4.8)

    machine = Slow(7.0)
    assert values(plan_for(config(), machine))["training.crop_size"] == 257
    assert machine.trials == [(353, "official", "v3plus"), (353, "official", "v3"), (257, "official", "v3")]


def test_a_head_given_by_hand_is_kept_on_a_slow_machine():
    machine = Machine(4.0)
    plan = plan_for(record_given(config(model={"head": "v3plus"}), ("data", "data.root", "model.head")), machine)
    assert machine.trials == [(353, "official", "v3plus")]
    assert values(plan)["training.crop_size"] == 353


@pytest.mark.parametrize("model", [{"decoder_channels": 64}, {"low_level_channels": 24}, {"decoder_separable": False}])
def test_a_decoder_described_by_hand_is_kept_on_a_slow_machine(model: dict[str, Any]):
    (key,) = model
    given = record_given(config(model=model), ("data", "data.root", f"model.{key}"))
    network = plan_for(given, Machine(4.0)).apply(given).network
    assert (network.head, getattr(network, key)) == ("v3plus", model[key])


def test_the_smaller_weights_are_looked_for_only_if_a_cheaper_recipe_needs_them():
    asked = []

    def missing() -> str:
        asked.append("official_050")
        return "official_050: offline; save it as x"

    make_plan(config(), facts(), Machine(), missing_small=missing, clock=lambda: 0.0)
    assert not asked
    with pytest.warns(UserWarning, match="300 need about"):
        plan = make_plan(config(), facts(), Machine(16.0), missing_small=missing, clock=lambda: 0.0)
    assert asked == ["official_050"]
    assert values(plan)["pretrained"] == "official"


def test_a_planning_that_takes_long_estimates_the_time_of_a_cheaper_recipe():
    """The first trial ends after 300 of 1800 seconds, more than 15 %.

    (1316 s - 45.9 updates) * 0.9 hold 203 updates of 8 / 1.65 s, too few, and 419 of 257 pixels, 0.53 of that.
    """
    machine, times = Machine(8.0), iter([0.0])
    plan = make_plan(config(), facts(), machine, clock=lambda: next(times, 300.0))
    assert machine.trials == [(353, "official", "v3plus")]
    decided = values(plan)
    assert (decided["training.crop_size"], decided["model.head"], decided["training.steps"]) == (257, "v3", 416)
    reason = next(row.reason for row in plan.rows if row.setting == "training.steps")
    assert "at an estimated 2.57 s per update" in reason
    assert plan.trial is not None
    assert plan.trial.estimated


def test_a_budget_that_cannot_hold_a_useful_training_is_a_warning():
    # 20 + 10 + 100 * 0.1 + (45.9 + 300 / 0.9) * 40 * 0.6 * 0.5 * 0.53 = 2452 s, 92 % of 44.4 minutes.
    with pytest.warns(UserWarning, match=r"minutes=30 hold 184 updates; 300 need about 45 minutes: set minutes"):
        plan_for(config(), Machine(40.0))


def test_missing_weights_are_a_warning_with_the_remedy():
    with pytest.warns(UserWarning, match=r"starts from random weights: official: offline; save it as x"):
        plan = plan_for(config(), missing_weights="official: offline; save it as x")
    assert values(plan)["pretrained"] is None
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        plan_for(record_given(config(pretrained="run"), ("pretrained",)), missing_weights="offline")


def test_a_plan_is_read_as_it_was_written(tmp_path: Path):
    plan = plan_for(config(), pixels=(990, 10), size=(3000, 4000))
    plan.write(tmp_path)
    assert read_plan(tmp_path) == plan
    assert read_plan(tmp_path / "none") is None
    content = json.loads((tmp_path / PLAN_FILE).read_text())
    content["rows"][0].pop("reason")
    (tmp_path / PLAN_FILE).write_text(json.dumps(content))
    with pytest.raises(UserError, match=r"plan.json: is damaged .*reason"):
        read_plan(tmp_path)


def test_the_table_has_every_setting_with_its_reason():
    text = " ".join(plan_for(config()).text().split())  # Lines are as wide as the terminal.
    assert "367 training and 100 validation images, median 480x360 pixels, 3 classes" in text
    assert "training.optimizer" in text
    assert "learns new classes in fewer updates than SGD" in text
    assert "of minutes=30" in text


@pytest.mark.parametrize(
    ("settings", "given", "planned"),
    [
        ({}, ("data",), True),
        ({"plan": False}, ("data", "plan"), False),
        ({}, ("data", "experiment"), False),
        ({"data": {"source": "voc", "root": "VOCdevkit"}}, ("data",), False),
        ({"data": {"source": "tfds", "name": "pets"}, "minutes": 5}, ("data", "minutes"), True),
        ({"first_stage": {"training": {"steps": 5}}}, ("data", "first_stage"), False),
    ],
)
def test_plans_are_for_the_users_own_data(settings: dict, given: tuple, planned: bool):
    assert is_planned(record_given(config(**settings), given)) == planned


@pytest.mark.parametrize(
    ("settings", "given", "message"),
    [
        (
            {"data": {"source": "voc", "root": "x"}, "minutes": 5},
            ("data", "minutes"),
            r"minutes: .*data=voc has a fixed recipe",
        ),
        ({"data": {"source": "shapes"}, "plan": True}, ("data", "plan"), r"plan: cannot be used: data=shapes has"),
        ({"plan": True}, ("experiment", "plan"), r"plan: cannot be used: the experiment has a fixed recipe"),
        ({"plan": False, "minutes": 5}, ("plan", "minutes"), r"minutes: is the time of a plan"),
    ],
)
def test_a_plan_that_cannot_be_is_refused(settings: dict, given: tuple, message: str):
    with pytest.raises(UserError, match=message):
        is_planned(record_given(config(**settings), given))
