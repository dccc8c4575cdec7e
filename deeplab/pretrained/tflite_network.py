"""DeepLab models out of .tflite files: the official ones, or our own."""

from dataclasses import dataclass, replace

import keras
import numpy as np

from deeplab.config import ImageSize, ModelConfig
from deeplab.errors import UserError
from deeplab.model.backbones.features import scaled
from deeplab.model.backbones.mobilenet_v2 import BLOCKS, STEM_CHANNELS
from deeplab.model.build import build_model
from deeplab.model.quantization.layers import PIXEL_RANGE, FoldedConvolution
from deeplab.model.quantization.plan import make_plan
from deeplab.model.quantization.rounding import KERNEL_STEPS, kernel_steps
from deeplab.model.quantization.transform import quantize_aware
from deeplab.pretrained.folding import absorb_input, affine_norm
from deeplab.pretrained.import_report import Found, fill
from deeplab.pretrained.tflite_layers import Convolution, Layers, OtherNetworkError, walk
from deeplab.tflite.flatbuffer import Tensor, TfliteGraph
from deeplab.tflite.interpreter import accepts_raw_pixels
from deeplab.tflite.metadata import Metadata
from deeplab.tflite.tflite_file import TfliteSource, open_tflite

PASCAL = (
    "background", "aeroplane", "bicycle", "bird", "boat", "bottle", "bus", "car", "cat", "chair", "cow",
    "dining table", "dog", "horse", "motorbike", "person", "potted plant", "sheep", "sofa", "train", "tv",
)  # fmt: skip
"""The label map of the official models."""
PUBLISHED_MULTIPLIERS = (1.0, 0.5, 0.25, 0.35, 0.75, 1.3, 1.4)


@dataclass(frozen=True, eq=False)
class TfliteNetwork:
    """A DeepLab network as a .tflite file holds it.

    Attributes:
        name: of the file.
        config: what our network needs to be to take its weights.
        convolutions: by the name of our layer.
        input_scale: `[3]`, and
        input_offset: `[3]`: the network wants input_scale * x + input_offset of our x = pixel * 2 / 255 - 1.
        labels: names of the classes, where the file tells them.
        image_size: (height, width) of its input.
        output_stride: of the file; the weights fit any.
        ranges: of a file that is quantized throughout, the lowest and the highest value that each tensor between its
            operators can have, by the name of our layer that computes it (that of the convolution, where its batch
            norm and activation are one with it). None for any other file.
    """

    name: str
    config: ModelConfig
    convolutions: dict[str, Convolution]
    input_scale: np.ndarray
    input_offset: np.ndarray
    labels: tuple[str, ...] | None
    image_size: tuple[int, int]
    output_stride: int
    ranges: dict[str, tuple[float, float]] | None

    @property
    def classes(self) -> tuple[str, ...]:
        """Class names by id. A file of 21 classes without names is an official one, with the classes of PASCAL VOC."""
        if self.labels is not None and len(self.labels) == self.config.classes:
            return self.labels
        return PASCAL if self.config.classes == len(PASCAL) else tuple(f"class {i}" for i in range(self.config.classes))


def read_network(source: TfliteSource | TfliteNetwork) -> TfliteNetwork:
    """Reads the network in a .tflite file, quantized weights as real numbers.

    Args:
        source: path of the file, or its bytes.

    Raises:
        UserError: no .tflite file, damaged, or another network than MobileNetV2 with the head "v3" or "v3plus".
    """
    if isinstance(source, TfliteNetwork):
        return source
    file = open_tflite(source)
    name, graph, metadata = file.name, file.graph, file.metadata
    try:
        image = _image(graph)
        layers = walk(graph)
        config = _config(layers)
    except OtherNetworkError as e:
        raise UserError(
            name, f"no MobileNetV2 DeepLab: {e}", "weights are taken from MobileNetV2 models with head v3 or v3plus"
        ) from e
    scale, offset = _input_map(image, metadata)
    labels = metadata.labels if metadata else None
    size = (image.shape[1], image.shape[2])
    ranges = _ranges(graph, layers)
    return TfliteNetwork(name, config, layers.convolutions, scale, offset, labels, size, layers.output_stride, ranges)


def load_tflite(
    source: TfliteSource | TfliteNetwork, output_stride: int = 8, image_size: ImageSize = None
) -> keras.Model:
    """A float Keras model with the weights of a .tflite file, at any output stride and size.

    Args:
        source: path of the file, or its bytes.
        output_stride: 8, 16 or 32, whatever the file itself has.
        image_size: as for `build_model`.

    Raises:
        UserError: as `read_network`, and as `build_model`.
    """
    network = read_network(source)
    model = build_model(network.config, output_stride, image_size)
    fill(model, tflite_weights(network, model))
    return model


def load_quantized(
    source: TfliteSource | TfliteNetwork, output_stride: int = 8, image_size: ImageSize = None
) -> keras.Model:
    """A quantization-aware Keras model with the weights of a quantized .tflite file, and on its very grids.

    The ranges of all tensors are those of the file. Kernels keep its steps wherever they fit: int8 files have no zero
    point there, so a channel whose largest value is more than 127 steps from zero is rounded anew.

    Args:
        source: path of the file, or its bytes.
        output_stride: as for `load_tflite`.
        image_size: as for `build_model`.

    Raises:
        UserError: as `load_tflite`; or the file is not quantized throughout.
    """
    network = read_network(source)
    ranges = network.ranges
    if ranges is None:
        raise UserError(network.name, "is not quantized throughout", "load it as a float network")
    # The simulated input is half a gray level brighter than the float one.
    network = replace(network, input_offset=network.input_offset - network.input_scale * _BRIGHTER)
    plain = build_model(network.config, output_stride, image_size)
    fill(plain, tflite_weights(network, plain))
    plan = make_plan(plain)
    model = quantize_aware(plain)
    for layer in model.layers:
        if isinstance(layer, FoldedConvolution):
            layer.steps = _kept_steps(network, layer.name)
    computed_by = {last: first for first, last in plan.last.items()}
    for group, sources in plan.sources.items():
        found = [ranges[computed_by[name]] for name in sources]
        held = model.get_layer(f"{group}_range")
        held.low.assign([low for low, _ in found])
        held.high.assign([high for _, high in found])
    return model


_BRIGHTER = PIXEL_RANGE[1] - 1.0
"""What the input of our int8 files has more than that of the float network, in units of the latter."""


def _kept_steps(network: TfliteNetwork, name: str) -> np.ndarray:
    """The steps `[c]` of a convolution's kernel in the file, or those that its largest values need where these fail."""
    convolution = network.convolutions[name]
    depthwise = convolution.kernel.shape[2] == convolution.bias.size and convolution.kernel.shape[3] == 1
    kernel = convolution.kernel.transpose(0, 1, 3, 2) if depthwise else convolution.kernel
    largest = np.abs(kernel).max((0, 1, 2))
    fits = np.round(largest / convolution.scale) <= KERNEL_STEPS
    steps = np.where(fits, convolution.scale, keras.ops.convert_to_numpy(kernel_steps(kernel)))
    return np.asarray(steps * (network.input_scale[0] if name == "backbone_stem" else 1.0), np.float32)


def _ranges(graph: TfliteGraph, layers: Layers) -> dict[str, tuple[float, float]] | None:
    """The ranges of `TfliteNetwork`."""
    computed = {**{name: c.output for name, c in layers.convolutions.items()}, **layers.merges}
    tensors = {name: graph.tensors[number] for name, number in computed.items()}
    if not all(c.scale.all() for c in layers.convolutions.values()):
        return None
    if not all(t.quantization and t.dtype in _RANGES for t in tensors.values()):
        return None
    found = {}
    for name, tensor in tensors.items():
        low, high = _RANGES[tensor.dtype]
        assert tensor.quantization is not None
        scale, zero = tensor.quantization.scale[0], tensor.quantization.zero_point[0]
        found[name] = ((low - zero) * scale, (high - zero) * scale)
    return found


_RANGES = {"uint8": (0, 255), "int8": (-128, 127)}


def tflite_weights(network: TfliteNetwork, model: keras.Model) -> Found:
    """The network's weights under the names of our layers, with batch norms as in `model`."""
    epsilons = {x.name: x.epsilon for x in model.layers if isinstance(x, keras.layers.BatchNormalization)}
    weights: dict[str, tuple[np.ndarray, ...]] = {}
    for name, convolution in network.convolutions.items():
        kernel, bias = convolution.kernel, convolution.bias
        if name == "backbone_stem":
            kernel, bias = absorb_input(kernel, bias, network.input_scale, network.input_offset)
        if name == "logits":
            weights[name] = (kernel, bias)
        else:
            weights[name] = (kernel,)
            # A layer the model lacks is reported by its convolution; its epsilon does not matter then.
            weights[f"{name}_bn"] = affine_norm(bias, epsilons.get(f"{name}_bn", 1e-3))
    identity = np.allclose(network.input_scale, 1) and np.allclose(network.input_offset, 0)
    scale, offset = (np.unique(v) for v in (network.input_scale, network.input_offset))
    note = f"input: {_listed(scale)} * x {_listed(offset, '+')} went into the first convolution"
    return Found(network.name, weights, notes=() if identity else (note,), folded=True)


def _listed(values: np.ndarray, sign: str = "-") -> str:
    return ", ".join(f"{value:{sign}.5g}" for value in values)


def _image(graph: TfliteGraph) -> Tensor:
    """The one input, a color image."""
    if len(graph.inputs) != 1 or len(graph.tensors[graph.inputs[0]].shape) != 4:
        raise OtherNetworkError("its input is no picture")
    image = graph.tensors[graph.inputs[0]]
    if image.shape[-1] != 3:
        raise OtherNetworkError(f"its pictures have {image.shape[-1]} channels, not 3")
    return image


def _input_map(image: Tensor, metadata: Metadata | None) -> tuple[np.ndarray, np.ndarray]:
    """(scale, offset), `[3]` each: what the network sees of our x = pixel / 127.5 - 1."""
    if accepts_raw_pixels(image) and image.quantization is not None:
        zero_point = image.quantization.zero_point[0] + (128 if image.dtype == "int8" else 0)
        mean, std = np.full(3, zero_point, np.float64), np.full(3, 1 / image.quantization.scale[0], np.float64)
    else:
        known = metadata is not None and metadata.mean is not None and metadata.std is not None
        mean = np.broadcast_to(np.array(metadata.mean if known and metadata else 127.5, np.float64), 3)
        std = np.broadcast_to(np.array(metadata.std if known and metadata else 127.5, np.float64), 3)
    return 127.5 / std, (127.5 - mean) / std


def _config(layers: Layers) -> ModelConfig:
    """The configuration that gives layers of these shapes."""
    found = layers.convolutions
    channels = {name: convolution.bias.size for name, convolution in found.items()}
    multiplier, rounded = _width(
        [channels["backbone_stem"], *(channels[f"backbone_block{n}_project"] for n in range(17))]
    )
    decoder = "decoder_low_level" in found
    return ModelConfig(
        depth_multiplier=multiplier,
        round_channels=rounded,
        head="v3plus" if decoder else "v3",
        aspp_rates=layers.aspp_rates,
        aspp_separable="aspp1" not in found,
        aspp_channels=channels["aspp0"],
        image_pooling="image_pooling" in found,
        low_level_channels=channels.get("decoder_low_level", ModelConfig.low_level_channels),
        decoder_channels=channels.get(
            "decoder_conv1_pointwise", channels.get("decoder_conv1", ModelConfig.decoder_channels)
        ),
        decoder_separable="decoder_conv1" not in found,
        classes=channels["logits"],
    )


def _width(widths: list[int]) -> tuple[float, bool]:
    """(depth multiplier, whether it rounds to 8) that gives the stem and the blocks these channels."""
    nominal = [STEM_CHANNELS, *(channels for _, channels, _ in BLOCKS)]
    measured = widths[-1] / nominal[-1]
    for rounded in (False, True):
        for multiplier in (*PUBLISHED_MULTIPLIERS, round(measured, 2), measured):
            config = ModelConfig(depth_multiplier=multiplier, round_channels=rounded)
            if [scaled(channels, config) for channels in nominal] == widths:
                return multiplier, rounded
    raise OtherNetworkError(f"no depth multiplier gives blocks of {widths} channels")
