"""The console, and the progress bar of predictions and evaluations."""

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn


def plain_console(stderr: bool = False) -> Console:
    """Return a console that prints text as it is: "[bold]" or ":car:" in a file name is neither markup nor an emoji."""
    return Console(stderr=stderr, markup=False, emoji=False, highlight=False)


def progress_bar(shown: bool = True) -> Progress:
    """Return a progress bar on standard error; it is invisible if `shown` is False or outside a terminal."""
    console = plain_console(stderr=True)
    # A quiet console, because rich 13 ends even a disabled bar with an empty line.
    console.quiet = not (shown and console.is_terminal)
    name = TextColumn("{task.description}", markup=False)
    columns = (name, BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    return Progress(*columns, console=console, transient=True, disable=console.quiet)
