"""Weights of a source, their assignment to the layers of a model, and the report of what was loaded."""

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import keras
import numpy as np

from deeplab.errors import UserError
from deeplab.model.backbones.features import BACKBONE_PREFIX

LayerWeights = Mapping[str, tuple[np.ndarray, ...]]
"""Arrays by layer name, in the order of the layer's `weights`: kernel and bias of a convolution; gamma, beta, moving
mean and moving variance of a batch norm."""


@dataclass(frozen=True, eq=False)
class SourceWeights:
    """The weights of a source, under the layer names of our models.

    Attributes:
        source: name of the source, for messages.
        weights: arrays by layer name.
        unused: weights without a counterpart in our models, by their names in the source.
        notes, folded: see `ImportReport`.
    """

    source: str
    weights: LayerWeights
    unused: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()
    folded: bool = False


@dataclass(frozen=True)
class ImportReport:
    """The variables of a model that were loaded from a source. Variables are named layer/variable ("logits/kernel").

    Attributes:
        source: name of the source.
        loaded: variables that have the values of the source.
        reinitialized: variables that keep their initial values although the source has the layer, because its shape
            differs (logits of other classes) or because the layer before it was not loaded.
        missing: variables that keep their initial values because the source does not have them.
        unused: weights of the source that the model does not have, by their names in the source.
        notes: conversions that were applied to the weights.
        folded: whether the batch norms of the source were folded into its convolutions, so that the loaded ones only
            add a bias. This is exact in inference and in training with frozen batch norm. Before training the batch
            norms, use `deeplab.model.batch_norm_statistics.unfold_batch_norm`.
    """

    source: str
    loaded: tuple[str, ...]
    reinitialized: tuple[str, ...]
    missing: tuple[str, ...]
    unused: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()
    folded: bool = False

    def __str__(self) -> str:
        """Return a table with one row per part of the network, followed by the names that were not loaded."""
        lists = {"loaded": self.loaded, "re-initialized": self.reinitialized, "missing": self.missing}
        counts = {title: Counter(map(_part, names)) for title, names in lists.items()}
        parts = dict.fromkeys(part for count in counts.values() for part in count)
        lines = [f"weights from {self.source}", f"{'variables':<12}{'loaded':>8}{'re-initialized':>16}{'missing':>9}"]
        for part in sorted(parts, key=lambda p: (p != "backbone", p == "logits")):
            loaded, reinitialized, missing = (count[part] for count in counts.values())
            lines.append(f"{part:<12}{loaded:>8}{reinitialized:>16}{missing:>9}")
        lists = {"re-initialized": self.reinitialized, "missing": self.missing, "unused": self.unused}
        lines += [f"{title}: {_first_names(names)}" for title, names in lists.items() if names]
        return "\n".join([*lines, *self.notes])


def assign_weights(model: keras.Model, source: SourceWeights, *, allow_missing: bool = False) -> ImportReport:
    """Assign the weights of a source to the layers of `model` that have the same names.

    Either all variables of a layer are assigned or none. A batch norm is assigned only together with its convolution,
    and the logits only together with the layer before them, because a classifier is useless after another head.

    Args:
        model: from `build_model`. Unchanged if an error is raised.
        source: the weights.
        allow_missing: accept a source that does not cover the whole backbone.

    Raises:
        UserError: the source does not cover the backbone, matches no layer, or has weights that are not finite.
    """
    variables: dict[str, tuple[str, ...]] = {"loaded": (), "reinitialized": (), "missing": ()}
    assignments: dict[str, tuple[np.ndarray, ...]] = {}
    mismatched: set[str] = set()
    outcome = "missing"
    for layer in model.layers:
        if not layer.weights:
            continue
        values = source.weights.get(layer.name)
        if values is None:
            outcome = "missing"
        elif (
            _shapes(values) == _shapes(layer.weights)
            and layer.name.removesuffix("_bn") not in mismatched
            and (layer.name != "logits" or outcome == "loaded")
        ):
            assignments[layer.name] = values
            outcome = "loaded"
        else:
            mismatched.add(layer.name)
            outcome = "reinitialized"
        variables[outcome] += tuple(f"{layer.name}/{variable.name}" for variable in layer.weights)
    uncovered = [name for name in variables["reinitialized"] + variables["missing"] if name.startswith(BACKBONE_PREFIX)]
    _check(model, source, assignments, [] if allow_missing else uncovered)
    for name, values in assignments.items():
        model.get_layer(name).set_weights([np.asarray(value, np.float32) for value in values])
    model_layers = {layer.name for layer in model.layers}
    unused = (*source.unused, *(name for name in source.weights if name not in model_layers))
    return ImportReport(source.source, **variables, unused=unused, notes=source.notes, folded=source.folded)


def _check(model: keras.Model, source: SourceWeights, assignments: LayerWeights, uncovered: list[str]) -> None:
    """Raise UserError if nothing is assigned, a value is not finite, or backbone variables are `uncovered`."""
    if not assignments:
        problem = f"none of its weights matches {model.name}"
        raise UserError(source.source, problem, "use the network of these weights: its backbone and depth multiplier")
    for name, values in assignments.items():
        if not all(np.isfinite(value).all() for value in values):
            raise UserError(source.source, f"weights of layer {name} are not finite", "use another file")
    if uncovered:
        layer = uncovered[0].partition("/")[0]
        expected = _shapes(model.get_layer(layer).weights)
        actual = f"shapes {_shapes(source.weights[layer])}" if layer in source.weights else "no such layer"
        problem = f"has no weights for {len(uncovered)} variables of the backbone; the first are of {layer}: "
        problem += f"expected shapes {expected}, got {actual}"
        remedy = "use the backbone, depth_multiplier and round_channels of these weights, or set allow_missing"
        raise UserError(source.source, problem, remedy)


def _shapes(values: Iterable[Any]) -> list[tuple[int, ...]]:
    return [tuple(value.shape) for value in values]


def _part(variable: str) -> str:
    """Return the part of the network that a variable belongs to."""
    if variable.startswith(("aspp", "image_pooling", "concat_projection")):
        return "aspp"
    return variable.partition("/")[0].partition("_")[0]


def _first_names(names: tuple[str, ...], limit: int = 4) -> str:
    return ", ".join(names[:limit]) + (f" and {len(names) - limit} more" if len(names) > limit else "")
