"""A tiny network with non-trivial statistics, its Keras reference and its files, created once for all tests."""

from dataclasses import dataclass, field

import keras
import numpy as np
import pytest

from deeplab.config import ExportConfig, ModelConfig
from deeplab.conversion.agreement import VerificationTarget
from deeplab.conversion.calibration import choose_calibration
from deeplab.conversion.convert import convert, io_type
from deeplab.conversion.export_graph import export_graph
from deeplab.conversion.keras_reference import KerasReference, make_reference
from deeplab.conversion.structure import ExpectedFile
from deeplab.datasets.shapes import CLASSES, shapes_source
from deeplab.model.build import build_model
from deeplab.tflite.metadata import write_metadata
from tests.networks import randomize

SIZE = 129
TINY = ModelConfig(
    depth_multiplier=0.25, aspp_rates=(2,), aspp_channels=16, decoder_channels=16, low_level_channels=8, classes=7
)


@dataclass
class Workshop:
    """A model and a cache of the files made from it."""

    model: keras.Model
    reference: KerasReference
    files: dict[tuple[str, str, int], bytes] = field(default_factory=dict)

    @property
    def images(self) -> tuple[np.ndarray, ...]:
        return self.reference.images

    def bare(self, quantization: str, output: str = "logits", mask_stride: int = 1) -> bytes:
        key = (quantization, output, mask_stride)
        if key not in self.files:
            graph = export_graph(self.model, output, mask_stride)
            images = choose_calibration(shapes_source("train", SIZE), 4, (SIZE, SIZE), 0).images
            self.files[key] = convert(graph, (SIZE, SIZE), quantization, images)
        return self.files[key]

    def file(self, quantization: str) -> bytes:
        return write_metadata(self.bare(quantization), CLASSES, activation="softmax")

    def target(self, quantization: str, mask_stride: int = 1) -> VerificationTarget:
        dtype = io_type(quantization, None)
        expected = ExpectedFile((SIZE, SIZE), mask_stride, CLASSES, "logits", quantization, dtype, dtype)
        # The network is random: rounding errors grow more from layer to layer than in a trained one.
        tolerance = 3.0 if quantization == "int8" else 1.0
        return VerificationTarget(expected, self.reference, max_miou_drop=1.5, tolerance=tolerance)


@pytest.fixture(scope="session")
def workshop() -> Workshop:
    model = randomize(build_model(TINY, 16, SIZE), seed=3)
    # Makes the winners clear and positive: an untrained network has no confident pixels, and the Task Library ignores
    # scores below zero.
    logits = model.get_layer("logits")
    logits.kernel.assign(3 * np.asarray(logits.kernel))
    logits.bias.assign(np.asarray(logits.bias) + 20)
    config = ExportConfig(run="tiny", agreement_images=2, miou_images=4)
    return Workshop(model, make_reference(model, shapes_source("val", SIZE), CLASSES, config))
