"""What a check of the data has found, to print, to keep and to act on."""

from dataclasses import dataclass
from typing import Literal, get_args

from deeplab.data_check.class_weights import Weighting, class_weights
from deeplab.data_check.statistics import Split
from deeplab.errors import UserError


@dataclass(frozen=True)
class Finding:
    """Something about the data that the user should know.

    Attributes:
        severity: "stop" would ruin a training; "warning" may be as it should be.
        what: what was found, with numbers.
        meaning: what comes of it.
        remedy: what to do.
        files: where, a few of them.
    """

    severity: Literal["stop", "warning"]
    what: str
    meaning: str
    remedy: str
    files: tuple[str, ...] = ()


@dataclass(frozen=True)
class DataReport:
    """The outcome of a check.

    Attributes:
        fingerprint: of the data that were checked_example.
        classes: names by id.
        splits: the training split, and the validation split where there is one.
        findings: those that stop a training first.
    """

    fingerprint: str
    classes: tuple[str, ...]
    splits: tuple[Split, ...]
    findings: tuple[Finding, ...]

    @property
    def stops(self) -> tuple[Finding, ...]:
        """What would ruin a training."""
        return tuple(finding for finding in self.findings if finding.severity == "stop")

    def raise_if_ruined(self) -> None:
        """Raises UserError with the first finding that would ruin a training."""
        if self.stops:
            first, more = self.stops[0], len(self.stops) - 1
            where = f" ({first.files[0]})" if first.files else ""
            others = f" (and {more} more, see above)" if more else ""
            raise UserError(f"{self.splits[0].name}", f"{first.what}{where}: {first.meaning}", first.remedy + others)

    def text(self) -> str:
        """The report for a terminal."""
        lines = [_counted(split) for split in self.splits]
        lines += ["", *_table(self)]
        for finding in self.findings:
            lines += ["", f"{finding.severity.upper()}: {finding.what}", f"  means:  {finding.meaning}"]
            lines += [f"  remedy: {finding.remedy}", *(f"  where:  {file}" for file in finding.files)]
        if not self.findings:
            lines += ["", "no fault found"]
        return "\n".join(lines)


def _counted(split: Split) -> str:
    size = "endless" if split.size is None else f"{split.size} pictures"
    total = sum(split.pixels) + split.ignored
    share = f", {split.ignored / total:.1%} of the pixels ignored" if total else ""
    return f"{split.name}: {size}, {split.looked_at} looked at{share}"


def _table(report: DataReport) -> list[str]:
    """Pixels, pictures and proposed weights by class."""
    width = max(len(name) for name in report.classes)
    kinds = get_args(Weighting)
    head = " " * (width + 4) + "".join(f"{split.name.rsplit('/', 1)[-1]:>20}" for split in report.splits)
    lines = [f"{head}    training.class_weights"]
    lines.append(" " * (width + 4) + "   pixels    pictures" * len(report.splits) + "".join(f"  {k}" for k in kinds))
    weights = [class_weights(report.splits[0], kind) for kind in kinds]
    for i, name in enumerate(report.classes):
        cells = ""
        for split in report.splits:
            total = max(sum(split.pixels), 1)
            cells += f"{split.pixels[i] / total:>9.2%}{split.pictures[i]:>11}"
        cells += "".join(f"  {of_kind[i]:>{len(kind)}.2f}" for kind, of_kind in zip(kinds, weights, strict=True))
        lines.append(f"{i:>3} {name:<{width}}{cells}")
    return lines
