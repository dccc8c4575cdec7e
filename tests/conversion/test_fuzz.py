"""Exports of a few random networks, and checks of damaged files; benchmarks/export_fuzz.py runs many more."""

import keras
import numpy as np
import pytest

from benchmarks.export_damage import DAMAGES
from benchmarks.export_fuzz import REJECTED, SHORT, draw, run_case
from deeplab.conversion.checks import failed_checks
from deeplab.conversion.verify import verify
from deeplab.model.backbones import BACKBONES


@pytest.fixture(autouse=True)
def short_backbones(monkeypatch):
    for name, backbone in SHORT.items():
        monkeypatch.setitem(BACKBONES, name, backbone)
    yield
    keras.utils.clear_session()


def test_a_case_is_reproducible():
    assert draw(0, 7, 0.5) == draw(0, 7, 0.5)
    assert draw(0, 7, 0.5) != draw(1, 7, 0.5)


@pytest.mark.slow
@pytest.mark.parametrize("number", [1, 3, 8, 40, 47])
def test_a_random_network_passes_its_checks_or_is_a_user_error(number):
    # 8 and 40 are ResNets (40 in float16), whose mean subtraction must not count as a normalization.
    assert run_case(draw(0, number, 0)) in ("passed", REJECTED)


@pytest.mark.parametrize("kind", DAMAGES)
def test_a_damaged_file_fails(kind, workshop):
    int8_only = ("scale of the input", "scale of the output", "noise in the kernels")
    quantization = "int8" if kind in int8_only else "float32"
    target = workshop.target(quantization)
    damaged = DAMAGES[kind](workshop.file(quantization), target.expected, np.random.default_rng(0))
    assert damaged is not None
    assert failed_checks(verify(damaged, target, ()))
