"""Export a model: `python export.py run=RUN_OR_TFLITE quantization=int8 out=FILE`; `--help` lists all settings."""

from deeplab.cli.app import run_script

if __name__ == "__main__":
    run_script(__file__)
