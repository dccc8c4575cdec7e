import warnings

import keras
import pytest

from deeplab.config import TrainingConfig, record_given
from deeplab.model.batch_norm import BatchNorm
from deeplab.plan.plan import Plan
from deeplab.training.batch_norm_warnings import warn_about_batch_norm
from deeplab.training.optimizer import set_trainable
from tests.plan.test_plan import plan_for
from tests.plan.test_rules import config as plan_config


def network(momentum: float = 0.9) -> keras.Model:
    image = keras.Input((None, None, 3))
    return keras.Model(image, BatchNorm(momentum=momentum, name="norm")(image))


def warnings_for(model: keras.Model, replicas: int = 1, plan: Plan | None = None, **settings: object) -> list[str]:
    config = TrainingConfig(**settings)
    set_trainable(model, config)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        warn_about_batch_norm(model, config, replicas, plan)
    return [str(w.message) for w in caught]


@pytest.mark.parametrize(("momentum", "steps", "expected"), [(0.9, 28, True), (0.9, 30, False), (0.9997, 9000, True)])
def test_too_few_steps_for_the_momentum_show_a_warning(momentum, steps, expected):
    """0.9 to the power of 28 is 0.0523, of 30 is 0.0424; 0.9997 to the power of 9000 is 0.0672."""
    lines = warnings_for(network(momentum), steps=steps)
    assert [("of their values from before the training" in line) for line in lines] == [True] * expected
    assert not warnings_for(network(momentum), steps=steps, recalibration_batches=10)


def test_a_plan_warns_of_too_few_steps_itself_unless_the_momentum_is_given_by_hand():
    plan = plan_for(plan_config())
    assert not warnings_for(network(0.95), plan=plan, steps=20)
    assert "contain 36%" in warnings_for(network(0.95), steps=20)[0]
    assert "model.batch_norm_momentum=0.95" in warnings_for(network(0.99), plan=plan, steps=20)[0]


def test_too_few_steps_given_by_hand_show_a_warning_in_a_planned_training():
    """0.95 to the power of 20 is 0.358."""
    imagenet = plan_config(training={"steps": 20}, pretrained="imagenet")
    given = record_given(imagenet, ("training.steps", "pretrained"))
    plan = plan_for(given)
    applied = plan.apply(given)
    model = network(applied.network.batch_norm_momentum)
    (line,) = warnings_for(model, plan=plan, steps=applied.training.steps, batch_size=applied.training.batch_size)
    assert line.startswith("after 20 steps the moving means")
    assert "contain 36%" in line


@pytest.mark.parametrize(("batch_norm", "batch_size", "lost"), [("train", 11, 1), ("train", 12, 0), ("frozen", 4, 0)])
def test_a_fit_that_small_batches_lose_shows_a_warning(batch_norm, batch_size, lost):
    settings = {"batch_norm": batch_norm, "batch_size": batch_size}
    lines = warnings_for(network(), linear_probe_images=500, **settings)
    assert sum("which loses the fit at once" in line for line in lines) == lost


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
    assert not warnings_for(network(), replicas, plan_for(plan_config()), **settings)


@pytest.mark.parametrize(
    ("settings", "replicas", "remedy"),
    [
        ({"batch_size": 4}, 1, "from random weights training.batch_size=12"),
        ({"batch_size": 16, "accumulation": 2}, 1, "from random weights training.batch_size=24"),
        ({"batch_size": 8}, 2, "from random weights training.batch_size=24 or training.batch_norm=sync"),
    ],
)
def test_small_batches_name_the_batch_size_that_suffices(settings, replicas, remedy):
    (line,) = warnings_for(network(), replicas, **settings)
    assert "with pretrained weights set training.batch_norm=frozen_statistics" in line
    assert line.endswith(remedy)


@pytest.mark.parametrize("mode", ["frozen", "frozen_statistics"])
def test_frozen_batch_norm_with_pretrained_values_shows_no_warning(mode):
    model = network(0.9997)
    model.get_layer("norm").beta.assign([0.0, 0.5, 0.0])
    assert not warnings_for(model, steps=1, batch_size=1, batch_norm=mode)


def test_batch_norm_that_is_frozen_without_pretrained_values_is_named():
    """Decoders that pretrained weights lack have beta 0 and mean 0, whether they are random or the identity."""
    (line,) = warnings_for(network(), batch_norm="frozen")
    assert line.startswith("1 batch norms have no pretrained values, first norm")
    assert line.endswith("set training.batch_norm=frozen_statistics, which trains gamma and beta")
    assert not warnings_for(network(), batch_norm="frozen_statistics")


def test_statistics_of_a_backbone_that_are_frozen_without_pretrained_values_are_named():
    image = keras.Input((None, None, 3))
    model = keras.Model(image, BatchNorm(name="decoder_bn")(BatchNorm(name="backbone_stem_bn")(image)))
    (line,) = warnings_for(model, batch_norm="frozen_statistics")
    assert line.startswith("1 batch norms of the backbone have no pretrained statistics, first backbone_stem_bn")
    assert line.endswith("add pretrained weights, or set training.batch_norm=train")
    model.get_layer("backbone_stem_bn").moving_mean.assign([0.0, 1.0, 0.0])
    assert not warnings_for(model, batch_norm="frozen_statistics")
