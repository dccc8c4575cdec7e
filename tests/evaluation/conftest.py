"""A run folder that is quick to make and tells pictures apart."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from deeplab.config import ModelConfig


@pytest.fixture(scope="session")
def make_run(tmp_path_factory) -> Callable[[tuple[str, ...]], Path]:
    """Makes the run folder "tiny" of a small network for classes of these names.

    Its weights are random, its batch norms not trivial, and its logits far apart.
    """

    def make(classes: tuple[str, ...]) -> Path:
        import keras

        from deeplab.model.build import build_model
        from deeplab.run import Description, save_model

        config = ModelConfig(depth_multiplier=0.1, head="v3", aspp_rates=(), aspp_channels=8, classes=len(classes))
        keras.utils.set_random_seed(3)
        rng = np.random.default_rng(0)
        model = build_model(config)
        for weight in model.weights:
            if weight.path.endswith("gamma"):
                weight.assign(rng.uniform(1.5, 2.5, weight.shape))
        # A bias that balances the classes on a picture of blocks, or one class would win everywhere.
        blocks = np.kron(rng.integers(0, 256, (1, 5, 5, 3)), np.ones((1, 13, 13, 1))).astype(np.float32)
        kernel, bias = model.get_layer("logits").weights
        kernel.assign(rng.normal(0, 1, kernel.shape))
        bias.assign(-np.asarray(model(blocks, training=False)).mean(axis=(0, 1, 2)))
        folder = tmp_path_factory.mktemp("runs") / "tiny"
        folder.mkdir()
        save_model(folder, model, Description(config, classes))
        return folder

    return make
