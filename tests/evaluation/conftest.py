"""A run folder that is quick to make and tells pictures apart."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from deeplab.config import ModelConfig
from tests.networks import randomize


@pytest.fixture(scope="session")
def make_run(tmp_path_factory) -> Callable[[tuple[str, ...]], Path]:
    """Makes the run folder "tiny" of a small network for classes of these names.

    Its weights are random, its batch norms not trivial, and its logits far apart.
    """

    def make(classes: tuple[str, ...]) -> Path:
        from deeplab.model.build import build_model
        from deeplab.run_folder import ModelDescription, save_model

        config = ModelConfig(depth_multiplier=0.1, head="v3", aspp_rates=(), aspp_channels=8, classes=len(classes))
        rng = np.random.default_rng(0)
        model = randomize(build_model(config))
        # A bias that balances the classes on a picture of blocks, or one class would win everywhere.
        blocks = np.kron(rng.integers(0, 256, (1, 5, 5, 3)), np.ones((1, 13, 13, 1))).astype(np.float32)
        _, bias = model.get_layer("logits").weights
        bias.assign(bias - np.asarray(model(blocks, training=False)).mean(axis=(0, 1, 2)))
        folder = tmp_path_factory.mktemp("runs") / "tiny"
        folder.mkdir()
        save_model(folder, model, ModelDescription(config, classes))
        return folder

    return make
