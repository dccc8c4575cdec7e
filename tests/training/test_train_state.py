"""The state of a training, built in the same way at its start and when it resumes."""

import numpy as np

from deeplab.config import ModelConfig, TrainConfig, TrainingConfig
from deeplab.model.batch_norm_statistics import batch_norms
from deeplab.training.train_state import make_train_state

TINY = ModelConfig(
    backbone="resnet50_beta", depth_multiplier=0.05, head="v3", aspp_rates=(), aspp_channels=8, classes=3
)


def test_statistics_are_frozen_in_the_network_and_in_its_auxiliary_head():
    training = TrainingConfig(batch_norm="frozen_statistics", auxiliary_weight=0.4, weight_decay=0.0)
    state = make_train_state(TrainConfig(model=TINY, training=training))
    norms = batch_norms(state.model)
    assert "auxiliary_conv_bn" in [norm.name for norm in norms]
    assert {(norm.trainable, norm.frozen_statistics) for norm in norms} == {(True, True)}
    trained = {variable.path for variable in state.model.trainable_variables}
    assert {variable.path for norm in norms for variable in (norm.gamma, norm.beta)} <= trained
    image = np.random.default_rng(0).uniform(0, 255, (1, 33, 33, 3)).astype("float32")
    before = [np.array(norm.moving_mean) for norm in norms]
    state.model(image, training=True)
    for mean, norm in zip(before, norms, strict=True):
        np.testing.assert_array_equal(mean, norm.moving_mean)
