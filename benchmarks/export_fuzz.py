"""Random networks, sizes and outputs through the export: `python benchmarks/export_fuzz.py [CASES] [SEED]`.

Each case either gives a file that passes all its checks, or is refused in words (UserError). Anything else is a fault
of the toolkit and is listed with the settings that bring it about. The mIoU gate is left out: random networks have
nothing to lose.
"""

import dataclasses
import sys
import time
import traceback
from collections import Counter

import keras
import numpy as np

from deeplab.config import ExportOutput, ModelConfig, Quantization
from deeplab.conversion.agreement import make_reference, needed_raise
from deeplab.conversion.calibration import choose_calibration
from deeplab.conversion.convert import NO_LABELS, convert, end_type
from deeplab.conversion.graph import check_mask_stride, export_graph
from deeplab.conversion.structure import Expected, activation_for
from deeplab.conversion.verify import Proof, verify
from deeplab.datasets.shapes import shapes_source
from deeplab.errors import UserError
from deeplab.model.build import build_model
from deeplab.model.resize import feature_size
from deeplab.tflite.metadata import write_metadata


@dataclasses.dataclass(frozen=True)
class Case:
    """What is drawn for one case."""

    network: ModelConfig
    output_stride: int
    size: tuple[int, int]
    quantization: Quantization
    output: ExportOutput
    mask_stride: int
    seed: int


def draw(rng: np.random.Generator) -> Case:
    side = [int(rng.integers(33, 200)) for _ in range(2)]
    if rng.random() < 0.4:
        side = [32 * int(rng.integers(1, 6)) + 1] * 2
    network = ModelConfig(
        depth_multiplier=float(rng.choice([0.25, 0.35, 0.5])),
        head=rng.choice(["v3", "v3plus"]),
        aspp_rates=tuple(map(int, rng.choice([2, 4, 6, 12], rng.integers(0, 4), replace=False))),
        aspp_separable=bool(rng.random() < 0.5),
        aspp_channels=int(rng.choice([8, 24])),
        image_pooling=bool(rng.random() < 0.7),
        decoder_channels=16,
        low_level_channels=8,
        classes=int(rng.choice([2, 3, 21, 150, 256])),
    )
    return Case(
        network,
        int(rng.choice([8, 16, 32])),
        (side[0], side[1]),
        rng.choice(["float32", "float16", "dynamic", "int8", "int16x8"]),
        rng.choice(["logits", "probabilities", "labels"]),
        int(rng.choice([1, 1, 4, 16])),
        int(rng.integers(1 << 30)),
    )


def randomize(model: keras.Model, seed: int) -> None:
    """Statistics and kernels that keep the scale of the activations and are far from the fresh ones."""
    rng = np.random.default_rng(seed)
    for layer in model.layers:
        if isinstance(layer, keras.layers.BatchNormalization):
            layer.gamma.assign(rng.uniform(0.5, 1.5, layer.gamma.shape))
            layer.beta.assign(rng.normal(0, 0.5, layer.beta.shape))
        elif isinstance(layer, keras.layers.Conv2D):
            spread = np.sqrt(2 / np.prod(layer.kernel.shape[:-1]))
            layer.kernel.assign(rng.normal(0, spread, layer.kernel.shape))
        elif isinstance(layer, keras.layers.DepthwiseConv2D):
            layer.kernel.assign(rng.normal(0, np.sqrt(2 / 9), layer.kernel.shape))


def run_case(case: Case) -> str:
    """Gives "passed", "refused in words", or the checks that failed."""
    keras.utils.clear_session()
    try:
        check_mask_stride(case.size, case.mask_stride)
        if case.output == "labels" and case.quantization in NO_LABELS:
            return "refused in words"
        model = build_model(case.network, case.output_stride, case.size)
    except UserError:
        return "refused in words"
    randomize(model, case.seed)
    labels = tuple(f"class {i}" for i in range(case.network.classes))
    scenes = shapes_source("fuzz", max(32, min(case.size)), case.seed)
    pictures = [e.image for e in scenes.examples(2)]
    reference = make_reference(model, pictures, (), labels)
    raised = needed_raise(reference.logits, case.mask_stride) if case.output == "logits" else 0.0
    images = choose_calibration(scenes, 4, case.size, case.seed).images
    graph = export_graph(model, case.output, case.mask_stride, raised)
    content = convert(graph, case.size, case.quantization, images)
    content = write_metadata(content, labels, activation=activation_for(case.output))
    side = (feature_size(case.size[0], case.mask_stride), feature_size(case.size[1], case.mask_stride))
    ends = end_type(case.quantization, None)
    expected = Expected(case.size, side, labels, case.output, case.quantization, ends, ends)
    checks = verify(content, Proof(expected, reference, raised, 1.5), reference.pictures)
    failed = [str(c) for c in checks if c.state == "failed"]
    return "; ".join(failed) or "passed"


def main() -> None:
    cases = int(sys.argv[1]) if len(sys.argv) > 1 else 200
    rng = np.random.default_rng(int(sys.argv[2]) if len(sys.argv) > 2 else 0)
    found: Counter[str] = Counter()
    for number in range(cases):
        case, start = draw(rng), time.perf_counter()
        try:
            result = run_case(case)
        except Exception:
            result = traceback.format_exc(limit=-3)
        kind = result if result in ("passed", "refused in words") else "failed"
        found[kind] += 1
        print(f"{number:4d} {time.perf_counter() - start:5.0f} s  {result}", flush=True)
        if kind == "failed":
            print(f"     {case}", flush=True)
    print(dict(found))


if __name__ == "__main__":
    main()
