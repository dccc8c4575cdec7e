"""The weights that a training starts from: pretrained, with everything that they lack."""

import itertools

from deeplab.config import TrainConfig
from deeplab.datasets.pipeline import iterate
from deeplab.datasets.source import Source
from deeplab.model.batch_norm_statistics import unfold_batch_norm
from deeplab.model.quantization.equalization import equalized
from deeplab.model.quantization.transform import measure_ranges
from deeplab.pretrained import import_weights
from deeplab.rendering.console import progress_bar
from deeplab.training.linear_probe import PIXELS, fit_classifier
from deeplab.training.train_state import TrainState
from deeplab.training.train_step import averaged_variables
from deeplab.training.training_data import first_images, make_batches

UNFOLDING_BATCHES = 4
"""Number of batches on which statistics are measured for imported layers whose batch norm was folded."""


def load_pretrained(state: TrainState, config: TrainConfig, source: Source, pretrained: str) -> None:
    """Load pretrained weights, and initialize what they lack: statistics, classifier, ranges, moving averages.

    Kernels with one scale are equalized first, as in a conversion: rounding them at once would lose the accuracy.

    Args:
        state: changed in place.
        config: settings of the training.
        source: the training split.
        pretrained: as `TrainConfig.pretrained`.

    Raises:
        UserError: the weights cannot be read or do not fit, or the classifier cannot be fitted.
    """
    settings = config.training
    report = import_weights(state.float_network, pretrained, allow_missing=config.allow_missing)
    print(report)
    if report.folded and not settings.freezes_statistics:
        unfold_batch_norm(state.float_network, first_images(config, source, UNFOLDING_BATCHES))
    if settings.linear_probe_images:
        print("Fitting the classifier to the pretrained features ...", flush=True)
        count = -(-settings.linear_probe_images // settings.batch_size)
        batches = itertools.islice(iterate(make_batches(config, source)), count)
        with progress_bar() as bar:
            tracked = bar.track(batches, count, description="batches")
            fit_classifier(state.float_network, tracked, max(PIXELS // count, 1), config.seed)
    range_batches = settings.quantization.range_batches
    if settings.quantize_aware and settings.quantization.per_tensor:
        images = (image for batch in first_images(config, source, range_batches) for image in batch)
        state.float_network.set_weights(equalized(state.float_network, images).get_weights())
    if settings.quantize_aware:
        measure_ranges(state.network, first_images(config, source, range_batches))
    for average, variable in zip(state.averages, averaged_variables(state.model), strict=False):
        average.assign(variable.value)
