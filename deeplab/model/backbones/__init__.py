"""The backbones, by their names in `ModelConfig.backbone`.

To add one, write a module with a dictionary `VARIANTS` and list the module below.
"""

from importlib import import_module

from deeplab.model.backbones.features import Backbone

_MODULES = (
    "mobilenet_v2",
    "mobilenet_v3",
    "resnet",
    "xception",
)
BACKBONES: dict[str, Backbone] = {
    name: backbone for module in _MODULES for name, backbone in import_module(f"{__name__}.{module}").VARIANTS.items()
}
