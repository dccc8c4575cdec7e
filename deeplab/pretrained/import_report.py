"""What a source of weights holds, filling a model from it, and the strict report of what went where."""

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass

import keras
import numpy as np

from deeplab.errors import UserError

BACKBONE = "backbone_"
"""How the names of all layers of a backbone begin."""


@dataclass(frozen=True, eq=False)
class Found:
    """Weights as a source holds them, under the names of our layers.

    Attributes:
        source: name for messages.
        weights: by layer name, the arrays in the order of that layer's own `weights`: kernel, bias of a convolution;
            gamma, beta, moving mean, moving variance of a batch norm.
        unused: what the source holds besides, by its own names.
        notes: what had to be done to the weights, for the report.
        folded: whether its batch norms come without statistics, see `ImportReport`.
    """

    source: str
    weights: Mapping[str, tuple[np.ndarray, ...]]
    unused: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()
    folded: bool = False


@dataclass(frozen=True)
class ImportReport:
    """Which variables of a model were loaded. Variables are called layer/variable ("logits/kernel").

    Attributes:
        source: where the weights came from.
        loaded: variables that now have the source's values.
        reinitialized: variables that the source has in another shape (logits of other classes) or behind other layers;
            left as the model's initializer made them.
        missing: variables that the source has not; left likewise.
        unused: what the source has and the model has not, by the source's names.
        notes: what had to be done to the weights.
        folded: whether the loaded batch norms are bare offsets, their statistics lost with the folding. Right in
            inference and for training with frozen batch norm; before training it, use `unfold_batch_norm`.
    """

    source: str
    loaded: tuple[str, ...]
    reinitialized: tuple[str, ...]
    missing: tuple[str, ...]
    unused: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()
    folded: bool = False

    def __str__(self) -> str:
        """A short table, one line for each part of the network, and what was left out below it."""
        columns = [Counter(map(_part, names)) for names in (self.loaded, self.reinitialized, self.missing)]
        parts = list(dict.fromkeys(_part(v) for v in (*self.loaded, *self.reinitialized, *self.missing)))
        lines = [f"weights from {self.source}", f"{'variables':<12}{'loaded':>8}{'re-initialized':>16}{'missing':>9}"]
        for part in sorted(parts, key=lambda p: (p != "backbone", p == "logits")):
            loaded, fresh, missing = (column[part] for column in columns)
            lines.append(f"{part:<12}{loaded:>8}{fresh:>16}{missing:>9}")
        for title, names in (("re-initialized", self.reinitialized), ("missing", self.missing)):
            lines += [f"{title}: {_listed(names)}"] if names else []
        lines += [f"not used of the source: {_listed(self.unused)}"] if self.unused else []
        return "\n".join([*lines, *self.notes])


def fill(model: keras.Model, found: Found, *, allow_missing: bool = False) -> ImportReport:
    """Gives the layers of `model` the weights in `found`; nothing is touched where this fails.

    A layer is filled as a whole or not at all, a batch norm only together with its convolution, and the logits only
    together with the layer before them: the classifier of one head means nothing behind another.

    Args:
        model: from `build_model`.
        found: the weights.
        allow_missing: accept a backbone that is filled only in part.

    Raises:
        UserError: part of the backbone would stay unfilled, nothing fits, or a weight is not finite.
    """
    loaded: list[str] = []
    reinitialized: list[str] = []
    missing: list[str] = []
    plan: list[tuple[keras.layers.Layer, tuple[np.ndarray, ...]]] = []
    unfit: set[str] = set()
    before = False
    for layer in model.layers:
        if not layer.weights:
            continue
        names = [f"{layer.name}/{variable.name}" for variable in layer.weights]
        values = found.weights.get(layer.name)
        if values is None:
            missing += names
        elif (
            layer.name.removesuffix("_bn") in unfit
            or _shapes(values) != _shapes(layer.weights)
            or (layer.name == "logits" and not before)
        ):
            unfit.add(layer.name)
            reinitialized += names
        else:
            plan.append((layer, values))
            loaded += names
        before = bool(plan) and plan[-1][0] is layer
    _check(model, found, plan, reinitialized + missing, allow_missing)
    for layer, values in plan:
        layer.set_weights([np.asarray(v, np.float32) for v in values])
    known = {layer.name for layer in model.layers}
    unused = (*found.unused, *(name for name in found.weights if name not in known))
    return ImportReport(
        found.source, tuple(loaded), tuple(reinitialized), tuple(missing), unused, found.notes, found.folded
    )


def _check(
    model: keras.Model,
    found: Found,
    plan: list[tuple[keras.layers.Layer, tuple[np.ndarray, ...]]],
    unfilled: list[str],
    allow_missing: bool,
) -> None:
    """Raises UserError for all that makes an import senseless."""
    if not plan:
        raise UserError(
            found.source, f"none of its weights fits {model.name}", "choose the model it was made for: model=NAME"
        )
    for layer, values in plan:
        if not all(np.isfinite(v).all() for v in values):
            raise UserError(found.source, f"has weights that are not finite in {layer.name}", "take another file")
    lacking = [name for name in unfilled if name.startswith(BACKBONE)]
    if lacking and not allow_missing:
        layer = lacking[0].partition("/")[0]
        here = _shapes(model.get_layer(layer).weights)
        there = _shapes(found.weights[layer]) if layer in found.weights else "nothing"
        raise UserError(
            found.source,
            f"would leave {len(lacking)} variables of the backbone random, first {layer}: {here} here, {there} there",
            "give model= (or depth_multiplier, round_channels) of what it was made for, or set allow_missing=true",
        )


def _shapes(values: object) -> list[tuple[int, ...]]:
    return [tuple(v.shape) for v in values]  # type: ignore[attr-defined]


def _part(variable: str) -> str:
    """The part of the network that a variable belongs to, by the names of the layers."""
    if variable.startswith(("aspp", "image_pooling", "concat_projection")):
        return "aspp"
    return variable.partition("/")[0].partition("_")[0]


def _listed(names: tuple[str, ...], most: int = 4) -> str:
    """The first few names."""
    return ", ".join(names[:most]) + (f" and {len(names) - most} more" if len(names) > most else "")
