"""All verdicts on one file, and their text."""

import importlib.metadata
import textwrap
from collections.abc import Collection
from dataclasses import dataclass

from deeplab.compatibility.apps import AppVerdict, app_verdicts
from deeplab.compatibility.delegates import DelegateVerdict, delegate_verdicts, operator_verdict
from deeplab.compatibility.host import gpu_analysis, xnnpack_operators
from deeplab.compatibility.rules import delegates
from deeplab.errors import UserError, printable
from deeplab.tflite.interpreter import TfliteModel
from deeplab.tflite.tflite_file import TfliteFile

_INDENT, _WIDTH, _LINE = "  ", 41, 130
_DELEGATES = """delegates, by rule; a device can differ. Of the operators of the file,
  delegated: the delegate takes them by the rules of its source
  falls back: they run elsewhere, usually on the CPU
  unknown: the source does not decide; only the device or its compiler shows it"""


@dataclass(frozen=True)
class Compatibility:
    """All verdicts on one file.

    Attributes:
        apps: of sample apps and clients; empty if the file is not a segmentation model of fixed size.
        not_a_segmenter: why `apps` is empty; empty if it is not.
        delegates: of the delegates, by rule.
        gpu_analyzer: of TFLite's own analyzer on the classic GPU delegate, see `host.gpu_analysis`.
        xnnpack_here: what LiteRT gives to XNNPACK on this machine, compared with the rules.
    """

    apps: tuple[AppVerdict, ...]
    not_a_segmenter: str
    delegates: tuple[DelegateVerdict, ...]
    gpu_analyzer: str
    xnnpack_here: str

    def rows(self, ids: Collection[str]) -> list[str]:
        """Return a line for each app and delegate in `ids`."""
        found = [(v.title, v.summary) for v in self.apps if v.app in ids]
        found += [(v.title, v.summary) for v in self.delegates if v.delegate in ids]
        return [f"{title}: {summary}" for title, summary in found]

    def text(self) -> str:
        """Return all verdicts with their sources, as inspect=FILE prints them."""
        lines = ["apps and clients, by rule:", *([_INDENT + self.not_a_segmenter] if self.not_a_segmenter else ())]
        for app in self.apps:
            lines += [_row(app.title, app.summary), _row("", f"source: {app.source}")]
        lines += [_DELEGATES]
        for delegate in self.delegates:
            remark = f"; {delegate.remark}" if delegate.remark else ""
            lines += [_row(delegate.title, delegate.summary), _row("", f"source: {delegate.source}{remark}")]
            lines += [_row("", self.gpu_analyzer)] if delegate.delegate == "gpu_classic" else []
            lines += [_row("", self.xnnpack_here)] if delegate.delegate == "xnnpack" else []
        return "\n".join(lines)


def compatibility(file: TfliteFile) -> Compatibility:
    """Return all verdicts on a file; runs it in LiteRT once.

    Raises:
        UserError: the file is damaged.
    """
    verdicts = delegate_verdicts(file.graph)
    try:
        apps, problem = app_verdicts(TfliteModel(file)), ""
    except UserError as error:
        apps, problem = (), error.problem
    return Compatibility(apps, problem, verdicts, gpu_analysis(file.content)[0], _xnnpack_here(file))


def _xnnpack_here(file: TfliteFile) -> str:
    """Return how many operators LiteRT gives to XNNPACK on this machine, and which differ from the rules."""
    version = f"LiteRT {importlib.metadata.version('ai-edge-litert')} on this machine"
    try:
        actual = xnnpack_operators(file)
    except (ValueError, RuntimeError):
        return f"{version} cannot run the file"
    if actual is None:
        return f"{version} does not say what it delegates"
    rule, operators = delegates()["xnnpack"], file.graph.operators
    ruled = {i for i, op in enumerate(operators) if operator_verdict(rule, file.graph, op)[0] == "delegated"}
    differing = sorted({operators[i].name for i in ruled ^ actual})
    same = f"the rules differ for {', '.join(differing)}" if differing else "as the rules say"
    return f"{version} delegates {len(actual)} of {len(operators)}, {same}"


def _row(title: str, text: str) -> str:
    """Return a row of two columns; the second is wrapped.

    Control characters are escaped: the names of custom operators come from the file.
    """
    first = f"{_INDENT}{title:{_WIDTH}} "
    wrapper = textwrap.TextWrapper(_LINE, first, " " * len(first), break_long_words=False, break_on_hyphens=False)
    return wrapper.fill(printable(text))
