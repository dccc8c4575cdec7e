"""Which operators each delegate takes, by the rules of rules.toml."""

import math
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, get_args

import numpy as np

from deeplab.compatibility.rules import Delegate, Verdict, delegates
from deeplab.tflite.flatbuffer import Operator, Tensor, TfliteGraph

NOT_LISTED = "not in its list of operators"
NOT_CHECKED = "the source has conditions on it that are not among the rules"
NO_LIST = "the source does not list the operators that it takes"
"""Reasons of operators that no rule decides."""
_PLURALS: Mapping[Verdict, str] = {"delegated": "delegated", "falls back": "fall back", "unknown": "unknown"}


@dataclass(frozen=True)
class OperatorVerdict:
    """The verdict on operators of one kind: name, how many, the verdict and its reason."""

    operator: str
    count: int
    verdict: Verdict
    because: str


@dataclass(frozen=True)
class DelegateVerdict:
    """The verdicts of one delegate on all operators of a file, by rule and source; no statement about a device.

    Attributes:
        delegate: id.
        title: name in words.
        source: the files that state the rules, with their version.
        remark: what else decides.
        operators: by operator and reason.
        counts: number of operators with each verdict.
    """

    delegate: str
    title: str
    source: str
    remark: str
    operators: tuple[OperatorVerdict, ...]
    counts: Mapping[Verdict, int] = field(init=False)

    def __post_init__(self) -> None:
        """Count the verdicts."""
        counts = {v: sum(op.count for op in self.operators if op.verdict == v) for v in get_args(Verdict)}
        object.__setattr__(self, "counts", counts)

    @property
    def summary(self) -> str:
        """The number of operators with each verdict, and the reasons of those not delegated, in one line."""
        operators = sorted(self.operators, key=lambda op: get_args(Verdict).index(op.verdict))
        total, reasons = sum(self.counts.values()), dict.fromkeys(op.because for op in operators)
        for verdict, count in self.counts.items():
            if count == total and len(reasons) == 1:
                reason = next(iter(reasons))
                return f"all {total} operators {_PLURALS[verdict]}" + f": {reason}" * bool(reason)
        counted = ", ".join(f"{count} {_PLURALS[verdict]}" for verdict, count in self.counts.items())
        parts = [f"of {total} operators {counted}"]
        for reason in filter(None, reasons):
            found = [op for op in operators if op.because == reason]
            # One reason for several operators is written once.
            names = ", ".join(f"{op.operator} {op.count}" for op in found)
            parts.append(f"{found[0].verdict}: {names} ({reason})")
        return "; ".join(parts)


def delegate_verdicts(graph: TfliteGraph) -> tuple[DelegateVerdict, ...]:
    """Return the verdicts of all delegates on the operators of a file."""
    return tuple(_delegate_verdict(delegate, graph) for delegate in delegates().values())


def operator_verdict(delegate: Delegate, graph: TfliteGraph, op: Operator) -> tuple[Verdict, str]:
    """Return the verdict of a delegate on one operator, and the reason, which is empty for "delegated"."""
    if op.version > delegate.versions.get(op.name, op.version):
        return "falls back", f"version {op.version}, at most {delegate.versions[op.name]}"
    listed = op.name in delegate.operators
    for rule in delegate.rule:
        # Rules for all operators do not make an operator known that the delegate does not list.
        applies = op.name in rule.operators if rule.operators else listed or _is_unchecked(delegate, op)
        if applies and all(_CONDITIONS[key](_Use(graph, op), value) for key, value in rule.when.items()):
            return rule.verdict, "" if rule.verdict == "delegated" else rule.because
    if listed:
        return "delegated", ""
    if "*" in delegate.unchecked:
        return "unknown", NO_LIST
    return ("unknown", NOT_CHECKED) if _is_unchecked(delegate, op) else ("falls back", NOT_LISTED)


def _is_unchecked(delegate: Delegate, op: Operator) -> bool:
    return op.name in delegate.unchecked or "*" in delegate.unchecked


def _delegate_verdict(delegate: Delegate, graph: TfliteGraph) -> DelegateVerdict:
    counts = Counter((op.name, operator_verdict(delegate, graph, op)) for op in graph.operators)
    operators = tuple(
        OperatorVerdict(name, count, verdict, because) for (name, (verdict, because)), count in counts.most_common()
    )
    return DelegateVerdict(delegate.id, delegate.title, delegate.source, delegate.remark, operators)


@dataclass(frozen=True)
class _Use:
    """An operator in its graph."""

    graph: TfliteGraph
    op: Operator

    @property
    def inputs(self) -> list[Tensor | None]:
        """The input tensors; None for omitted ones."""
        return [self.graph.tensors[i] if i >= 0 else None for i in self.op.inputs]

    @property
    def outputs(self) -> list[Tensor]:
        return [self.graph.tensors[i] for i in self.op.outputs]

    def input(self, index: int) -> Tensor | None:
        """Return an input; None if it is omitted or there are fewer inputs."""
        return self.inputs[index] if index < len(self.op.inputs) else None

    @property
    def computed(self) -> list[Tensor]:
        """Inputs and outputs that are not constants."""
        return [t for t in (*self.inputs, *self.outputs) if t is not None and t.data is None]

    def constant(self, index: int) -> np.ndarray:
        """Return the values of a constant input, flat; empty if it is computed or omitted."""
        tensor = self.input(index)
        return np.zeros(0) if tensor is None or tensor.data is None else np.asarray(tensor.data).ravel()

    def shape(self, index: int = 0) -> tuple[int, ...]:
        tensor = self.input(index)
        return () if tensor is None else tensor.shape

    def is_constant(self, index: int) -> bool:
        """Return whether an input is a constant, also through the DEQUANTIZE of float16 files."""
        tensor = self.input(index)
        if tensor is None or tensor.data is not None:
            return tensor is not None
        producer = self.graph.producer(tensor.index)
        return producer is not None and producer.name == "DEQUANTIZE" and _Use(self.graph, producer).is_constant(0)

    def options(self, names: Iterable[str]) -> list[Any]:
        return [self.op.options.get(name) for name in names]


def _dtype(tensor: Tensor | None) -> str:
    return "none" if tensor is None else tensor.dtype


def _above(use: _Use, limits: Mapping[str, int]) -> list[bool]:
    return [(use.op.options.get(name) or 0) > limit for name, limit in limits.items()]


def _differs(actual: Any, expected: Any) -> bool:
    return actual not in expected if isinstance(expected, list) else actual != expected


def _axes(use: _Use) -> set[int]:
    return {int(axis) % len(use.shape()) for axis in use.constant(1)}


def _padded_axes(use: _Use) -> set[int]:
    return {int(axis) for axis in np.flatnonzero(use.constant(1).reshape(-1, 2).any(axis=1))}


_CONDITIONS: Mapping[str, Callable[[_Use, Any], bool]] = {
    "constant_input": lambda use, index: use.is_constant(index),
    "computed_input": lambda use, index: use.input(index) is not None and not use.is_constant(index),
    "omitted_input": lambda use, index: use.input(index) is None,
    "computed_kernel": lambda use, value: use.is_constant(1) != value,
    "inputs_above": lambda use, limit: len(use.op.inputs) > limit,
    "computed_dtype": lambda use, dtypes: any(t.dtype in dtypes for t in use.computed),
    "constant_dtype_not": lambda use, dtypes: use.is_constant(1) and _dtype(use.input(1)) not in dtypes,
    "input_dtype": lambda use, dtypes: _dtype(use.input(0)) in dtypes,
    "input_dtype_not": lambda use, dtypes: _dtype(use.input(0)) not in dtypes,
    "output_dtype": lambda use, dtypes: use.outputs[0].dtype in dtypes,
    "output_dtype_not": lambda use, dtypes: use.outputs[0].dtype not in dtypes,
    "dtype_pair": lambda use, pairs: [_dtype(use.input(0)), use.outputs[0].dtype] in pairs,
    "per_channel": lambda use, value: (
        (kernel := use.input(1)) is not None
        and kernel.quantization is not None
        and kernel.quantization.per_channel == value
    ),
    "mixed_kernel": lambda use, value: (_dtype(use.input(0)) == "float32" and _dtype(use.input(1)) == "int8") == value,
    "dynamic_shape": lambda use, value: any(-1 in t.signature for t in use.computed) == value,
    "rank_not": lambda use, ranks: len(use.shape()) not in ranks,
    "paddings_rank_not": lambda use, ranks: use.shape(1) not in [(rank, 2) for rank in ranks],
    "channels_above": lambda use, limit: use.shape()[-1:] > (limit,),
    "channels_not_multiple": lambda use, number: use.shape()[-1] % number != 0,
    "spatial": lambda use, value: (math.prod(use.shape()[:-1]) > 1) == value,
    "kernel_height_below": lambda use, limit: use.shape(1)[1] < limit,
    "output_side_above": lambda use, limit: max(use.outputs[0].shape[1:3]) > limit,
    "acts_on_axis": lambda use, axes: bool(_axes(use) & set(axes)),
    "pads_axis": lambda use, axes: bool(_padded_axes(use) & set(axes)),
    "stride_not": lambda use, stride: bool(np.any(use.constant(3) != stride)),
    "strided": lambda use, value: any(_above(use, {"stride_h": 1, "stride_w": 1})) == value,
    "option_is": lambda use, options: use.options(options) == list(options.values()),
    "option_not": lambda use, options: any(_differs(use.op.options.get(n), value) for n, value in options.items()),
    "option_above": lambda use, limits: all(_above(use, limits)),
    "any_option_above": lambda use, limits: any(_above(use, limits)),
    "options_differ": lambda use, names: len(set(use.options(names))) > 1,
}
"""The conditions of rules.toml: functions of an operator and of the value in the rule."""
