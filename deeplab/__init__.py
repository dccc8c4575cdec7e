"""DeepLab segmentation in Keras 3: train at one output stride, evaluate and export at any.

Public names are loaded on first use, so that importing one part does not load TensorFlow for the others.
"""

import importlib
from typing import Any

_HOMES = {
    "ModelConfig": "deeplab.config",
    "TrainConfig": "deeplab.config",
    "EvaluateConfig": "deeplab.config",
    "ExportConfig": "deeplab.config",
    "PredictConfig": "deeplab.config",
    "UserError": "deeplab.errors",
    "build_model": "deeplab.model.build",
    "load_model": "deeplab.run_folder",
    "quantize_aware": "deeplab.model.quantization.transform",
    "import_weights": "deeplab.pretrained",
    "train": "deeplab.api",
    "evaluate": "deeplab.evaluation.evaluate",
    "export": "deeplab.conversion.export",
}
_WITH_TENSORFLOW = ("build_model", "quantize_aware", "import_weights", "export")
"""Names whose modules import TensorFlow. The others import it in their calls, if they need it."""

__all__ = list(_HOMES)


def __dir__() -> list[str]:
    return __all__


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'deeplab' has no attribute {name!r}")
    if name in _WITH_TENSORFLOW:
        from deeplab.quiet import load_tensorflow

        load_tensorflow()
    return getattr(importlib.import_module(_HOMES[name]), name)
