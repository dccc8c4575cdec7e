"""The documents name files, settings and functions that exist."""

import re
import shlex
from pathlib import Path

import pytest

from deeplab.cli.commands import COMMANDS
from deeplab.cli.settings import compose_settings, config_folder
from deeplab.config import build

PROJECT = Path(__file__).parents[1]
DOCUMENTS = [PROJECT / name for name in ("README.md", "ARCHITECTURE.md", "CONTRIBUTING.md")]
DOCUMENTS += sorted((PROJECT / "docs").glob("*.md"))


def commands() -> list[tuple[str, str]]:
    """(document, command) of each `python NAME.py ...` in the code blocks and the code spans of the documents."""
    found = []
    for document in DOCUMENTS:
        text = document.read_text().replace("\\\n", " ")
        spans = re.findall(r"`(python \w+\.py [^`]*)`", re.sub(r"```.*?```", "", text, flags=re.S))
        lines = [line.strip() for block in re.findall(r"```bash\n(.*?)```", text, re.S) for line in block.splitlines()]
        found += [(document.name, " ".join(span.split())) for span in spans]
        found += [(document.name, line) for line in lines if re.match(r"python \w+\.py", line)]
    return found


@pytest.mark.parametrize(("document", "command"), commands())
def test_a_documented_command_has_valid_settings(document, command):
    program, *arguments = shlex.split(command, comments=True)[1:]
    name = program.removesuffix(".py")
    if "--help" in arguments or not arguments or "..." in arguments[0]:
        assert name in COMMANDS
        return
    settings = compose_settings(name, [a for a in arguments if "..." not in a], config_folder())
    build(COMMANDS[name].job_for(settings).config, settings)


def test_there_are_documented_commands():
    assert len(commands()) >= 20


@pytest.mark.parametrize("name", ["ARCHITECTURE.md", "CONTRIBUTING.md"])
def test_a_map_names_existing_files(name):
    text = (PROJECT / name).read_text().replace("\\_", "_")
    paths = set(re.findall(r"(?<![\w/.@])((?:[a-z][\w-]*/)+(?:[\w-]+\.(?:py|yaml|md))?|[\w-]+\.(?:py|yaml))", text))
    paths = {path for path in paths if not re.search("NAME|PACKAGE|MODULE", path)}
    assert len(paths) > 20
    # Paths are relative to the project, to deeplab/, or to the package that the table row names.
    roots = [
        PROJECT,
        *(folder for folder in (PROJECT / "deeplab", *(PROJECT / "deeplab").iterdir()) if folder.is_dir()),
    ]
    missing = {path for path in paths if not any((root / path).exists() for root in roots)}
    assert not missing


def test_a_map_names_existing_functions():
    """In a table cell "module.py `name`" the module contains the name."""
    pairs = re.findall(r"([\w/]+\.py) `(\w+)`", (PROJECT / "ARCHITECTURE.md").read_text())
    assert len(pairs) >= 8
    for path, name in pairs:
        files = [PROJECT / "deeplab" / path, *(PROJECT / "deeplab").glob(f"*/{path}")]
        assert any(file.is_file() and re.search(rf"\b{name}\b", file.read_text()) for file in files), (path, name)


def test_the_readme_is_short():
    assert len((PROJECT / "README.md").read_text().splitlines()) <= 150
