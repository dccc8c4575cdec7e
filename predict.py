"""Labels pictures: `python predict.py run=RUN_OR_TFLITE images=PATH out=DIR`, for a file, folder, pattern or video."""

from pathlib import Path

import hydra
from omegaconf import DictConfig, OmegaConf

from deeplab import command
from deeplab.config import PredictConfig
from deeplab.run import check_run


def first(config: PredictConfig) -> bool:
    """Tells of a path that leads nowhere before TensorFlow takes its seconds to load."""
    check_run(config.run)
    return False


def work(config: PredictConfig) -> None:
    """Imported late, so that a wrong key is told before TensorFlow takes its seconds to load."""
    from deeplab.evaluation.prediction import run_prediction

    run_prediction(config)


@hydra.main(version_base="1.3", config_path="configs", config_name="predict")
def main(settings: DictConfig) -> None:
    """Hands the settings to the library, which knows nothing of hydra."""
    command.run(PredictConfig, OmegaConf.to_container(settings, resolve=True), work, first)


if __name__ == "__main__":
    command.prepare_arguments(Path(__file__).parent / "configs")
    main()
