"""Fixtures of the training tests."""

from collections.abc import Iterator

import pytest
import tensorflow as tf


@pytest.fixture(scope="module")
def uncompiled() -> Iterator[None]:
    """Run eagerly: a few updates of a tiny network take less time than compiling one."""
    tf.config.run_functions_eagerly(True)
    yield
    tf.config.run_functions_eagerly(False)
