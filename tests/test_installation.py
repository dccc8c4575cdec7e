"""The installed package works without a checkout."""

import os
import shutil
import subprocess
import sys
import sysconfig
import venv
import zipfile
from pathlib import Path

import pytest

PROJECT = Path(__file__).parents[1]
PARTS = ("deeplab", "configs", "data", "pyproject.toml", "README.md", "LICENSE")
SHORT_DEMO = (
    "training.steps=2",
    "training.batch_size=2",
    "data.val_size=2",
    "output_stride=[16]",
    "model.depth_multiplier=0.1",
    "model.batch_norm_momentum=0.5",
)


def run(folder, *command):
    environment = {k: v for k, v in os.environ.items() if k != "PYTHONPATH"}
    return subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, check=False)


@pytest.fixture(scope="module")
def installed(tmp_path_factory):
    """The programs of an environment with the wheel of the project, which borrows its requirements from this one."""
    folder = tmp_path_factory.mktemp("installed")
    # A copy, because building leaves files in the source folder.
    (folder / "source").mkdir()
    for part in map(PROJECT.joinpath, PARTS):
        (shutil.copytree if part.is_dir() else shutil.copy)(part, folder / "source" / part.name)
    venv.create(folder / "venv", with_pip=True)
    programs = folder / "venv" / "bin"
    built = run(folder, sys.executable, "-m", "pip", "wheel", "--no-deps", "--wheel-dir", folder, folder / "source")
    assert built.returncode == 0, built.stderr
    (wheel,) = folder.glob("*.whl")
    done = run(folder, programs / "python", "-m", "pip", "install", "--no-deps", wheel)
    assert done.returncode == 0, done.stderr
    (site,) = folder.glob("venv/lib/python*/site-packages")
    # As a plain path, so that the editable installation in this environment has no effect there.
    (site / "requirements.pth").write_text(sysconfig.get_path("purelib") + "\n")
    return programs


def test_the_installed_package_is_complete_and_installs_no_other_name(installed):
    source = (
        "import deeplab, deeplab.tfds_builders.voc_segmentation, deeplab.cli.settings as s\n"
        "print(deeplab.__file__)\n"
        "print((s.config_folder() / 'experiment' / 'voc.yaml').is_file())"
    )
    done = run("/", installed / "python", "-c", source)
    assert done.returncode == 0, done.stderr
    location, rest = done.stdout.splitlines()[-2:]
    assert Path(location).is_relative_to(installed.parent)
    assert rest == "True"
    (wheel,) = installed.parents[1].glob("*.whl")
    names = set(zipfile.ZipFile(wheel).namelist())
    assert {n.split("/")[0] for n in names if ".dist-info/" not in n} == {"deeplab"}
    files = [path for path in (PROJECT / "deeplab").rglob("*") if path.is_file() and "__pycache__" not in path.parts]
    assert names >= {path.relative_to(PROJECT).as_posix() for path in files}


def test_the_command_trains_and_evaluates_the_demo_outside_a_checkout(installed, tmp_path):
    done = run(tmp_path, installed / "deeplab", "train", "run=demo", *SHORT_DEMO)
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "demo" / "model.weights.h5").is_file()
    settings = ("run=demo", "output_stride=16", "bootstrap_samples=0", "trimap_widths=[]")
    done = run(tmp_path, installed / "deeplab", "evaluate", *settings)
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "demo" / "evaluation.html").is_file()
    assert [path.name for path in tmp_path.iterdir()] == ["demo"]


def test_the_command_reports_errors_as_the_scripts_do(installed, tmp_path):
    done = run(tmp_path, installed / "deeplab", "train", "data=vox")
    assert (done.returncode, done.stderr) == (1, "error: data=vox: unknown choice; did you mean 'voc'?\n")
