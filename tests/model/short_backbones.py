"""The deep backbones with few repetitions: every kind of block in a fraction of the time."""

from functools import partial

from deeplab.model.backbones import xception
from deeplab.model.backbones.features import Backbone
from deeplab.model.backbones.resnet import resnet

UNITS = (2, 3, 1, 3)
SHORT: dict[str, Backbone] = {
    "resnet_short": partial(resnet, UNITS, False),
    "resnet_beta_short": partial(resnet, UNITS, True),
    "xception_short": partial(xception.xception, xception.ENTRY + xception.MIDDLE + xception.EXIT, low=1, middle=2),
}
