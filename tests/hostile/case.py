"""A row of the hostile suite: a command, the line that it must end with, and what it may write."""

import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

Change = Callable[[Path], object]
"""Changes the world, whose folder it receives, before the command runs."""


@dataclass(frozen=True)
class Case:
    """One command in the world of `tests/hostile/conftest.py`, whose folder is the current one.

    Attributes:
        command: the command and its settings, as typed after `deeplab`. ALIASES are replaced.
        error: part of the only line on standard error, after `error: `; "" if the command must succeed.
        given: changes the world first, for example damages a file.
        writes: files and folders that the command must have written; nothing else may change.
        early: whether the mistake must be reported before the work begins and TensorFlow is loaded.
        printed: part of standard output or of a warning.
    """

    command: str
    error: str
    given: tuple[Change, ...] = ()
    writes: tuple[str, ...] = ()
    early: bool = False
    printed: str = ""

    def __str__(self) -> str:
        return self.command


ALIASES = {
    "TINY_TRAIN": "train data=folder data.root=set run=new plan=false model.depth_multiplier=0.1 model.aspp_rates=[] "
    "model.aspp_channels=8 model.decoder_channels=8 training.batch_size=2 training.crop_size=33 training.steps=2 "
    "training.save_every=1 training.evaluate_every=null training.preview_images=1 output_stride=[16]",
    "FAST_EVALUATE": "evaluate run=run data.val_size=1 output_stride=16 bootstrap_samples=0 trimap_widths=[]",
    "FAST_EXPORT": "export run=run output_stride=16 image_size=33 agreement_images=1 miou_images=0 "
    "calibration_images=1",
}
"""Commands with settings for which they take a second or two."""


def refused(command: str, error: str, *given: Change) -> Case:
    """Return a case that must fail with `error` before its work begins, and print nothing else."""
    return Case(command, error, given, early=True)


def fails(command: str, error: str, *given: Change, writes: tuple[str, ...] = ()) -> Case:
    """Return a case whose mistake shows during the work: the last line is `error`, and only `writes` may be written."""
    return Case(command, error, given, writes)


def works(command: str, *given: Change, writes: tuple[str, ...] = (), printed: str = "") -> Case:
    """Return a case that looks hostile and must work: exit code 0 and exactly the named results."""
    return Case(command, "", given, writes, printed=printed)


def cut(path: str, size: int = 100) -> Change:
    """Keep the first `size` bytes of a file."""
    return lambda world: (world / path).write_bytes((world / path).read_bytes()[:size])


def overwrite(path: str, offset: int, content: bytes) -> Change:
    """Overwrite bytes at `offset`, which is counted from the end if it is negative."""

    def change(world: Path) -> None:
        data = bytearray((world / path).read_bytes())
        start = offset % len(data)
        data[start : start + len(content)] = content
        (world / path).write_bytes(data)

    return change


def write(path: str, content: str | bytes) -> Change:
    """Write a file, and the folders that it needs."""

    def change(world: Path) -> None:
        (world / path).parent.mkdir(parents=True, exist_ok=True)
        (world / path).write_bytes(content if isinstance(content, bytes) else content.encode())

    return change


def copy(source: str, target: str) -> Change:
    """Copy a file, and create the folders that it needs."""
    return lambda world: write(target, (world / source).read_bytes())(world)


def replace(path: str, old: str, new: str) -> Change:
    """Replace text in a file, which must contain it."""

    def change(world: Path) -> None:
        text = (world / path).read_text()
        assert old in text, f"{path} does not contain {old}"
        (world / path).write_text(text.replace(old, new, 1))

    return change


def remove(path: str) -> Change:
    """Remove a file."""
    return lambda world: (world / path).unlink()


def link(path: str, target: str) -> Change:
    """Create a symbolic link."""
    return lambda world: (world / path).symlink_to(target)


def fifo(path: str) -> Change:
    """Create a named pipe, which a reader waits for."""
    return lambda world: os.mkfifo(world / path)


def folder(path: str) -> Change:
    """Create a folder."""
    return lambda world: (world / path).mkdir(parents=True)
