"""The public names, the import order of the packages, and what an import loads."""

import ast
import graphlib
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

import deeplab

PACKAGE = Path(deeplab.__file__).parent
ORDER = [
    *("errors", "interruption", "files", "quiet", "memory", "pixels", "published_weights", "config", "tflite"),
    *("compatibility", "model", "pretrained"),
    *("run_folder", "datasets", "rendering", "data_check", "plan", "prediction", "web", "evaluation"),
    *("conversion", "pruning", "training", "cli", "api"),
]
"""Packages and modules of deeplab; each imports only from those before it."""

MODULES = {
    ".".join(path.relative_to(PACKAGE).with_suffix("").parts).removesuffix(".__init__"): path
    for path in PACKAGE.rglob("*.py")
}
"""Files of deeplab by module name without the prefix "deeplab."; the package itself is "__init__"."""


def imports(nodes: list[ast.stmt]) -> Iterator[str]:
    """Yield the names that import statements among `nodes` load."""
    for node in nodes:
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def imported_at_load(path: Path) -> set[str]:
    """Return the modules of deeplab, as in MODULES, that a file imports when it is loaded."""
    names = [name.removeprefix("deeplab.") for name in imports(ast.parse(path.read_text()).body) if "deeplab" in name]
    return {name if name in MODULES else name.rpartition(".")[0] for name in names}


@pytest.mark.parametrize("name", deeplab.__all__)
def test_public_names_are_unchanged_after_all_are_loaded(name):
    for other in deeplab.__all__:
        getattr(deeplab, other)
    assert callable(getattr(deeplab, name))
    assert getattr(deeplab, name).__name__ == name


def test_unknown_name_is_an_attribute_error():
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        _ = deeplab.nothing


def test_importing_deeplab_loads_neither_tensorflow_nor_keras():
    source = (
        "import sys, deeplab; deeplab.ModelConfig; sys.exit(any(m in sys.modules for m in ('tensorflow', 'keras')))"
    )
    assert subprocess.run([sys.executable, "-c", source], check=False).returncode == 0


def test_every_public_name_whose_module_imports_tensorflow_starts_it_without_messages():
    source = """
import importlib, sys
import deeplab
sys.modules |= {"tensorflow": None, "keras": None}  # None makes their import fail.
for name, module in deeplab._HOMES.items():
    try:
        importlib.import_module(module)
    except ImportError as error:
        assert error.name.partition(".")[0] in ("tensorflow", "keras"), error
        print(name)
"""
    done = subprocess.run([sys.executable, "-c", source], capture_output=True, text=True, check=True)
    assert set(done.stdout.split()) == set(deeplab._WITH_TENSORFLOW)


def test_import_order_lists_every_package_and_module():
    assert {name.split(".")[0] for name in MODULES} == {*ORDER, "__init__"}


@pytest.mark.parametrize("module", sorted(MODULES))
def test_module_imports_only_from_packages_before_its_own(module):
    package = module.split(".")[0]
    allowed = {package, *(ORDER[: ORDER.index(package)] if package in ORDER else ())}
    if package == "training":
        allowed.remove("conversion")
    assert {name.split(".")[0] for name in imported_at_load(MODULES[module])} <= allowed


def test_modules_have_no_import_cycle():
    graph = {}
    for module, path in MODULES.items():
        imported = imported_at_load(path)
        # Importing a module runs its packages first, unless they are being imported already.
        packages = {name[:dot] for name in imported for dot in range(len(name)) if name[dot] == "."}
        graph[module] = imported | {package for package in packages if not f"{module}.".startswith(f"{package}.")}
    list(graphlib.TopologicalSorter(graph).static_order())


@pytest.mark.parametrize("module", sorted(MODULES))
def test_hydra_is_imported_by_the_command_line_only(module):
    everything = imports(list(ast.walk(ast.parse(MODULES[module].read_text()))))
    hydra = [name for name in everything if name.split(".")[0] in ("hydra", "omegaconf")]
    assert not hydra or module.startswith("cli.")
