"""Official TensorFlow 1 checkpoints, with names and shapes written out from the published code.

The names are those of tensorflow/models research/deeplab (model.py, core/) and slim's MobileNets (nets/mobilenet). They
are spelled out here and do not come from the code under test.
"""

import os
from functools import partial

import numpy as np
import pytest

from deeplab.config import ModelConfig
from deeplab.errors import UserError
from deeplab.model.build import DeepLab, build_model
from deeplab.pretrained import import_weights
from deeplab.pretrained.tf1_checkpoint import BACKBONE_SCOPES

NORM = ("gamma", "beta", "moving_mean", "moving_variance")
# Depth multiplier 0.25, not rounded: input and output channels of each block.
STEM = 8
BLOCKS = [
    (8, 4), (4, 6), (6, 6), (6, 8), (8, 8), (8, 8), (8, 16), (16, 16), (16, 16), (16, 16), (16, 24), (24, 24), (24, 24),
    (24, 40), (40, 40), (40, 40), (40, 80),
]  # fmt: skip
CONFIG = ModelConfig(
    depth_multiplier=0.25, aspp_channels=12, decoder_channels=14, low_level_channels=10, aspp_rates=(6, 12), classes=5
)


def check_variable(model: DeepLab, values: dict[str, np.ndarray], layer: str, index: int, scope: str) -> None:
    """Check that a layer has the value of the checkpoint's variable `scope`."""
    np.testing.assert_array_equal(model.get_layer(layer).get_weights()[index], values[scope])


def convolution(scope: str, inputs: int, outputs: int, size: int = 1) -> dict[str, tuple[int, ...]]:
    """Return the shapes of a convolution with batch norm."""
    norms = {f"{scope}/BatchNorm/{name}": (outputs,) for name in NORM}
    return {f"{scope}/weights": (size, size, inputs, outputs), **norms}


def depthwise(scope: str, channels: int, size: int = 3) -> dict[str, tuple[int, ...]]:
    norms = {f"{scope}/BatchNorm/{name}": (channels,) for name in NORM}
    return {f"{scope}/depthwise_weights": (size, size, channels, 1), **norms}


def biased(scope: str, inputs: int, outputs: int) -> dict[str, tuple[int, ...]]:
    return {f"{scope}/weights": (1, 1, inputs, outputs), f"{scope}/biases": (outputs,)}


def backbone() -> dict[str, tuple[int, ...]]:
    shapes = convolution("MobilenetV2/Conv", 3, STEM, 3)
    for number, (inputs, outputs) in enumerate(BLOCKS):
        scope, wide = f"MobilenetV2/expanded_conv_{number}", 6 * inputs
        if number == 0:
            scope, wide = "MobilenetV2/expanded_conv", inputs
        else:
            shapes |= convolution(f"{scope}/expand", inputs, wide)
        shapes |= depthwise(f"{scope}/depthwise", wide)
        shapes |= convolution(f"{scope}/project", wide, outputs)
    return shapes


def head(classes: int = 5) -> dict[str, tuple[int, ...]]:
    return {
        **convolution("image_pooling", 80, 12),
        **convolution("aspp0", 80, 12),
        **depthwise("aspp1_depthwise", 80),
        **convolution("aspp1_pointwise", 80, 12),
        **depthwise("aspp2_depthwise", 80),
        **convolution("aspp2_pointwise", 80, 12),
        **convolution("concat_projection", 48, 12),
        **convolution("decoder/feature_projection0", 36, 10),
        **depthwise("decoder/decoder_conv0_depthwise", 22),
        **convolution("decoder/decoder_conv0_pointwise", 22, 14),
        **depthwise("decoder/decoder_conv1_depthwise", 14),
        **convolution("decoder/decoder_conv1_pointwise", 14, 14),
        "logits/semantic/weights": (1, 1, 14, classes),
        "logits/semantic/biases": (classes,),
    }


def values_of(shapes: dict[str, tuple[int, ...]]) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(0)
    return {name: rng.normal(size=shape).astype("float32") for name, shape in shapes.items()}


def write(folder, shapes: dict[str, tuple[int, ...]]) -> dict[str, np.ndarray]:
    """Save random values with the operator of TensorFlow 1's saver, without its slow graph; return them."""
    import tensorflow as tf

    values = values_of(shapes)
    prefix = os.fspath(folder / "model.ckpt-30000")
    tf.raw_ops.SaveV2(
        prefix=prefix, tensor_names=list(values), shape_and_slices=[""] * len(values), tensors=list(values.values())
    )
    return values


def save_as_tensorflow_1(folder, shapes: dict[str, tuple[int, ...]]) -> dict[str, np.ndarray]:
    """Save random values and the variables of an optimizer with TensorFlow 1's saver; return the random values."""
    import tensorflow as tf

    values = values_of(shapes)
    with tf.Graph().as_default(), tf.compat.v1.Session() as session:
        for name, value in values.items():
            tf.compat.v1.get_variable(name, initializer=value)
        tf.compat.v1.get_variable("global_step", initializer=np.int64(30000))
        tf.compat.v1.get_variable("logits/semantic/weights/Momentum", initializer=np.zeros(2, "float32"))
        session.run(tf.compat.v1.global_variables_initializer())
        tf.compat.v1.train.Saver().save(session, os.fspath(folder / "model.ckpt"), global_step=30000)
    return values


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory):
    folder = tmp_path_factory.mktemp("checkpoint")
    return folder, save_as_tensorflow_1(folder, {**backbone(), **head(), "MobilenetV2/Conv_1/weights": (1, 1, 80, 9)})


@pytest.mark.parametrize("name", ["model.ckpt-30000", "model.ckpt-30000.index", ""])
def test_every_variable_of_a_deeplabv3plus_checkpoint_is_loaded(checkpoint, name):
    folder, values = checkpoint
    model = build_model(CONFIG)
    report = import_weights(model, folder / name)
    assert len(report.loaded) == len(values) - 1 == len(model.weights)
    assert report.reinitialized == report.missing == ()
    assert report.unused == ("MobilenetV2/Conv_1/weights",)
    assert not report.folded

    same = partial(check_variable, model, values)
    same("backbone_stem", 0, "MobilenetV2/Conv/weights")
    same("backbone_block0_depthwise", 0, "MobilenetV2/expanded_conv/depthwise/depthwise_weights")
    same("backbone_block16_project_bn", 3, "MobilenetV2/expanded_conv_16/project/BatchNorm/moving_variance")
    same("backbone_block7_expand_bn", 1, "MobilenetV2/expanded_conv_7/expand/BatchNorm/beta")
    same("aspp2_depthwise_bn", 0, "aspp2_depthwise/BatchNorm/gamma")
    same("image_pooling", 0, "image_pooling/weights")
    same("decoder_low_level", 0, "decoder/feature_projection0/weights")
    same("decoder_conv1_pointwise_bn", 2, "decoder/decoder_conv1_pointwise/BatchNorm/moving_mean")
    same("logits", 1, "logits/semantic/biases")


def test_convolutions_that_are_not_separable_are_loaded(tmp_path):
    config = ModelConfig(**{**vars(CONFIG), "aspp_separable": False, "decoder_separable": False, "aspp_rates": (6,)})
    plain = {name: shape for name, shape in head().items() if not name.startswith(("aspp1", "aspp2", "decoder", "con"))}
    plain |= convolution("aspp1", 80, 12, 3) | convolution("concat_projection", 36, 12)
    plain |= convolution("decoder/feature_projection0", 36, 10)
    # slim.repeat counts from 1 within a scope named like the first convolution.
    plain |= convolution("decoder/decoder_conv0/decoder_conv0_1", 22, 14, 3)
    plain |= convolution("decoder/decoder_conv0/decoder_conv0_2", 14, 14, 3)
    values = write(tmp_path, backbone() | plain)
    model = build_model(config)
    assert import_weights(model, tmp_path).missing == ()
    np.testing.assert_array_equal(
        model.get_layer("decoder_conv1").get_weights()[0], values["decoder/decoder_conv0/decoder_conv0_2/weights"]
    )


def test_other_classes_reinitialize_only_the_logits(tmp_path):
    write(tmp_path, backbone() | head(classes=19))
    report = import_weights(build_model(CONFIG), tmp_path)
    assert report.reinitialized == ("logits/kernel", "logits/bias")
    assert report.missing == ()


def test_a_checkpoint_of_an_unknown_backbone_is_refused(tmp_path):
    write(tmp_path, {"resnet_v1_7/conv1/weights": (7, 7, 3, 4)})
    with pytest.raises(
        UserError, match=r"checkpoint of an unknown backbone \(its first variables: resnet_v1_7/conv1/weights\)"
    ):
        import_weights(build_model(CONFIG), tmp_path)


def test_a_checkpoint_without_its_data_file_is_refused(tmp_path):
    write(tmp_path, backbone())
    next(tmp_path.glob("*.data-*")).unlink()
    with pytest.raises(UserError, match="is damaged or truncated"):
        import_weights(build_model(CONFIG), tmp_path / "model.ckpt-30000")


def test_a_truncated_checkpoint_is_refused(tmp_path):
    write(tmp_path, backbone())
    data = next(tmp_path.glob("*.data-*"))
    data.write_bytes(data.read_bytes()[:1000])
    with pytest.raises(UserError, match="is damaged or truncated"):
        import_weights(build_model(CONFIG), tmp_path / "model.ckpt-30000")


# mobilenet_v3_large_seg and mobilenet_v3_small_seg (core/feature_extractor.py): V3_LARGE and V3_SMALL with half the
# channels in the last three blocks and the last convolution. Of each block: inputs, expanded channels, outputs, kernel,
# and the channels of the squeeze, a quarter of the expanded ones rounded to a multiple of 8, or 0 without one.
V3_BLOCKS = {
    "large": [
        (16, 16, 16, 3, 0), (16, 64, 24, 3, 0), (24, 72, 24, 3, 0), (24, 72, 40, 5, 24), (40, 120, 40, 5, 32),
        (40, 120, 40, 5, 32), (40, 240, 80, 3, 0), (80, 200, 80, 3, 0), (80, 184, 80, 3, 0), (80, 184, 80, 3, 0),
        (80, 480, 112, 3, 120), (112, 672, 112, 3, 168), (112, 336, 80, 5, 88), (80, 480, 80, 5, 120),
        (80, 480, 80, 5, 120),
    ],
    "small": [
        (16, 16, 16, 3, 8), (16, 72, 24, 3, 0), (24, 88, 24, 3, 0), (24, 96, 40, 5, 24), (40, 240, 40, 5, 64),
        (40, 240, 40, 5, 64), (40, 120, 48, 5, 32), (48, 144, 48, 5, 40), (48, 144, 48, 5, 40), (48, 288, 48, 5, 72),
        (48, 288, 48, 5, 72),
    ],
}  # fmt: skip
# Channels of the last convolution, and of the depthwise output of layer_7 or layer_4, the features at stride 8.
V3_LAST = {"large": (480, 120), "small": (288, 88)}


def mobilenet_v3_with_lraspp(size: str) -> dict[str, tuple[int, ...]]:
    """Return the variables of a checkpoint trained with the published flags of MobileNetV3."""
    shapes = convolution("MobilenetV3/Conv", 3, 16, 3)
    for number, (inputs, wide, outputs, kernel, squeezed) in enumerate(V3_BLOCKS[size]):
        scope = f"MobilenetV3/expanded_conv_{number}" if number else "MobilenetV3/expanded_conv"
        # The block expands only if it gets more channels.
        if wide > inputs:
            shapes |= convolution(f"{scope}/expand", inputs, wide)
        shapes |= depthwise(f"{scope}/depthwise", wide, kernel)
        if squeezed:
            shapes |= biased(f"{scope}/squeeze_excite/Conv", wide, squeezed)
            shapes |= biased(f"{scope}/squeeze_excite/Conv_1", squeezed, wide)
        shapes |= convolution(f"{scope}/project", wide, outputs)
    last, middle = V3_LAST[size]
    return {
        **shapes,
        **convolution("MobilenetV3/Conv_1", V3_BLOCKS[size][-1][2], last),
        # aspp_with_squeeze_and_excitation: the gate has no batch norm, hence biases.
        **biased("image_pooling", last, 128),
        **convolution("aspp0", last, 128),
        # decoder_output_is_logits and decoder_use_sum_merge: both convolutions of the decoder return the logits.
        **biased("decoder/feature_projection0", middle, 19),
        **biased("decoder/decoder_conv0", 128, 19),
    }


@pytest.mark.parametrize("size", ["small", "large"])
def test_every_variable_of_a_mobilenet_v3_checkpoint_is_loaded(size, tmp_path):
    values = write(tmp_path, mobilenet_v3_with_lraspp(size))
    fields = {"backbone": f"mobilenet_v3_{size}", "reduced_tail": True, "head": "lraspp", "aspp_rates": ()}
    model = build_model(ModelConfig(**fields, aspp_channels=128, classes=19))
    report = import_weights(model, tmp_path)
    assert len(report.loaded) == len(values) == len(model.weights)
    assert report.reinitialized == report.missing == report.unused == ()

    same = partial(check_variable, model, values)
    same("backbone_stem", 0, "MobilenetV3/Conv/weights")
    same("backbone_last_bn", 1, "MobilenetV3/Conv_1/BatchNorm/beta")
    same("backbone_block0_depthwise", 0, "MobilenetV3/expanded_conv/depthwise/depthwise_weights")
    same("backbone_block4_squeeze", 0, "MobilenetV3/expanded_conv_4/squeeze_excite/Conv/weights")
    same("backbone_block10_excite", 1, "MobilenetV3/expanded_conv_10/squeeze_excite/Conv_1/biases")
    same("image_pooling", 1, "image_pooling/biases")
    same("aspp0_bn", 3, "aspp0/BatchNorm/moving_variance")
    same("logits_high", 0, "decoder/decoder_conv0/weights")
    same("logits_low", 1, "decoder/feature_projection0/biases")


XCEPTION_CASES = [
    ("xception_65", "backbone_stem1", "entry_flow/conv1_2"),
    (
        "xception_65",
        "backbone_block1_conv1_pointwise",
        "entry_flow/block2/unit_1/xception_module/separable_conv2_pointwise",
    ),
    ("xception_65", "backbone_block2_shortcut", "entry_flow/block3/unit_1/xception_module/shortcut"),
    (
        "xception_65",
        "backbone_block18_conv0_depthwise",
        "middle_flow/block1/unit_16/xception_module/separable_conv1_depthwise",
    ),
    (
        "xception_65",
        "backbone_block20_conv2_pointwise",
        "exit_flow/block2/unit_1/xception_module/separable_conv3_pointwise",
    ),
    (
        "xception_71",
        "backbone_block4_conv2_depthwise",
        "entry_flow/block5/unit_1/xception_module/separable_conv3_depthwise",
    ),
    ("xception_41", "backbone_block11_shortcut", "exit_flow/block1/unit_1/xception_module/shortcut"),
]


@pytest.mark.parametrize(
    ("backbone", "layer", "expected"),
    [
        ("resnet_v1_101", "backbone_stem2", "conv1_3"),
        ("resnet_v1_101", "backbone_stage2_unit22_conv1", "block3/unit_23/bottleneck_v1/conv2"),
        ("resnet_v1_50", "backbone_stage0_unit0_shortcut", "block1/unit_1/bottleneck_v1/shortcut"),
        ("resnet_v1_50", "backbone_stem", None),
        *XCEPTION_CASES,
    ],
)
def test_scope_of_a_layer(backbone, layer, expected):
    assert BACKBONE_SCOPES[f"{backbone}/"](layer) == (expected and f"{backbone}/{expected}")


@pytest.mark.parametrize(
    ("backbone", "root"),
    [("resnet50_beta", "resnet_v1_50/"), pytest.param("xception71", "xception_71/", marks=pytest.mark.slow)],
)
def test_every_backbone_layer_has_a_different_scope(backbone, root):
    config = ModelConfig(backbone=backbone, depth_multiplier=0.125, head="v3", aspp_rates=(), aspp_channels=8)
    model = build_model(config, output_stride=32)
    names = {layer.name.removesuffix("_bn") for layer in model.layers if layer.weights}
    scopes = [BACKBONE_SCOPES[root](name) for name in names if name.startswith("backbone_")]
    assert None not in scopes
    assert len(set(scopes)) == len(scopes)
