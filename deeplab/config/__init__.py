"""Every setting of the toolkit, as frozen dataclasses, and `build`, which makes them from plain mappings.

Each default has its one home here; the YAML files under configs/ hold only what differs from it.
"""

from deeplab.config.commands import (
    Ends,
    EvaluateConfig,
    ExportConfig,
    ExportOutput,
    PredictConfig,
    Quantization,
    SummarizeConfig,
    TrainConfig,
)
from deeplab.config.image_size import ImageSize, height_width
from deeplab.config.mapping import build, to_mapping
from deeplab.config.model import ModelConfig
from deeplab.config.training import AugmentConfig, DataConfig, QuantizeAwareConfig, TrainingConfig

__all__ = [
    "AugmentConfig",
    "DataConfig",
    "Ends",
    "EvaluateConfig",
    "ExportConfig",
    "ExportOutput",
    "ImageSize",
    "ModelConfig",
    "PredictConfig",
    "Quantization",
    "QuantizeAwareConfig",
    "SummarizeConfig",
    "TrainConfig",
    "TrainingConfig",
    "build",
    "height_width",
    "to_mapping",
]
