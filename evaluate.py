"""Measures models: `python evaluate.py run=RUN_OR_TFLITE output_stride=[16,8]`, one row of a table for each."""

from pathlib import Path

import hydra
from omegaconf import DictConfig, OmegaConf

from deeplab import command
from deeplab.config import EvaluateConfig
from deeplab.run import check_run


def first(config: EvaluateConfig) -> bool:
    """Tells of a path that leads nowhere before TensorFlow takes its seconds to load."""
    for run in (config.run,) if isinstance(config.run, str) else config.run:
        check_run(run)
    return False


def work(config: EvaluateConfig) -> None:
    """Imported late, so that a wrong key is told before TensorFlow takes its seconds to load."""
    from deeplab.evaluation.app import run_evaluation

    run_evaluation(config)


@hydra.main(version_base="1.3", config_path="configs", config_name="evaluate")
def main(settings: DictConfig) -> None:
    """Hands the settings to the library, which knows nothing of hydra."""
    command.run(EvaluateConfig, OmegaConf.to_container(settings, resolve=True), work, first)


if __name__ == "__main__":
    command.prepare_arguments(Path(__file__).parent / "configs")
    main()
