"""Exports a model as proven .tflite files: `python export.py run=DIR quantization=int8 image_size=257 out=FILE`.

`inspect=FILE` prints what a .tflite file carries; `verify=FILE` checks it, with `run=DIR` against its Keras model.
"""

from pathlib import Path

import hydra
from omegaconf import DictConfig, OmegaConf

from deeplab import command
from deeplab.config import ExportConfig
from deeplab.run import check_run


def first(config: ExportConfig) -> bool:
    """Tells of a path that leads nowhere, or describes a file, before TensorFlow takes its seconds to load."""
    if config.inspect is not None:
        from deeplab.conversion.inspection import inspect

        print(inspect(config.inspect))
        return True
    if config.verify is not None:
        from deeplab.tflite.flatbuffer import read_file

        read_file(config.verify)
    if config.run is not None:
        check_run(config.run)
    return False


def work(config: ExportConfig) -> None:
    """Imported late, so that a wrong key is told before TensorFlow takes its seconds to load."""
    if config.verify is not None:
        from deeplab.conversion.verify_file import run_verify

        run_verify(config)
    else:
        from deeplab.conversion.export import run_export

        run_export(config)


@hydra.main(version_base="1.3", config_path="configs", config_name="export")
def main(settings: DictConfig) -> None:
    """Hands the settings to the library, which knows nothing of hydra."""
    command.run(ExportConfig, OmegaConf.to_container(settings, resolve=True), work, first)


if __name__ == "__main__":
    command.prepare_arguments(Path(__file__).parent / "configs")
    main()
