import warnings

import keras
import pytest

from deeplab.config import TrainingConfig
from deeplab.training.batch_norm_warnings import warn_about_statistics


def network(momentum: float = 0.9) -> keras.Model:
    image = keras.Input((None, None, 3))
    return keras.Model(image, keras.layers.BatchNormalization(momentum=momentum)(image))


def warnings_for(model: keras.Model, replicas: int = 1, **settings: object) -> list[str]:
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        warn_about_statistics(model, TrainingConfig(**settings), replicas)
    return [str(w.message) for w in caught]


@pytest.mark.parametrize(("momentum", "steps", "expected"), [(0.9, 28, True), (0.9, 30, False), (0.9997, 9000, True)])
def test_too_few_steps_for_the_momentum_show_a_warning(momentum, steps, expected):
    """0.9 to the power of 28 is 0.0523, of 30 is 0.0424; 0.9997 to the power of 9000 is 0.0672."""
    lines = warnings_for(network(momentum), steps=steps)
    assert [("of their initial values" in line) for line in lines] == [True] * expected
    assert not warnings_for(network(momentum), steps=steps, recalibration_batches=10)


@pytest.mark.parametrize(
    ("settings", "replicas", "expected"),
    [
        ({"batch_size": 11}, 1, "on 11 images"),
        ({"batch_size": 12}, 1, None),
        ({"batch_size": 16}, 2, "on 8 images"),
        ({"batch_size": 16, "batch_norm": "sync"}, 2, None),
        ({"batch_size": 16, "accumulation": 2}, 1, "on 8 images"),
    ],
)
def test_small_batches_per_replica_show_a_warning(settings, replicas, expected):
    lines = warnings_for(network(), replicas, **settings)
    assert [expected in line for line in lines] == [True] if expected else not lines


def test_frozen_batch_norm_shows_no_warning():
    model = network(0.9997)
    for layer in model.layers:
        layer.trainable = False
    assert not warnings_for(model, steps=1, batch_size=1)
