"""Random networks through the export, and damaged files through its checks.

    python -m benchmarks.export_fuzz [--cases 200] [--damages 50] [--seed 0] [--clients 0.2]

Each case (backbone, head, output stride, size, classes, quantization, output) either gives a file that passes all its
checks, or is refused in words (UserError). Each damage of a good file must be refused by the checks. Anything else is a
fault of the toolkit and is listed with what brings it about. Case N of a seed is the same in every run: `--only N`.

The networks have random kernels, and batch norms that are settled on the very pictures, so that activations are as
tame as those of trained networks. The mIoU gate is left out: random networks have nothing to lose. The Task Library and
MediaPipe, whose start takes seconds, are asked for the share `--clients` of the cases.
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
from deeplab.conversion.agreement import Reference, needed_logit_offset
from deeplab.conversion.calibration import choose_calibration
from deeplab.conversion.convert import NO_LABELS, convert, io_type
from deeplab.conversion.export_graph import check_mask_stride, export_graph
from deeplab.conversion.structure import Expected, activation_for
from deeplab.conversion.verify import Proof, verify
from deeplab.datasets.shapes import shapes_source
from deeplab.errors import UserError
from deeplab.model.backbones import BACKBONES
from deeplab.model.build import build_model
from deeplab.model.resize import feature_size
from deeplab.prediction.image_fit import fit_image
from deeplab.tflite.metadata import write_metadata
from tests.model.short_backbones import SHORT

REFUSED = "refused in words"
TOLERANCE = {"float32": 1.0, "float16": 4.0}
"""Factor on the limits for a case; 4 for other quantizations, whose rounding grows from layer to layer of a random
network, smoothly, to one standard deviation of the scores (0.15 in trained ones). So int8 cases prove structure, types
and clients, and float ones the numbers. Damaged files are held to the limits of trained networks."""
NETWORKS = ("mobilenet_v2", "mobilenet_v3_small", "mobilenet_v3_large", *SHORT)
SHARES = (0.3, 0.25, 0.05, 0.15, 0.1, 0.15)


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
    clients: bool


@dataclasses.dataclass(frozen=True)
class Made:
    """A file and what it has to agree with."""

    content: bytes
    proof: Proof
    graph: object


def draw(seed: int, number: int, clients: float) -> Case:
    """Case `number` of a seed."""
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
        # What it drops while the batch norms settle would differ from run to run.
        dropout=0.0,
        aspp_rates={"v1": rates[:1] or (12,), "v2": rates or (6, 12)}.get(head, rates),
        aspp_separable=bool(rng.random() < 0.5),
        aspp_channels=int(rng.choice([8, 24])),
        image_pooling=bool(rng.random() < 0.7),
        decoder_channels=16,
        low_level_channels=8,
        decoder_separable=bool(rng.random() < 0.5),
        classes=int(rng.choice([2, 3, 21, 150, 256])),
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


def settle(model: keras.Model, seed: int, pictures: list[np.ndarray]) -> None:
    """Random kernels that keep the scale of the activations; batch norms with the statistics of `pictures`."""
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
    model(np.stack([np.resize(p, (height, width, 3)) for p in pictures]).astype(np.float32), training=True)
    for layer in norms:
        # The mean over a picture has no spread; what does not vary on these pictures may on others.
        layer.moving_variance.assign(keras.ops.maximum(layer.moving_variance, 0.05))


def eager_reference(model: keras.Model, pictures: list[np.ndarray]) -> Reference:
    """What the model gives, without the seconds that tracing it takes."""
    fitted = tuple(fit_image(p, model.input_shape[1:3], gray=128).image.astype(np.uint8) for p in pictures)
    return Reference(fitted, tuple(np.asarray(model(p[None].astype(np.float32), training=False))[0] for p in fitted))


def make(case: Case) -> Made:
    """The file of a case; raises UserError where it is refused."""
    keras.utils.clear_session()
    check_mask_stride(case.size, case.mask_stride)
    if case.output == "labels" and case.quantization in NO_LABELS:
        raise UserError("output", "labels cannot be had with int16x8", "use int8")
    model = build_model(case.network, case.output_stride, case.size)
    labels = tuple(f"class {i}" for i in range(case.network.classes))
    scenes = shapes_source("fuzz", max(32, min(case.size)), case.seed)
    pictures = [e.image for e in scenes.examples(4)]
    settle(model, case.seed, pictures)
    reference = eager_reference(model, pictures[:2])
    logit_offset = needed_logit_offset(reference.logits, case.mask_stride) if case.output == "logits" else 0.0
    images = choose_calibration(scenes, 4, case.size, case.seed).images
    graph = export_graph(model, case.output, case.mask_stride, logit_offset)
    content = convert(graph, case.size, case.quantization, images)
    content = write_metadata(content, labels, activation=activation_for(case.output))
    side = (feature_size(case.size[0], case.mask_stride), feature_size(case.size[1], case.mask_stride))
    ends = io_type(case.quantization, None)
    expected = Expected(case.size, side, labels, case.output, case.quantization, ends, ends)
    return Made(content, Proof(expected, reference, logit_offset, 1.5), graph)


def failures(content: bytes, proof: Proof, clients: bool) -> list[str]:
    """The checks that a file does not pass."""
    checks = verify(content, proof, proof.reference.pictures if clients else (), 1)
    return [str(c) for c in checks if c.state == "failed"]


def run_case(case: Case) -> str:
    """Gives "passed", "refused in words", or the checks that failed."""
    try:
        made = make(case)
    except UserError:
        return REFUSED
    proof = dataclasses.replace(made.proof, tolerance=TOLERANCE.get(case.quantization, 4.0))
    return "; ".join(failures(made.content, proof, case.clients)) or "passed"


def run_damages(count: int, seed: int) -> Counter[str]:
    """Damages good files in turns of all kinds; says what the checks found."""
    found: Counter[str] = Counter()
    number, made, names = 10_000, None, list(DAMAGES)
    rng = np.random.default_rng(seed)
    turn = 0
    while found.total() < count:
        turn += 1
        while made is None or turn % 5 == 0:
            case, number = draw(seed, number, 0), number + 1
            try:
                made = make(case)
            except UserError:
                continue
            if not failures(made.content, made.proof, False) and case.output != "labels":
                break
            made = None
        name = names[turn % len(names)]
        damaged = DAMAGES[name](made.content, made.proof.expected, rng)
        if damaged is None:
            continue  # A float file has no scale at its input, say.
        checks = failures(damaged, made.proof, False)
        found["refused" if checks else "ACCEPTED"] += 1
        print(f"  {name:28} {checks[0] if checks else f'ACCEPTED, {case}'}", flush=True)
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cases", type=int, default=200)
    parser.add_argument("--damages", type=int, default=50)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--clients", type=float, default=0.2, help="share of the cases that the clients open")
    parser.add_argument("--first", type=int, default=0, help="number of the first case")
    parser.add_argument("--only", type=int, help="number of a single case")
    chosen = parser.parse_args()
    BACKBONES.update(SHORT)
    found: Counter[str] = Counter()
    for number in range(chosen.first, chosen.cases) if chosen.only is None else [chosen.only]:
        case, start = draw(chosen.seed, number, chosen.clients), time.process_time()
        try:
            result = run_case(case)
        except Exception:
            result = traceback.format_exc(limit=-3)
        kind = result if result in ("passed", REFUSED) else "FAILED"
        found[kind] += 1
        print(f"{number:4d} {time.process_time() - start:5.1f} CPU s  {result}", flush=True)
        if kind == "FAILED":
            print(f"     {case}", flush=True)
    print("cases:", dict(found), flush=True)
    if chosen.only is None:
        print("damages:", dict(run_damages(chosen.damages, chosen.seed)))
    print(f"peak {resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20:.1f} GiB")


if __name__ == "__main__":
    main()
