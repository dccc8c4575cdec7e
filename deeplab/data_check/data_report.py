"""The report of a data check."""

from dataclasses import dataclass
from typing import Literal, get_args

from deeplab.data_check.class_weights import Weighting, class_weights
from deeplab.data_check.statistics import SplitStatistics
from deeplab.errors import UserError

Severity = Literal["error", "warning"]

MAX_FILES, SHOWN_FILES = 1000, 5
"""Number of files that a problem names at most in data_check.json, and on the terminal."""


@dataclass(frozen=True)
class Problem:
    """A problem of the data.

    Attributes:
        severity: "error" if it would spoil a training; "warning" if it may be intended.
        description: what the problem is, with numbers.
        consequence: its effect on the training or the scores.
        remedy: what to do about it.
        files: the files or images with the problem, at most MAX_FILES.
    """

    severity: Severity
    description: str
    consequence: str
    remedy: str
    files: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        """Limit the number of files."""
        object.__setattr__(self, "files", tuple(self.files[:MAX_FILES]))


@dataclass(frozen=True)
class DataReport:
    """The result of a data check.

    Attributes:
        classes: class names by id.
        splits: statistics of the training split and the validation split.
        problems: the problems, errors first.
    """

    classes: tuple[str, ...]
    splits: tuple[SplitStatistics, ...]
    problems: tuple[Problem, ...]

    @property
    def errors(self) -> tuple[Problem, ...]:
        """The problems of severity "error"."""
        return tuple(problem for problem in self.problems if problem.severity == "error")

    @property
    def class_weights(self) -> dict[Weighting, tuple[float, ...]]:
        """The weights of the classes by each rule."""
        return {weighting: class_weights(self.splits[0], weighting) for weighting in get_args(Weighting)}

    def raise_errors(self) -> None:
        """Raise UserError with the first error, if there is one."""
        if self.errors:
            first, more = self.errors[0], len(self.errors) - 1
            count = len(first.files) - 1
            example = f" ({first.files[0]}{f' and {count} more' if count else ''})" if first.files else ""
            others = f" (and {more} more error{'s' * (more > 1)}, see above)" if more else ""
            raise UserError("data", f"{first.description}{example}: {first.consequence}", first.remedy + others)

    def text(self) -> str:
        """Return the report for a terminal, without the first error, which `raise_errors` reports."""
        lines = [*map(_split_line, self.splits), "", *self._table()]
        for problem in self.problems:
            if problem in self.errors[:1]:
                continue
            lines += ["", f"{problem.severity.upper()}: {problem.description}", f"  effect: {problem.consequence}"]
            lines += [f"  remedy: {problem.remedy}", *(f"  file:   {file}" for file in problem.files[:SHOWN_FILES])]
            if len(problem.files) > SHOWN_FILES:
                lines.append(f"  and {len(problem.files) - SHOWN_FILES} more in data_check.json")
        if not self.problems:
            lines += ["", "no problems"]
        return "\n".join(lines)

    def _table(self) -> list[str]:
        """Return the lines of the table of pixels, images and weights by class."""
        width = max(map(len, self.classes))
        weights = self.class_weights
        indent = " " * (width + 4)
        lines = [
            indent + "".join(f"{s.name.rsplit('/', 1)[-1]:>20}" for s in self.splits) + "    training.class_weights",
            indent + "   pixels      images" * len(self.splits) + "".join(f"  {name}" for name in weights),
        ]
        for i, name in enumerate(self.classes):
            cells = "".join(f"{s.pixels[i] / max(sum(s.pixels), 1):>9.2%}{s.images[i]:>11}" for s in self.splits)
            cells += "".join(f"  {values[i]:>{len(weighting)}.2f}" for weighting, values in weights.items())
            lines.append(f"{i:>3} {name:<{width}}{cells}")
        return lines


def _split_line(split: SplitStatistics) -> str:
    size = "endless" if split.size is None else f"{split.size} images"
    total = sum(split.pixels) + split.ignored
    ignored = f", {split.ignored / total:.1%} of the pixels ignored" if total else ""
    return f"{split.name}: {size}, {split.checked} checked{ignored}"
