"""One tiny network with non-trivial statistics, its reference and its files, made once for all tests."""

from dataclasses import dataclass, field

import keras
import numpy as np
import pytest

from deeplab.config import ModelConfig
from deeplab.conversion.agreement import Reference, make_reference
from deeplab.conversion.calibration import choose_calibration
from deeplab.conversion.convert import convert, io_type
from deeplab.conversion.export_graph import export_graph
from deeplab.conversion.structure import Expected, activation_for
from deeplab.conversion.verify import Proof
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
    """A model and a cache of what was made from it."""

    model: keras.Model
    pictures: list[np.ndarray]
    reference: Reference
    files: dict[tuple[str, str, int], bytes] = field(default_factory=dict)

    def bare(self, quantization: str, output: str = "logits", mask_stride: int = 1) -> bytes:
        key = (quantization, output, mask_stride)
        if key not in self.files:
            graph = export_graph(self.model, output, mask_stride)
            images = choose_calibration(shapes_source("train", SIZE), 4, (SIZE, SIZE), 0).images
            self.files[key] = convert(graph, (SIZE, SIZE), quantization, images)
        return self.files[key]

    def file(self, quantization: str, output: str = "logits", mask_stride: int = 1) -> bytes:
        activation = activation_for(output)
        return write_metadata(self.bare(quantization, output, mask_stride), CLASSES, activation=activation)

    def proof(self, quantization: str, output: str = "logits", mask_stride: int = 1) -> Proof:
        side = (SIZE - 1) // mask_stride + 1
        ends = io_type(quantization, None)
        expected = Expected((SIZE, SIZE), (side, side), CLASSES, output, quantization, ends, ends)
        # The network is random, and rounding grows in it more than in a trained one.
        tolerance = 3.0 if quantization == "int8" else 1.0
        return Proof(expected, self.reference, logit_offset=0.0, max_miou_drop=1.5, tolerance=tolerance)


@pytest.fixture(scope="session")
def workshop() -> Workshop:
    model = randomize(build_model(TINY, 16, SIZE), seed=3)
    # Clear winners: an untrained network is unsure everywhere, and the Task Library wants them above zero.
    logits = model.get_layer("logits")
    logits.kernel.assign(3 * np.asarray(logits.kernel))
    logits.bias.assign(np.asarray(logits.bias) + 20)
    examples = list(shapes_source("val", SIZE).examples(4))
    pictures = [e.image for e in examples[:2]]
    return Workshop(model, pictures, make_reference(model, pictures, examples, CLASSES))
