"""Trains a DeepLab model: `python train.py` for the built-in demo, `data=voc data.root=DIR` for PASCAL VOC."""

from pathlib import Path

import hydra
from omegaconf import DictConfig, OmegaConf

from deeplab import command
from deeplab.config import TrainConfig
from deeplab.datasets.open import open_source


def first(config: TrainConfig) -> bool:
    """Tells of data that are not there before TensorFlow takes its seconds to load."""
    if config.data.root is not None and not Path(config.data.root).is_dir():
        open_source(config.data, config.data.train_split, config.seed)
    return False


def work(config: TrainConfig) -> None:
    """Imported late, so that a wrong key is told before TensorFlow takes its seconds to load."""
    from deeplab.training.train import run_training

    run_training(config)


@hydra.main(version_base="1.3", config_path="configs", config_name="train")
def main(settings: DictConfig) -> None:
    """Hands the settings to the library, which knows nothing of hydra."""
    command.run(TrainConfig, OmegaConf.to_container(settings, resolve=True), work, first)


if __name__ == "__main__":
    command.prepare_arguments(Path(__file__).parent / "configs")
    main()
