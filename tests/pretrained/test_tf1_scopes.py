"""Scopes of TensorFlow 1, written out from tensorflow/models research/deeplab, core/."""

import pytest

from deeplab.config import ModelConfig
from deeplab.model.build import build_model
from deeplab.pretrained.tf1_scopes import BACKBONE_SCOPES

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
