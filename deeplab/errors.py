"""The one kind of error that a user can mend."""


class UserError(Exception):
    """What is wrong with the input, its value, and the remedy, in one line.

    The commands print it without a traceback and exit with 1. Anything else that is raised is a fault of the toolkit
    and keeps its traceback.

    Args:
        what: the thing at fault, by the name the user knows it by (a key, a file).
        problem: what is wrong, with the value found.
        remedy: what to do about it.
    """

    def __init__(self, what: str, problem: str, remedy: str = "") -> None:
        line = f"{what}: {problem}" + (f"; {remedy}" if remedy else "")
        super().__init__(" ".join(line.split()))
