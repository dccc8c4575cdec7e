"""The progress bar of predictions and evaluations."""

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn


def progress_bar(shown: bool = True) -> Progress:
    """Return a progress bar on standard error; it is invisible if `shown` is False or outside a terminal."""
    console = Console(stderr=True)
    # A quiet console, because rich 13 ends even a disabled bar with an empty line.
    console.quiet = not (shown and console.is_terminal)
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    return Progress(*columns, console=console, transient=True, disable=console.quiet)
