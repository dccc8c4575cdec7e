"""The error class for everything that a user can fix."""

import difflib
import re
from collections.abc import Callable, Iterable

CONTROL = re.compile("[\x00-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069\ud800-\udfff]")
"""Control characters, marks that reverse the direction of writing, and bytes that are not valid UTF-8."""

_MAX_LENGTH = 800


class UserError(Exception):
    """A mistake in the input, reported as one line: `subject: problem; remedy`.

    The commands print this line without a traceback and exit with code 1. Every other exception is a bug of the toolkit
    and keeps its traceback.

    Args:
        subject: the thing at fault, by the name that the user knows (a key, a file).
        problem: what is wrong with it, including the value found.
        remedy: what to do about it.
    """

    def __init__(self, subject: str, problem: str, remedy: str = "") -> None:
        self.subject, self.problem = _shortened(_single_line(subject)), _shortened(_single_line(problem))
        self.remedy = _single_line(remedy)
        super().__init__(f"{self.subject}: {self.problem}" + (f"; {self.remedy}" if self.remedy else ""))

    def about(self, subject: str) -> "UserError":
        """Return the same problem and remedy, reported about another subject."""
        return UserError(subject, self.problem, self.remedy)


class InterruptedRunError(UserError):
    """A signal ended the work; the message states what is saved and how to resume.

    Args:
        signal_number: the signal; the exit code is 128 plus this number, as shells report it.
        subject, problem, remedy: as in UserError.
    """

    def __init__(self, signal_number: int, subject: str, problem: str, remedy: str = "") -> None:
        super().__init__(subject, problem, remedy)
        self.signal_number = signal_number


def did_you_mean(
    name: str, known: Iterable[str], otherwise: str, similarity: float = 0.6, shown: Callable[[str], str] = repr
) -> str:
    """Return the remedy for an unknown name: the known name most similar to it, or else `otherwise`.

    Args:
        name: the name that is not known.
        known: all names that are.
        otherwise: the remedy if none is similar.
        similarity: minimum similarity, from 0 to 1, see `difflib.get_close_matches`.
        shown: returns the known name as the remedy shows it.
    """
    near = difflib.get_close_matches(name, known, n=1, cutoff=similarity)
    return f"did you mean {shown(near[0])}?" if near else otherwise


def printable(text: str) -> str:
    """Return `text` with escaped control characters, with which a file name could steer a terminal."""
    return CONTROL.sub(lambda found: found[0].encode("unicode_escape").decode(), text)


def _shortened(text: str) -> str:
    """Return `text` without its middle if a value in it, such as a number of a thousand digits, makes it too long."""
    return text if len(text) <= _MAX_LENGTH else f"{text[: _MAX_LENGTH // 2]} ... {text[-_MAX_LENGTH // 4 :]}"


def _single_line(text: str) -> str:
    """Join the lines of `text`; spaces within a line, for example in a file name, are kept."""
    return printable(re.sub(r"\s*[\r\n\t\v\f]+\s*", " ", str(text)).strip())
