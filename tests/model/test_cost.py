import math
import subprocess
import sys
from pathlib import Path

import keras
import pytest
from keras import layers

from deeplab.config import ModelConfig
from deeplab.errors import UserError
from deeplab.model.cost import cost, table
from deeplab.model.resize import ResizeBilinear


@pytest.fixture(scope="module")
def small():
    image = keras.Input((33, 65, 3))
    x = layers.Conv2D(8, 3, strides=2, padding="same", use_bias=False, name="stem")(image)  # 17 x 33 x 8
    x = layers.BatchNormalization(name="norm")(x)
    x = layers.DepthwiseConv2D(3, dilation_rate=2, padding="same", name="depthwise")(x)
    pooled = layers.MaxPooling2D(3, 2, padding="same", name="pool")(x)  # 9 x 17 x 8
    wide = layers.Conv2D(4, 1, name="pointwise")(pooled)
    resized = ResizeBilinear(name="resize")(wide, x)
    x = layers.Concatenate(name="concat")([resized, x])
    gate = layers.Conv2D(12, 1, name="gate")(layers.GlobalAveragePooling2D(keepdims=True)(x))
    gated = layers.Multiply(name="gated")([x, gate])
    x = layers.Dense(5, name="dense")(layers.GlobalAveragePooling2D(name="mean")(x))
    return {row.name: row for row in cost(keras.Model(image, [x, gated])).layers}


@pytest.mark.parametrize(
    ("name", "parameters", "multiply_adds"),
    [
        ("stem", 3 * 3 * 3 * 8, 17 * 33 * 8 * 27),
        ("norm", 8 + 8, 0),
        ("depthwise", 9 * 8 + 8, 17 * 33 * 8 * 9),
        ("pointwise", 8 * 4 + 4, 9 * 17 * 4 * 8),
        ("dense", 12 * 5 + 5, 12 * 5),
        ("gate", 12 * 12 + 12, 12 * 12),
        ("concat", 0, 0),
    ],
)
def test_parameters_and_multiply_adds_equal_those_counted_by_hand(small, name, parameters, multiply_adds):
    assert (small[name].parameters, small[name].multiply_adds) == (parameters, multiply_adds)


# stem: 3 pixels, output stride 2. depthwise: 4 * 2 pixels more. pool: 2 * 2 pixels more, output stride 4. resize: mixes
# two neighbors that are 4 pixels apart.
@pytest.mark.parametrize(
    ("name", "pixels"),
    [
        ("stem", 3),
        ("depthwise", 11),
        ("pool", 15),
        ("pointwise", 15),
        ("resize", 19),
        ("concat", 19),
        ("mean", math.inf),
        ("gate", math.inf),
        ("gated", math.inf),
    ],
)
def test_receptive_fields_equal_those_counted_by_hand(small, name, pixels):
    assert small[name].receptive_field == pixels


def test_the_totals_of_the_mobile_model_are_the_published_ones():
    """Published: 2.11 M parameters and 2.75 B multiply-adds (MobileNetV2, table 7)."""
    counted = cost(ModelConfig(head="v3", aspp_rates=()), output_stride=16, image_size=513)
    assert counted.parameters / 1e6 == pytest.approx(2.11, abs=0.005)
    assert counted.multiply_adds / 1e9 == pytest.approx(2.75, rel=0.02)
    rows = {row.name: row for row in counted.layers}
    assert rows["backbone_stem"].multiply_adds == 257 * 257 * 32 * 27
    assert rows["backbone_block16_project"].output == (33, 33, 320)
    lines = table(counted).splitlines()
    assert lines[-1] == "2.11 M parameters, 2.74 B multiply-adds"
    assert len(lines) == 55 + 3  # the 55 kernels of the official file; header, sum and totals


def test_a_model_of_free_size_is_rejected():
    free = keras.Model(image := keras.Input((None, None, 3)), layers.Conv2D(2, 1)(image))
    with pytest.raises(UserError, match=r"image_size.*513"):
        cost(free)


@pytest.mark.slow
def test_the_command_prints_the_table_or_one_error_line():
    script = Path(__file__).parents[2] / "summarize.py"
    for arguments, code, text in (
        (("model=lraspp_mobilenet_v3_large", "model.classes=19"), 0, "1.51 M parameters"),
        (("model.backbone=vgg19",), 1, "error: model.backbone: unknown backbone 'vgg19'; use one of mobilenet_v2"),
    ):
        process = subprocess.run([sys.executable, script, *arguments], capture_output=True, text=True)
        assert process.returncode == code
        assert text in (process.stdout if code == 0 else process.stderr)
