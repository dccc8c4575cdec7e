import ast
import subprocess
import sys
from pathlib import Path

import pytest

import deeplab

PACKAGE = Path(deeplab.__file__).parent
ORDER = ["config", "tflite", "model", "datasets", "run", "evaluation"]
"""A package imports from those before it alone; training and conversion from all of these, not from each other."""


@pytest.mark.parametrize("name", deeplab.__all__)
def test_public_names_stay_what_they_are_when_all_is_loaded(name):
    for other in deeplab.__all__:
        getattr(deeplab, other)
    assert callable(getattr(deeplab, name))
    assert getattr(deeplab, name).__name__ == name


def test_an_unknown_name_is_an_attribute_error():
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        _ = deeplab.nothing


def test_importing_deeplab_loads_neither_tensorflow_nor_keras():
    source = (
        "import sys, deeplab; deeplab.ModelConfig; sys.exit(any(m in sys.modules for m in ('tensorflow', 'keras')))"
    )
    assert subprocess.run([sys.executable, "-c", source], check=False).returncode == 0


def imported(path: Path) -> set[str]:
    """The packages of deeplab that a module imports when it is loaded."""
    found = set()
    for node in ast.parse(path.read_text()).body:
        if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("deeplab."):
            found.add(node.module.split(".")[1])
    return found


@pytest.mark.parametrize("package", [*(name for name in ORDER if name != "run"), "training", "conversion"])
def test_imports_point_one_way(package):
    allowed = {"errors", "files", package}
    allowed |= set(ORDER[: ORDER.index(package)] if package in ORDER else ORDER)
    for path in (PACKAGE / package).rglob("*.py"):
        assert imported(path) <= allowed, path


def test_hydra_stays_outside():
    for path in PACKAGE.rglob("*.py"):
        modules = [
            name
            for node in ast.walk(ast.parse(path.read_text()))
            for name in (
                [a.name for a in node.names]
                if isinstance(node, ast.Import)
                else [node.module or ""]
                if isinstance(node, ast.ImportFrom)
                else []
            )
        ]
        assert not [m for m in modules if m.split(".")[0] in ("hydra", "omegaconf")], path
