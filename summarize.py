"""Print the cost of a network: `python summarize.py model=NAME output_stride=8`; `--help` lists all settings."""

from deeplab.cli.app import run_script

if __name__ == "__main__":
    run_script(__file__)
