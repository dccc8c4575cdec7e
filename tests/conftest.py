"""Fixtures shared by all tests."""

import os
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")

SHARED = Path(os.environ.get("DEEPLAB_SHARED", Path(__file__).parents[1].parent / "shared"))


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_setup() -> None:
    """Seed Keras before each test; with other weights close to a rounding boundary a test could fail now and then."""
    if keras := sys.modules.get("keras"):
        keras.utils.set_random_seed(1)


def _existing(path: Path) -> Path:
    if not path.exists():
        pytest.skip(f"no real data: DEEPLAB_SHARED contains no {path.name}")
    return path


@pytest.fixture(scope="session")
def voc_root() -> Path:
    """A VOCdevkit with real images; the test is skipped without it."""
    return _existing(SHARED / "data" / "VOCdevkit")


@pytest.fixture(scope="session")
def official_models() -> Path:
    """Folder with the official .tflite files and their golden files; the test is skipped without it."""
    return _existing(SHARED / "models")


@pytest.fixture(scope="module")
def uncompiled() -> Iterator[None]:
    """Run eagerly: a few updates of a tiny network take less time than compiling one."""
    import tensorflow as tf

    tf.config.run_functions_eagerly(True)
    yield
    tf.config.run_functions_eagerly(False)


@pytest.fixture(scope="session")
def make_run(tmp_path_factory) -> Callable[[tuple[str, ...]], Path]:
    """A function that creates the run folder "tiny" of a small network for the given class names.

    The weights are random, the batch-norm statistics are not trivial, and the logits differ clearly between classes.
    """

    def make(classes: tuple[str, ...]) -> Path:
        from deeplab.config import ModelConfig
        from deeplab.model.build import build_model
        from deeplab.run_folder import ModelDescription, save_model
        from tests.networks import randomize

        config = ModelConfig(depth_multiplier=0.1, head="v3", aspp_rates=(), aspp_channels=8, classes=len(classes))
        rng = np.random.default_rng(0)
        model = randomize(build_model(config))
        # The bias balances the classes on an image of random blocks; otherwise one class would win in every pixel.
        blocks = np.kron(rng.integers(0, 256, (1, 5, 5, 3)), np.ones((1, 13, 13, 1))).astype(np.float32)
        _, bias = model.get_layer("logits").weights
        bias.assign(bias - np.asarray(model(blocks, training=False)).mean(axis=(0, 1, 2)))
        folder = tmp_path_factory.mktemp("runs") / "tiny"
        folder.mkdir()
        save_model(folder, model, ModelDescription(config, classes))
        return folder

    return make
