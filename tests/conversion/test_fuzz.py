"""A few random networks through the export, and damages through its checks; benchmarks/export_fuzz.py has the rest."""

import keras
import pytest

from benchmarks.export_damage import DAMAGES
from benchmarks.export_fuzz import REFUSED, SHORT, draw, run_case
from deeplab.conversion.verify import verify
from deeplab.datasets.shapes import CLASSES
from deeplab.model.backbones import BACKBONES
from deeplab.tflite.metadata import write_metadata


@pytest.fixture(autouse=True)
def short_backbones(monkeypatch):
    for name, backbone in SHORT.items():
        monkeypatch.setitem(BACKBONES, name, backbone)
    yield
    keras.utils.clear_session()


def test_a_case_is_the_same_in_every_run():
    assert draw(0, 7, 0.5) == draw(0, 7, 0.5)
    assert draw(0, 7, 0.5) != draw(1, 7, 0.5)


@pytest.mark.slow
@pytest.mark.parametrize("number", [1, 3, 8, 40, 47])
def test_a_random_network_verifies_or_is_refused_in_words(number):
    # 8 and 40 have ResNets, the latter in float16, whose own mean once counted as a normalization paid for.
    assert run_case(draw(0, number, 0)) in ("passed", REFUSED)


@pytest.mark.parametrize("kind", DAMAGES)
def test_damage_is_refused(kind, workshop):
    import numpy as np

    quantization = "int8" if kind in ("the input's scale", "the output's scale", "noise in the kernels") else "float32"
    proof = workshop.proof(quantization)
    whole = write_metadata(workshop.bare(quantization), CLASSES, activation="softmax")
    damaged = DAMAGES[kind](whole, proof.expected, np.random.default_rng(0))
    assert damaged is not None
    assert [c.name for c in verify(damaged, proof, ()) if c.state == "failed"]
