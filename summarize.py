"""Prints what a model costs, layer by layer: `python summarize.py model=deeplabv3_mobilenet_v2 output_stride=8`."""

from pathlib import Path

import hydra
from omegaconf import DictConfig, OmegaConf

from deeplab import command
from deeplab.config import SummarizeConfig


def work(config: SummarizeConfig) -> None:
    """Imported late, so that a wrong key is told before TensorFlow takes its seconds to load."""
    from deeplab.model.cost import cost, table

    print(table(cost(config.model, config.output_stride, config.image_size), config.every_layer))


@hydra.main(version_base="1.3", config_path="configs", config_name="summarize")
def main(settings: DictConfig) -> None:
    """Hands the settings to the library, which knows nothing of hydra."""
    command.run(SummarizeConfig, OmegaConf.to_container(settings, resolve=True), work)


if __name__ == "__main__":
    command.prepare_arguments(Path(__file__).parent / "configs")
    main()
