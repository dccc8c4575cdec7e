import pytest

from deeplab.config import TrainingConfig
from deeplab.training.forecast import Forecast, duration


class Clock:
    now = 100.0

    def __call__(self) -> float:
        return self.now


def test_the_forecast_has_updates_validations_and_the_evaluation_at_the_end():
    """First update 50 s (compilation), then 2 s each; a validation of 5 of 20 images takes 8 s."""
    clock = Clock()
    settings = TrainingConfig(steps=10, evaluate_every=3, evaluate_images=5)
    forecast = Forecast(settings, 0, 20, clock)
    assert forecast.seconds_left() is None
    for step, seconds in enumerate((50, 2, 2)):
        clock.now += seconds
        forecast.on_train_batch_end(step)
    assert forecast.seconds_left() == pytest.approx(7 * 2)
    clock.now += 8
    forecast.add_validation(8)
    # 7 updates, validations after the steps 6 and 9, and the last one on four times as many images.
    assert forecast.seconds_left() == pytest.approx(7 * 2 + 2 * 8 + 4 * 8)
    clock.now += 2
    forecast.on_train_batch_end(3)
    assert forecast.seconds_left() == pytest.approx(6 * 2 + 2 * 8 + 4 * 8)


def test_the_validation_before_the_first_update_is_not_part_of_the_updates():
    """8 s for the first validation, 50 s for the first update, then 2 s each."""
    clock = Clock()
    forecast = Forecast(TrainingConfig(steps=10, evaluate_every=5, evaluate_images=5), 0, 20, clock)
    clock.now += 8
    forecast.add_validation(8)
    for step, seconds in enumerate((50, 2, 2)):
        clock.now += seconds
        forecast.on_train_batch_end(step)
    # 7 updates, validations after the steps 5 and 10, and the last one on four times as many images.
    assert forecast.seconds_left() == pytest.approx(7 * 2 + 2 * 8 + 4 * 8)


def test_a_resumed_training_measures_its_own_updates_only():
    clock = Clock()
    forecast = Forecast(TrainingConfig(steps=1000), 900, None, clock)
    clock.now += 30
    forecast.on_train_batch_end(900)
    assert forecast.seconds_left() is None
    clock.now += 4
    forecast.on_train_batch_end(901)
    assert forecast.seconds_left() == pytest.approx(98 * 4)


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0, "0 s"),
        (89, "89 s"),
        (90, "2 min"),
        (99 * 60, "99 min"),
        (200 * 60, "3 h 20 min"),
        (52 * 3600, "2 d 4 h"),
    ],
)
def test_a_duration_has_the_units_that_matter(seconds, text):
    assert duration(seconds) == text
