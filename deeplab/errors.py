"""The error class for everything that a user can fix."""

import re


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
        self.subject, self.problem, self.remedy = (_single_line(text) for text in (subject, problem, remedy))
        super().__init__(f"{self.subject}: {self.problem}" + (f"; {self.remedy}" if self.remedy else ""))

    def about(self, subject: str) -> "UserError":
        """Return the same problem and remedy, reported about another subject."""
        return UserError(subject, self.problem, self.remedy)


def _single_line(text: str) -> str:
    """Join the lines of `text`; spaces within a line, for example in a file name, are kept."""
    return re.sub(r"\s*[\r\n\t\v\f]+\s*", " ", str(text)).strip()
