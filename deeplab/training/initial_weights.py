"""Loads pretrained weights and initializes what the file does not contain."""

import itertools
import re
from pathlib import Path

from deeplab.config import TrainConfig
from deeplab.config.class_names import same_classes
from deeplab.datasets.pipeline import iterate
from deeplab.datasets.source import Source
from deeplab.errors import UserError
from deeplab.model.batch_norm_statistics import unfold_batch_norm
from deeplab.model.quantization.equalization import equalized
from deeplab.model.quantization.transform import measure_ranges
from deeplab.pretrained import import_weights
from deeplab.pretrained.assignment import ImportReport
from deeplab.rendering.console import progress_bar
from deeplab.training.linear_probe import PIXELS, SETTING, fit_classifier
from deeplab.training.settings import describe_weights
from deeplab.training.train_state import TrainState
from deeplab.training.train_step import averaged_variables
from deeplab.training.training_data import first_images, labeled_batches

UNFOLDING_BATCHES = 4
"""Number of batches on which statistics are measured for imported layers whose batch norm was folded."""


def load_pretrained(state: TrainState, config: TrainConfig, source: Source, pretrained: str) -> bool:
    """Load pretrained weights, and initialize what the file does not contain: statistics, classifier, ranges, averages.

    A classifier that was loaded is kept if its classes are those of the data. Kernels with one scale are equalized
    before they are rounded, as in a conversion: rounding them at once would lose the accuracy.

    Args:
        state: changed in place.
        config: settings of the training.
        source: the training split.
        pretrained: as `TrainConfig.pretrained`.

    Returns:
        Whether the classifier suits the data: it was fitted, or loaded with the same class names.

    Raises:
        UserError: the weights cannot be read or do not fit; the classifier cannot be fitted, or is to be fitted, but
            layers before it were not loaded.
    """
    settings = config.training
    report = import_weights(state.float_network, pretrained, allow_missing=config.allow_missing)
    print(report)
    if report.folded and not settings.freezes_statistics:
        unfold_batch_norm(state.float_network, first_images(config, source, UNFOLDING_BATCHES))
    has_classifier = _has_classifier(report, source)
    if has_classifier and settings.linear_probe_images:
        print("The classifier is kept: it has the classes of the data")
    elif settings.linear_probe_images:
        _fit_classifier(state, config, source, report)
        has_classifier = True
    range_batches = settings.quantization.range_batches
    if settings.quantize_aware and settings.quantization.per_tensor:
        images = (image for batch in first_images(config, source, range_batches) for image in batch)
        state.float_network.set_weights(equalized(state.float_network, images).get_weights())
    if settings.quantize_aware:
        measure_ranges(state.network, first_images(config, source, range_batches))
    for average, variable in zip(state.averages, averaged_variables(state.model), strict=False):
        average.assign(variable.value)
    return has_classifier


def _has_classifier(report: ImportReport, source: Source) -> bool:
    """Return whether a classifier with the classes of the data was loaded."""
    loaded = any(re.match(r"logits(_\w+)?/", name) for name in report.loaded)
    weights = describe_weights(Path(report.source)) if loaded else None
    return weights is not None and same_classes(weights.classes, source.classes)


def _fit_classifier(state: TrainState, config: TrainConfig, source: Source, report: ImportReport) -> None:
    """Fit the classifier; raise UserError if layers before it were not loaded."""
    # The low-level features of a new decoder start with kernels of 0 in the layer after them.
    initial = (*report.missing, *report.reinitialized)
    if random := [name for name in initial if not re.match("logits/|decoder_low_level", name)]:
        problem = f"{report.source} has no weights for layers before the classifier, first {random[0]}"
        raise UserError(SETTING, problem, "set it to 0, or use weights with this head")
    print("Fitting the classifier to the pretrained features ...", flush=True)
    settings = config.training
    count = -(-settings.linear_probe_images // settings.batch_size)
    batches = itertools.islice(iterate(labeled_batches(config, source)), count)
    with progress_bar() as bar:
        tracked = bar.track(batches, count, description="batches")
        fit_classifier(state.float_network, tracked, max(PIXELS // count, 1), config.seed)
