"""Train a model: `python train.py data=voc data.root=VOCdevkit`; `--help` lists all settings."""

from deeplab.cli.app import run_script

if __name__ == "__main__":
    run_script(__file__)
