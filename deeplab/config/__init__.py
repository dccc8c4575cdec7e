"""All settings as frozen dataclasses, and `build`, which creates them from plain mappings.

Every default is defined here and nowhere else; the YAML files in configs/ contain only what differs from it.
"""

from deeplab.config.commands import EvaluateConfig, PredictConfig, SummarizeConfig, TrainConfig
from deeplab.config.data import DataConfig
from deeplab.config.distillation import DistillationConfig
from deeplab.config.export import (
    IO_TYPES,
    ExportConfig,
    ExportOutput,
    InspectConfig,
    IoType,
    PageConfig,
    Quantization,
    TargetListConfig,
    VerifyConfig,
)
from deeplab.config.image_size import Fit, ImageSize, Resize, fixed_height_width, height_width
from deeplab.config.mapping import (
    build,
    checked,
    is_given,
    nested_config,
    record_given,
    to_mapping,
    type_name,
    with_values,
)
from deeplab.config.model import ModelConfig
from deeplab.config.pruning import PruneConfig
from deeplab.config.training import AugmentConfig, QuantizationAwareConfig, TrainingConfig

__all__ = [
    "IO_TYPES",
    "AugmentConfig",
    "DataConfig",
    "DistillationConfig",
    "EvaluateConfig",
    "ExportConfig",
    "ExportOutput",
    "Fit",
    "ImageSize",
    "InspectConfig",
    "IoType",
    "ModelConfig",
    "PageConfig",
    "PredictConfig",
    "PruneConfig",
    "Quantization",
    "QuantizationAwareConfig",
    "Resize",
    "SummarizeConfig",
    "TargetListConfig",
    "TrainConfig",
    "TrainingConfig",
    "VerifyConfig",
    "build",
    "checked",
    "fixed_height_width",
    "height_width",
    "is_given",
    "nested_config",
    "record_given",
    "to_mapping",
    "type_name",
    "with_values",
]
