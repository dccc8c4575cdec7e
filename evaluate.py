"""Evaluate models: `python evaluate.py run=RUN_OR_TFLITE output_stride=[16,8]`; `--help` lists all settings."""

from deeplab.cli.app import run_script

if __name__ == "__main__":
    run_script(__file__)
