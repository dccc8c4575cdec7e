"""Any number of replicas gives the scores of one; in a process of its own, which has two virtual devices."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
SCRIPT = """
import json
import keras, numpy as np, tensorflow as tf
cpu = tf.config.list_physical_devices("CPU")[0]
tf.config.set_logical_device_configuration(cpu, [tf.config.LogicalDeviceConfiguration()] * 2)
from deeplab.datasets.source import Example
from deeplab.evaluation.evaluate import evaluate
from deeplab.evaluation.predictor import keras_predictor
from deeplab.evaluation.replicas import evaluate_on_replicas

def network():
    inputs = keras.Input((None, None, 3))
    layer = keras.layers.Conv2D(3, 3, padding="same", kernel_initializer=keras.initializers.RandomNormal(seed=1))
    return keras.Model(inputs, layer(inputs * (2 / 255) - 1.0))

def examples():
    for i in range(5):
        rng = np.random.default_rng(i)
        size = (20 + i, 30 - i)
        image, label = rng.integers(0, 256, (*size, 3)), rng.integers(0, 3, size)
        yield Example(image.astype(np.uint8), label.astype(np.uint8), str(i))

found = {"alone": evaluate(keras_predictor(network(), 33), examples(), "abc")}
for count in (1, 2):
    strategy = tf.distribute.MirroredStrategy([f"CPU:{i}" for i in range(count)])
    assert strategy.num_replicas_in_sync == count
    with strategy.scope():
        model = network()
    found[f"mirrored {count}"] = evaluate(keras_predictor(model, 33), examples(), "abc")
    found[f"replicas {count}"] = evaluate_on_replicas(model, strategy, examples(), "abc", 33, trimaps=(1,))
print(json.dumps({name: [s.matrix.tolist(), list(s.names)] for name, s in found.items()}))
"""


@pytest.mark.slow
def test_replicas_have_no_part_in_the_result():
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT],
        capture_output=True,
        text=True,
        env=os.environ | {"PYTHONPATH": str(ROOT), "CUDA_VISIBLE_DEVICES": "-1"},
    )
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout.splitlines()[-1])
    assert list(found) == ["alone", "mirrored 1", "replicas 1", "mirrored 2", "replicas 2"]
    assert found["alone"][1] == list("01234")
    for other in found.values():
        assert other == found["alone"]
