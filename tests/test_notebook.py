"""The cells of the notebook run, on the demo; the cells for Colab and the installation are left out."""

import json
import os
import re
import shlex
import subprocess
import sys
import types
from pathlib import Path

import pytest

from deeplab.cli.commands import COMMANDS
from deeplab.cli.settings import compose_settings, config_folder
from deeplab.config import build
from deeplab.errors import UserError
from deeplab.web.litert_js import load_litert_js

NOTEBOOK = Path(__file__).parents[1] / "notebooks" / "deeplab.ipynb"

QUICK = "data=shapes training.steps=4 training.batch_size=4 data.val_size=4 training.batch_norm=train"
"""Settings of a training that takes seconds; its file is exported whatever it costs."""


def code_cells(*excluded: str) -> list[tuple[str, list[str]]]:
    """Return source and tags of the code cells without one of the excluded tags."""
    content = json.loads(NOTEBOOK.read_text(encoding="utf-8"))
    cells = [cell for cell in content["cells"] if cell["cell_type"] == "code"]
    found = [("".join(cell["source"]), cell["metadata"].get("tags", [])) for cell in cells]
    return [(source, tags) for source, tags in found if not set(tags) & set(excluded)]


def python(source: str) -> str:
    """Return a cell in which lines for the shell, which start with "!", are calls of `shell`."""
    return re.sub(r"^!(.*)$", lambda found: f"shell({found[1]!r})", source, flags=re.MULTILINE)


def commands() -> list[str]:
    return [line[1:] for source, _ in code_cells("install") for line in source.splitlines() if line.startswith("!")]


def test_the_notebook_has_no_outputs_and_the_form_of_version_4():
    content = json.loads(NOTEBOOK.read_text(encoding="utf-8"))
    assert (content["nbformat"], content["metadata"]["kernelspec"]["language"]) == (4, "python")
    for cell in content["cells"]:
        assert cell["cell_type"] == "markdown" or (cell["outputs"] == [] and cell["execution_count"] is None)
    for source, _ in code_cells("install"):
        compile(python(source), "cell", "exec")


@pytest.mark.parametrize("command", commands())
def test_a_command_of_the_notebook_has_valid_settings(command):
    program, name, *arguments = shlex.split(command.replace("$RUN", "run").replace("$SETTINGS", QUICK))
    assert program == "deeplab"
    settings = compose_settings(name, arguments, config_folder())
    build(COMMANDS[name].job_for(settings).config, settings)


@pytest.mark.slow
def test_the_notebook_runs_on_the_demo(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    shown, excluded = [], ["install", "colab"]
    try:
        load_litert_js()
    except UserError:
        excluded.append("page")
    # IPython is not needed by the project; its display is recorded.
    display = types.ModuleType("IPython.display")
    display.HTML = display.Markdown = str
    display.display = shown.append
    monkeypatch.setitem(sys.modules, "IPython", types.ModuleType("IPython"))
    monkeypatch.setitem(sys.modules, "IPython.display", display)
    scripts = os.pathsep.join((str(Path(sys.executable).parent), os.environ["PATH"]))

    def shell(command: str) -> None:
        line = re.sub(r"\$(\w+)", lambda found: str(names[found[1]]), command)
        line += " max_miou_drop=100" if " export run=" in line else ""
        done = subprocess.run(line, shell=True, env={**os.environ, "PATH": scripts}, capture_output=True, text=True)
        assert done.returncode == 0, f"{line}\n{done.stderr}"

    names = {"shell": shell}
    for source, tags in code_cells(*excluded):
        exec(compile(python(source), "cell", "exec"), names)
        if "parameters" in tags:
            names["SETTINGS"] = QUICK
    for path in ("data_check.png", "evaluation.html", "int8.tflite", "int8.report.json"):
        assert (tmp_path / "runs" / "notebook" / path).is_file()
    assert "page" in excluded or (tmp_path / "runs" / "notebook" / "int8.html").is_file()
    # The sheet of samples, the page of the evaluation, four overlays and the model card.
    assert len(shown) == 7
    assert shown[1].startswith("<!doctype html>")
    assert shown[2].size == (160, 160)
    assert shown[6].startswith("# int8.tflite")
    assert len(list((tmp_path / "masks").glob("*_ids.png"))) == 4
