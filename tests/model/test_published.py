"""The architectures in configs/model against the numbers of the papers and of the official model zoo."""

from pathlib import Path

import pytest
import yaml

from deeplab.config import ModelConfig, build
from deeplab.model.backbones import BACKBONES
from deeplab.model.cost import cost

FOLDER = Path(__file__).parents[2] / "configs" / "model"


def config(name: str) -> ModelConfig:
    return build(ModelConfig, yaml.safe_load((FOLDER / f"{name}.yaml").read_text()))


@pytest.mark.parametrize("name", sorted(path.stem for path in FOLDER.glob("*.yaml")))
def test_every_config_starts_with_its_source_and_published_numbers(name):
    assert config(name).backbone in BACKBONES
    header = (FOLDER / f"{name}.yaml").read_text().split("backbone:")[0]
    assert all(line.startswith("#") for line in header.splitlines())
    assert ("arXiv:" in header and "Published" in header) or "no published figures" in header


# at_16, at_8: billions of multiply-adds for 513 pixels. Published values in which the profiler overestimates atrous
# convolutions are compared in benchmarks/model_table.py instead.
@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "parameters", "at_16", "at_8"),
    [
        ("deeplabv1_vgg16", 20.5, None, None),
        ("deeplabv3_mobilenet_v2_050", None, 0.88, 2.84),
        ("deeplabv3_mobilenet_v2_aspp", 4.52, None, None),
        ("deeplabv3_resnet101", 58.16, None, None),
        ("deeplabv3plus_xception65", 41.06, 54.17, 177.10),
        ("lraspp_mobilenet_v3_large", 1.51, None, None),
        ("lraspp_mobilenet_v3_small", 0.47, None, None),
    ],
)
def test_parameters_and_multiply_adds_are_the_published_ones(name, parameters, at_16, at_8):
    for output_stride, billions in ((16, at_16), (8, at_8)):
        counted = cost(config(name), output_stride, 513)
        if parameters is not None:
            assert counted.parameters / 1e6 == pytest.approx(parameters, rel=0.005)
        if billions is not None:
            assert counted.multiply_adds / 1e9 == pytest.approx(billions, rel=0.02)
