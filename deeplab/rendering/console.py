"""The console, and the progress bar of predictions and evaluations."""

import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from deeplab.errors import printable


def plain_console(stderr: bool = False) -> Console:
    """Return a console that prints text as it is: "[bold]" or ":car:" in a file name is neither markup nor an emoji."""
    return Console(stderr=stderr, markup=False, emoji=False, highlight=False)


def warning_line(message: Any) -> str:
    """Return a warning as one line."""
    return f"warning: {printable(' '.join(str(message).split()))}"


@contextmanager
def plain_warnings() -> Iterator[None]:
    """Show the warnings to users (UserWarning) as one line, without the place in the code, as the commands do."""
    usual = warnings.formatwarning

    def one_line(message: Any, category: type[Warning], *place: Any, **line: Any) -> str:
        return f"{warning_line(message)}\n" if category is UserWarning else usual(message, category, *place, **line)

    warnings.formatwarning = one_line
    try:
        yield
    finally:
        warnings.formatwarning = usual


def progress_bar(shown: bool = True) -> Progress:
    """Return a progress bar on standard error; it is invisible if `shown` is False or outside a terminal."""
    console = plain_console(stderr=True)
    # A quiet console, because rich 13 ends even a disabled bar with an empty line.
    console.quiet = not (shown and console.is_terminal)
    name = TextColumn("{task.description}", markup=False)
    columns = (name, BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    return Progress(*columns, console=console, transient=True, disable=console.quiet)
