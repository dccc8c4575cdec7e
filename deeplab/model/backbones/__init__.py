"""The backbones, by their names in `ModelConfig.backbone`. To add one, write a module with `VARIANTS`; list it here."""

from deeplab.model.backbones import mobilenet_v2, mobilenet_v3, resnet, vgg, xception
from deeplab.model.backbones.features import Backbone

BACKBONES: dict[str, Backbone] = (
    mobilenet_v2.VARIANTS | mobilenet_v3.VARIANTS | resnet.VARIANTS | vgg.VARIANTS | xception.VARIANTS
)
