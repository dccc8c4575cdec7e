"""Completes the settings of a training: values that follow from the data, the network or the pretrained weights."""

import dataclasses
import json
import warnings
from pathlib import Path
from typing import Any

import numpy as np

from deeplab.config import ModelConfig, TrainConfig, build, is_given, to_mapping, with_values
from deeplab.datasets.open import open_source, resolved_split
from deeplab.errors import UserError
from deeplab.files import WEIGHTS_FILE
from deeplab.pretrained.keras_applications import has_imagenet_weights
from deeplab.pretrained.tf1_checkpoint import checkpoint_prefix
from deeplab.pruning.prune import prune
from deeplab.published_weights import local_file
from deeplab.run_folder import (
    MODEL_FILE,
    TRAIN_FILE,
    ModelDescription,
    TrainedModel,
    is_tflite,
    open_model,
    read_training_config,
    save_model,
)
from deeplab.training.distillation import check_teacher, teacher_sha256
from deeplab.training.distribution import Workers, broadcast_value
from deeplab.training.optimizer import published_weight_decay
from deeplab.training.run_lock import has_started, lock_run_folder

PRUNED_FOLDER = "pruned"

PUBLISHED_DATA = ("voc", "cityscapes", "ade20k", "coco_voc")
"""Sources whose published figures start from pretrained weights."""


def complete_settings(config: TrainConfig, workers: Workers) -> TrainConfig:
    """Return the settings without values that follow from others.

    The chief prints a line with the network and the updates, and a line for each value that it found:

    - `model`: keys that are not set are those of the network that `pretrained` describes, else the defaults.
    - `data.train_split=auto` is replaced by the name of the split.
    - `training.crop_size` is the size that `data.resize` scales images to, unless it was given by hand.
    - `training.weight_decay=null` is replaced by the published value of the network.
    - `training.distillation.sha256=null` is replaced by the checksum of the teacher.
    - `training.result=null` is replaced by best with `training.patience`, else by last.

    Every worker must call this; only the chief reads `pretrained`.

    Raises:
        UserError: `pretrained`, the teacher or the data cannot be opened.
    """
    lines = []
    crop = config.data.image_size
    if crop is not None and not is_given(config, "training.crop_size"):
        config = dataclasses.replace(config, training=dataclasses.replace(config.training, crop_size=crop))
        lines.append(f"training.crop_size={crop if isinstance(crop, int) else list(crop)}: that of data.image_size")
    if isinstance(config.model, dict):
        described = _broadcast(workers, describe_network(config) if workers.is_chief else None)
        if described is not None:
            # The number of classes comes from the data, as in every training.
            mapping = described | {"classes": ModelConfig.classes} | config.model
            config = dataclasses.replace(config, model=build(ModelConfig, mapping, "model"))
            lines.append(f"network of {config.pretrained}: {config.network.summary}")
        config = dataclasses.replace(config, model=config.network)
    split = resolved_split(config.data)
    if split != config.data.train_split:
        config = dataclasses.replace(config, data=dataclasses.replace(config.data, train_split=split))
        count = open_source(config.data, split).size
        lines.append(f"data.train_split={split}: {count} images")
    if config.training.result is None:
        last = config.training.patience is None
        training = dataclasses.replace(config.training, result="last" if last else "best")
        config = dataclasses.replace(config, training=training)
    if config.training.weight_decay is None:
        decay = published_weight_decay(config.network)
        config = dataclasses.replace(config, training=dataclasses.replace(config.training, weight_decay=decay))
        lines.append(f"weight decay {decay:g}, the published value of this network (training.weight_decay)")
    config = with_values(config, {"training.distillation.sha256": teacher_sha256(config)})
    (height, width), count = config.training.crop, config.training.batch_size
    work = f"{config.training.steps:,} updates of {count} crops of {height}x{width} pixels"
    lines.insert(0, f"{config.run}: {config.network.summary}, {work}")
    if workers.is_chief and lines:
        print("\n".join(lines))
    return config


def pruned_network(config: TrainConfig, workers: Workers) -> tuple[TrainConfig, str]:
    """Prune the pretrained network of a training; one that has started keeps its network.

    Args:
        config: complete settings with `prune.enabled`.
        workers: all workers; the chief prunes.

    Returns:
        (the settings with the pruned network as `model`, its run folder).

    Raises:
        UserError: as for `prune` and `check_teacher`; or another process trains in the run folder.
    """
    run = Path(config.run)
    channels = None
    if workers.is_chief and has_started(run):
        channels = {"channels": read_training_config(run).network.expanded_channels}
    elif workers.is_chief:
        if config.training.distillation.teacher is not None:
            check_teacher(config, open_source(config.data, config.data.val_split, config.seed).classes)
        pruned, description = prune(config)
        with lock_run_folder(run):
            save_model(run / PRUNED_FOLDER, pruned, description)
        channels = {"channels": pruned.config.expanded_channels}
    channels = _broadcast(workers, channels) or {}
    return with_values(config, {"model.expanded_channels": channels["channels"]}), str(run / PRUNED_FOLDER)


def describe_network(config: TrainConfig) -> dict[str, Any] | None:
    """Return the architecture that `pretrained` describes: that of a run folder or a .tflite file; None for others.

    A resumed run does not need its pretrained weights: if they are missing, the architecture is that of the run.

    Raises:
        UserError: the .tflite file or the run folder is damaged, or published weights cannot be downloaded.
    """
    if config.pretrained in (None, "imagenet") or checkpoint_prefix(Path(config.pretrained)):
        return None
    run = Path(config.run)
    try:
        path = local_file(config.pretrained)
    except UserError:
        if not (run / TRAIN_FILE).is_file():
            raise
        path = Path(config.pretrained)
    if not path.exists():
        return to_mapping(read_training_config(run).network) if (run / TRAIN_FILE).is_file() else None
    description = describe_weights(path)
    return None if description is None else to_mapping(description.config)


def describe_weights(path: Path) -> ModelDescription | None:
    """Return architecture and classes of the model of `described_model`; None for other weights.

    Raises:
        UserError: the .tflite file or the run folder is damaged.
    """
    model = described_model(path)
    return None if model is None else model.description


def described_model(path: Path) -> TrainedModel | None:
    """Return the model of a run folder, its weights or a .tflite file; None for other weights.

    Raises:
        UserError: the .tflite file or the run folder is damaged.
    """
    source = path.parent if path.name == WEIGHTS_FILE else path
    described = is_tflite(source) or (source / MODEL_FILE).is_file()
    return open_model(source) if described else None


def warn_about_random_weights(config: TrainConfig) -> None:
    """Warn if a training on a set with published figures starts from random weights, and name what to add."""
    if config.data.source not in PUBLISHED_DATA:
        return
    backbone = config.network.backbone
    remedy = "pretrained=imagenet"
    if not has_imagenet_weights(config.network):
        remedy = f"pretrained=FILE with official weights of {backbone} (see docs/training.md)"
    warnings.warn(
        f"the training starts from random weights; the published figures start from ImageNet or COCO weights: add "
        f"{remedy}",
        stacklevel=2,
    )


def _broadcast(workers: Workers, value: dict[str, Any] | None) -> dict[str, Any] | None:
    """Return the chief's `value`, broadcast as the bytes of its JSON text. Every worker must call this."""
    if workers.count == 1:
        return value
    content = np.frombuffer(json.dumps(value).encode(), np.uint8)
    size = int(broadcast_value(workers, len(content)))
    padded = content if workers.is_chief else np.zeros(size, np.uint8)
    result: dict[str, Any] | None = json.loads(broadcast_value(workers, padded).astype(np.uint8).tobytes())
    return result
