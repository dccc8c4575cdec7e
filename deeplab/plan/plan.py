"""The plan of a training: decided settings with reasons, as plan.json and as a table."""

import dataclasses
import shutil
import textwrap
import time
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from deeplab.config import TrainConfig, build, is_given, to_mapping, with_values
from deeplab.data_check.check import data_identity
from deeplab.errors import UserError
from deeplab.files import read_json, write_json
from deeplab.plan.facts import Decision, Facts, Trial
from deeplab.plan.fine_tuning import OFFICIAL_SMALL, needs_explained
from deeplab.plan.rules import ECONOMIES, RULES, fitting_weights, relative_cost
from deeplab.plan.schedule import (
    MIN_STEPS,
    checkpoints,
    early_stop,
    enough_steps,
    forecast_seconds,
    steps,
    useful_minutes,
    useful_steps,
    validation,
)

PLAN_FILE = "plan.json"
BY_HAND = "given by hand"
EXCLUDED = "unchanged: settings given by hand exclude another value"

PLANNING_SHARE = 0.15
"""Share of the budget for the data check and the trials; after it, the time of a cheaper recipe is only estimated."""


@dataclass(frozen=True)
class Row:
    """One setting of the plan.

    Attributes:
        setting: its path ("training.steps").
        value: its value, as in JSON.
        reason: why; BY_HAND for settings that the user gave, EXCLUDED if these contradict the decision.
    """

    setting: str
    value: Any
    reason: str


@dataclass(frozen=True)
class Plan:
    """The plan of a training.

    Attributes:
        data: the settings that say which data these are.
        rows: the settings.
        facts: what was known of data and machine.
        trial: what the trial updates measured; None if the number of updates was given.
        forecast_minutes: expected time of the whole training; None without a trial.
    """

    data: str
    rows: tuple[Row, ...]
    facts: Facts
    trial: Trial | None = None
    forecast_minutes: float | None = None

    def apply(self, config: TrainConfig) -> TrainConfig:
        """Return `config` with the settings of the plan; settings given by hand stay."""
        values = {row.setting: row.value for row in self.rows if row.reason not in (BY_HAND, EXCLUDED)}
        return with_values(config, {key: value for key, value in values.items() if not is_given(config, key)})

    def text(self) -> str:
        """Return the plan as a table for a terminal."""
        facts = self.facts
        height, width = facts.train.height_width
        lines = [
            f"Plan for {self.data}: {facts.train_images} training and {facts.val_images} validation images, median "
            f"{width}x{height} pixels, {len(facts.classes)} classes",
        ]
        names = max(len(row.setting) for row in self.rows)
        values = min(max(len(_shown(row.value)) for row in self.rows), 24)
        indent = " " * (names + values + 6)
        columns = max(shutil.get_terminal_size((120, 24)).columns, len(indent) + 40)
        previous = ""
        for row in self.rows:
            start = f"  {row.setting:<{names}}  {_shown(row.value):<{values}}  "
            reason = "same" if row.reason == previous != BY_HAND else row.reason
            # Addresses stay in one piece, for copying.
            wrapper = textwrap.TextWrapper(
                columns,
                initial_indent=start,
                subsequent_indent=indent,
                break_long_words=False,
                break_on_hyphens=False,
            )
            lines += wrapper.wrap(reason) or [start]
            previous = row.reason
        if self.forecast_minutes is not None:
            lines.append(f"Forecast: {self.forecast_minutes:.0f} of minutes={facts.minutes:g}, planning included")
        return "\n".join(lines)

    def write(self, folder: Path) -> None:
        """Write plan.json."""
        write_json(folder / PLAN_FILE, to_mapping(self))


def read_plan(folder: Path) -> Plan | None:
    """Read plan.json of a run folder; None if there is none.

    Raises:
        UserError: the file is damaged.
    """
    path = folder / PLAN_FILE
    if not path.is_file():
        return None
    try:
        return build(Plan, read_json(path))
    except UserError as error:
        raise UserError(str(path), f"is damaged ({error.subject}: {error.problem})", "restore it") from error


def make_plan(
    config: TrainConfig,
    facts: Facts,
    measure: Callable[[TrainConfig], Trial],
    explain: Callable[[TrainConfig], float | None] = lambda _: None,
    missing_small: Callable[[], str | None] = lambda: None,
    began: float | None = None,
    clock: Callable[[], float] = time.perf_counter,
) -> Plan:
    """Decide all settings that were not given by hand.

    Warns if the weights are missing, or the time budget is too small.

    Args:
        config: the settings.
        facts: statistics of the data, and the machine.
        measure: makes trial updates with the given settings. It is not called if the number of updates was given.
        explain: returns `Facts.explained` with the given settings; called if a rule needs it.
        missing_small: returns `Facts.missing_small_weights`; called if a cheaper recipe needs these weights.
        began: time of `clock` from which the budget counts, with the data check; None is now.
        clock: returns the time in seconds.
    """
    began = clock() if began is None else began
    draft, trial = _Draft(config, facts, missing_small), None
    if not is_given(config, "training.steps"):
        draft, trial = _fitting_draft(draft, measure, lambda: clock() - began)
    if needs_explained(draft.facts, draft.config) and not is_given(config, "training.learning_rate"):
        # The rules decide again, with what is known of the weights now.
        draft = _Draft(config, dataclasses.replace(draft.facts, explained=explain(draft.config)), missing_small)
    if trial is None:
        draft.decide(({"training.steps": config.training.steps}, ""))
    else:
        draft.decide(steps(draft.facts, draft.config, trial, clock() - began))
    facts, spent = draft.facts, clock() - began
    for later in (validation, early_stop, checkpoints):
        draft.decide(later(facts, draft.config, trial))
    forecast = None if trial is None else forecast_seconds(facts, draft.config, trial, spent) / 60
    plan = Plan(data_identity(config.data), tuple(draft.rows), facts, trial, forecast)
    _warn(plan, draft.config, spent)
    return plan


class _Draft:
    """A config under decision, with the rows so far."""

    def __init__(self, config: TrainConfig, facts: Facts, missing_small: Callable[[], str | None]) -> None:
        """Decide everything that does not depend on the time of an update.

        Args:
            config: the settings.
            facts: as those of `make_plan`.
            missing_small: as that of `make_plan`.
        """
        self.original, self.config, self.facts, self.missing_small = config, config, facts, missing_small
        self.rows: list[Row] = []
        for rule in RULES:
            self.decide(rule(facts, self.config))

    def cheaper(self) -> Iterator["_Draft"]:
        """Iterate over the cheaper recipes, most expensive first."""
        facts = self.facts
        for economy in range(facts.economy + 1, ECONOMIES):
            facts = dataclasses.replace(facts, economy=economy)
            smaller_network = economy == ECONOMIES - 1 and not is_given(self.original, "pretrained")
            if smaller_network and OFFICIAL_SMALL in fitting_weights(self.original)[1:]:
                facts = dataclasses.replace(facts, missing_small_weights=self.missing_small())
            yield _Draft(self.original, facts, self.missing_small)

    def decide(self, decision: Decision) -> None:
        """Take the values that were not given by hand, unless together they contradict those that were."""
        values, reason = decision
        free = {key: value for key, value in values.items() if not is_given(self.original, key)}
        try:
            self.config = with_values(self.config, free)
        except UserError:
            reason = EXCLUDED
        # The settings of the network include those that are neither given nor decided.
        mapping = to_mapping(self.config) | {"model": to_mapping(self.config.network)}
        for key in values:
            value = mapping
            for part in key.split("."):
                value = value[part]
            plain = list(value) if isinstance(value, tuple) else value
            self.rows.append(Row(key, plain, reason if key in free else BY_HAND))


def _fitting_draft(
    draft: _Draft, measure: Callable[[TrainConfig], Trial], planning_seconds: Callable[[], float]
) -> tuple[_Draft, Trial]:
    """Return the best recipe of which the budget holds enough updates, else the cheapest, and its trial.

    Recipes that are too slow by estimate are not measured, except the cheapest. Without time for another trial the
    estimate counts.
    """
    trial = measure(draft.config)
    while not _has_enough_steps(draft, trial, planning_seconds()):
        previous, measured = draft, trial
        for draft in previous.cheaper():
            trial = measured.scaled(relative_cost(draft.config) / relative_cost(previous.config))
            if _has_enough_steps(draft, trial, planning_seconds()):
                break
        if draft.config == previous.config:
            return draft, measured
        # Another trial takes as long as a compilation, and this time would be missing from the training.
        if planning_seconds() + measured.start_seconds > PLANNING_SHARE * 60 * draft.facts.minutes:
            return draft, trial
        trial = measure(draft.config)
    return draft, trial


def _has_enough_steps(draft: _Draft, trial: Trial, spent: float) -> bool:
    return useful_steps(draft.facts, draft.config, trial, spent) >= enough_steps(draft.facts)


def _warn(plan: Plan, config: TrainConfig, spent: float) -> None:
    """Warn of random weights, and of a budget that is too small for a useful number of updates."""
    facts, trial = plan.facts, plan.trial
    for row in plan.rows:
        if row.setting == "pretrained" and row.value is None and row.reason not in (BY_HAND, EXCLUDED):
            warnings.warn(f"the training starts from {row.reason}", stacklevel=3)
    if trial is None or plan.forecast_minutes is None or config.training.steps >= MIN_STEPS:
        return
    # The forecast is rounded; the remedy is always more than what was given.
    needed = max(useful_minutes(facts, config, trial, spent), int(facts.minutes) + 1)
    warnings.warn(
        f"minutes={facts.minutes:g} hold {config.training.steps} updates; {MIN_STEPS} need about {needed} minutes: "
        "set minutes, or a smaller training.crop_size",
        stacklevel=3,
    )


def _shown(value: Any) -> str:
    """Return a value as it would be written on the command line."""
    if value is None or isinstance(value, bool):
        return "null" if value is None else str(value).lower()
    if isinstance(value, (list, tuple)):
        return f"[{','.join(map(str, value))}]"
    return f"{value:g}" if isinstance(value, float) else str(value)
