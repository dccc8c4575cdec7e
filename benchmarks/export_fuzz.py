"""Exports random networks, and verifies damaged files.

    python -m benchmarks.export_fuzz [--cases 200] [--damages 50] [--seed 0] [--clients 0.2]

Each case draws a network (backbone, head, output stride, size, classes), a quantization and an output. It must become a
file that passes all its checks, or a UserError. Each damaged file must fail its checks. Everything else is a fault of
the toolkit and is printed with its case. Case N of a seed is the same in every run: `--only N`.

The kernels are random, and the batch-norm statistics are those of the case's images, so that activations have the scale
of trained networks. mIoU is not measured: random networks have none to lose. Only the share `--clients` of the cases is
opened by the Task Library and MediaPipe, which take seconds to start.
"""

import argparse
import dataclasses
import resource
import time
import traceback
from collections import Counter

import keras
import numpy as np

from benchmarks.export_damage import DAMAGES
from deeplab.config import ExportOutput, ModelConfig, Quantization
from deeplab.conversion.agreement import VerificationTarget
from deeplab.conversion.calibration import choose_calibration
from deeplab.conversion.checks import failed_checks
from deeplab.conversion.convert import NO_LABELS, convert, io_type
from deeplab.conversion.export_graph import check_mask_stride, export_graph
from deeplab.conversion.keras_reference import KerasReference, first_images, logit_extremes, needed_logit_offset
from deeplab.conversion.structure import ExpectedFile
from deeplab.conversion.verify import verify
from deeplab.datasets.shapes import shapes_source
from deeplab.errors import UserError
from deeplab.model.backbones import BACKBONES
from deeplab.model.build import build_model
from deeplab.tflite.metadata import write_metadata
from tests.model.short_backbones import SHORT

REJECTED = "rejected by a UserError"
TOLERANCE = {"float32": 1.0, "float16": 4.0}
"""Factor on the limits of a case; 4 for other quantizations. Their rounding errors grow from layer to layer of a random
network to one standard deviation of the scores (0.15 in trained networks). So int8 cases test structure, dtypes and
clients; float cases also test the numbers. Damaged files must fail the limits of trained networks."""
NETWORKS = ("mobilenet_v2", "mobilenet_v3_small", "mobilenet_v3_large", *SHORT)
SHARES = (0.3, 0.25, 0.05, 0.15, 0.1, 0.15)


@dataclasses.dataclass(frozen=True)
class Case:
    """The settings of one case."""

    network: ModelConfig
    output_stride: int
    size: tuple[int, int]
    quantization: Quantization
    output: ExportOutput
    mask_stride: int
    seed: int
    clients: bool


@dataclasses.dataclass(frozen=True)
class ExportedCase:
    """A file and what it is verified against."""

    content: bytes
    target: VerificationTarget


def draw(seed: int, number: int, clients: float) -> Case:
    """Draw case `number` of a seed."""
    rng = np.random.default_rng((seed, number))
    kind = rng.integers(3)
    side = [int(rng.integers(33, 130)) for _ in range(2)]
    if kind == 0:
        side = [int(rng.choice([33, 65, 97, 129]))] * 2
    elif kind == 1:
        side = [2 * (s // 2) for s in side]
    head = str(rng.choice(["v1", "v2", "v3", "v3plus", "lraspp"], p=[0.1, 0.1, 0.35, 0.35, 0.1]))
    rates = tuple(map(int, rng.choice([2, 4, 6, 12], rng.integers(0, 4), replace=False)))
    network = ModelConfig(
        backbone=str(rng.choice(NETWORKS, p=SHARES)),
        depth_multiplier=float(rng.choice([0.25, 0.35, 0.5])),
        round_channels=bool(rng.random() < 0.5),
        head=head,  # type: ignore[arg-type]
        # Dropout would change the batch-norm statistics from run to run.
        dropout=0.0,
        aspp_rates={"v1": rates[:1] or (12,), "v2": rates or (6, 12)}.get(head, rates),
        aspp_separable=bool(rng.random() < 0.5),
        aspp_channels=int(rng.choice([8, 24])),
        image_pooling=bool(rng.random() < 0.7),
        decoder_channels=16,
        low_level_channels=8,
        decoder_separable=bool(rng.random() < 0.5),
        classes=int(rng.choice([2, 3, 21, 150, 255])),
    )
    return Case(
        network=network,
        output_stride=int(rng.choice([8, 16, 32])),
        size=(max(33, side[0]), max(33, side[1])),
        quantization=rng.choice(["float32", "float16", "dynamic", "int8", "int8", "int16x8"]),
        output=rng.choice(["logits", "logits", "probabilities", "labels"]),
        mask_stride=int(rng.choice([1, 1, 4, 16])),
        seed=int(rng.integers(1 << 30)),
        clients=bool(rng.random() < clients),
    )


def randomize_and_settle(model: keras.Model, seed: int, images: list[np.ndarray]) -> None:
    """Set random kernels that keep the scale of activations, and the batch-norm statistics of `images`."""
    rng = np.random.default_rng(seed)
    norms = [layer for layer in model.layers if isinstance(layer, keras.layers.BatchNormalization)]
    for layer in model.layers:
        if isinstance(layer, keras.layers.DepthwiseConv2D):
            layer.kernel.assign(rng.normal(0, 1 / np.sqrt(np.prod(layer.kernel.shape[:2])), layer.kernel.shape))
        elif isinstance(layer, keras.layers.Conv2D):
            layer.kernel.assign(rng.normal(0, np.sqrt(2 / np.prod(layer.kernel.shape[:-1])), layer.kernel.shape))
            if layer.bias is not None:
                layer.bias.assign(rng.normal(0, 0.5, layer.bias.shape))
    for layer in norms:
        layer.gamma.assign(rng.uniform(0.5, 1.5, layer.gamma.shape))
        layer.beta.assign(rng.normal(0, 0.5, layer.beta.shape))
        layer.momentum = 0.0
    height, width = model.input_shape[1:3]
    model(np.stack([np.resize(image, (height, width, 3)) for image in images]).astype(np.float32), training=True)
    for layer in norms:
        # Features that are constant on these images, such as image pooling, may vary on others.
        layer.moving_variance.assign(keras.ops.maximum(layer.moving_variance, 0.05))


def export_case(case: Case) -> ExportedCase:
    """Export the file of a case; raises UserError if it is rejected."""
    keras.utils.clear_session()
    check_mask_stride(case.size, case.mask_stride)
    if case.output == "labels" and case.quantization in NO_LABELS:
        raise UserError("output", f"labels are not available with {case.quantization}", "use int8")
    model = build_model(case.network, case.output_stride, case.size)
    labels = tuple(f"class {i}" for i in range(case.network.classes))
    scenes = shapes_source("fuzz", max(32, min(case.size)), case.seed)
    randomize_and_settle(model, case.seed, [e.image for e in scenes.examples(4)])
    images = tuple(first_images(scenes, 2, case.size, case.seed))
    # Called directly: tracing the model would take seconds.
    logits = tuple(np.asarray(model(image[None].astype(np.float32), training=False))[0] for image in images)
    logit_offset = needed_logit_offset([logit_extremes(x) for x in logits]) if case.output == "logits" else 0.0
    dtype = io_type(case.quantization, None)
    expected = ExpectedFile(
        case.size,
        case.mask_stride,
        labels,
        case.output,
        case.quantization,
        input_type=dtype,
        output_type=dtype,
        logit_offset=logit_offset,
    )
    calibration = choose_calibration(scenes, 4, case.size, case.seed).images
    graph = export_graph(model, case.output, case.mask_stride, logit_offset)
    content = convert(graph, case.size, case.quantization, calibration)
    content = write_metadata(content, labels, activation=expected.activation)
    return ExportedCase(content, VerificationTarget(expected, KerasReference(images, logits), max_miou_drop=1.5))


def failures(content: bytes, target: VerificationTarget, clients: bool) -> list[str]:
    """Return the failed checks of a file."""
    return [str(c) for c in failed_checks(verify(content, target, target.reference.images if clients else (), 1))]


def run_case(case: Case) -> str:
    """Return "passed", `REJECTED`, or the failed checks."""
    try:
        exported = export_case(case)
    except UserError:
        return REJECTED
    target = dataclasses.replace(exported.target, tolerance=TOLERANCE.get(case.quantization, 4.0))
    return "; ".join(failures(exported.content, target, case.clients)) or "passed"


def run_damages(count: int, seed: int) -> Counter[str]:
    """Damage good files in all ways in turn, and count how many fail their checks."""
    counts: Counter[str] = Counter()
    number, exported, names = 10_000, None, list(DAMAGES)
    rng = np.random.default_rng(seed)
    turn = 0
    while counts.total() < count:
        turn += 1
        while exported is None or turn % 5 == 0:
            case, number = draw(seed, number, 0), number + 1
            try:
                exported = export_case(case)
            except UserError:
                continue
            if case.output != "labels" and not failures(exported.content, exported.target, False):
                break
            exported = None
        name = names[turn % len(names)]
        damaged = DAMAGES[name](exported.content, exported.target.expected, rng)
        if damaged is None:
            continue  # The damage does not apply: a float file has no scale of the input, for example.
        checks = failures(damaged, exported.target, False)
        counts["failed their checks" if checks else "ACCEPTED"] += 1
        print(f"  {name:28} {checks[0] if checks else f'ACCEPTED, {case}'}", flush=True)
    return counts


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cases", type=int, default=200)
    parser.add_argument("--damages", type=int, default=50)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--clients", type=float, default=0.2, help="share of the cases that the clients open")
    parser.add_argument("--first", type=int, default=0, help="number of the first case")
    parser.add_argument("--only", type=int, help="number of a single case")
    arguments = parser.parse_args()
    BACKBONES.update(SHORT)
    counts: Counter[str] = Counter()
    for number in range(arguments.first, arguments.cases) if arguments.only is None else [arguments.only]:
        case, start = draw(arguments.seed, number, arguments.clients), time.process_time()
        try:
            result = run_case(case)
        except Exception:
            result = traceback.format_exc(limit=-3)
        kind = result if result in ("passed", REJECTED) else "FAILED"
        counts[kind] += 1
        print(f"{number:4d} {time.process_time() - start:5.1f} CPU s  {result}", flush=True)
        if kind == "FAILED":
            print(f"     {case}", flush=True)
    print("cases:", dict(counts), flush=True)
    if arguments.only is None:
        print("damages:", dict(run_damages(arguments.damages, arguments.seed)))
    print(f"peak {resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20:.1f} GiB")


if __name__ == "__main__":
    main()
