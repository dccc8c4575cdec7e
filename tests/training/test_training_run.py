"""Parts of one training: the re-estimation of statistics at its end."""

import numpy as np
import pytest

from deeplab.model.batch_norm import BatchNorm
from deeplab.run_folder import load_model
from deeplab.training.train import train
from tests.training.test_initial_weights import first_images, output_of, settings

pytestmark = pytest.mark.usefixtures("uncompiled")


@pytest.mark.slow
def test_reestimated_statistics_are_those_of_the_first_batches_and_a_frozen_backbone_keeps_its_own(tmp_path):
    config = settings(tmp_path / "run", recalibration_batches=2, backbone_multiplier=0.0)
    train(config)
    model = load_model(tmp_path / "run", 16)
    backbone = [x for x in model.layers if isinstance(x, BatchNorm) and x.name.startswith("backbone_")]
    assert not any(np.any(norm.moving_mean) for norm in backbone)
    pixels = output_of(model, "aspp0", first_images(config, 2))
    norm = model.get_layer("aspp0_bn")
    np.testing.assert_allclose(norm.moving_mean, pixels.mean((0, 1, 2)), rtol=1e-3, atol=1e-4)
    np.testing.assert_allclose(norm.moving_variance, pixels.var((0, 1, 2)), rtol=1e-3, atol=1e-4)
