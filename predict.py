"""Predict masks: `python predict.py run=RUN_OR_TFLITE images=PATH out=DIR`; `--help` lists all settings."""

from deeplab.cli.app import run_script

if __name__ == "__main__":
    run_script(__file__)
