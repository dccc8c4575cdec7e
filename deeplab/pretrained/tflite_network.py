"""DeepLab models from .tflite files: the official ones and our own."""

from dataclasses import dataclass, replace

import keras
import numpy as np

from deeplab.config import ImageSize, ModelConfig
from deeplab.errors import UserError
from deeplab.model.backbones.features import scaled
from deeplab.model.backbones.mobilenet_v2 import BLOCKS, STEM_CHANNELS
from deeplab.model.build import DeepLab, build_model
from deeplab.model.quantization.layers import PIXEL_RANGE, FoldedConvolution
from deeplab.model.quantization.plan import make_plan
from deeplab.model.quantization.rounding import KERNEL_LIMIT, kernel_scales
from deeplab.model.quantization.transform import quantize_aware
from deeplab.pixels import PIXEL_MEAN, PIXEL_STD
from deeplab.pretrained.assignment import SourceWeights, assign_weights
from deeplab.pretrained.kernel_limits import fit_kernels
from deeplab.pretrained.tflite_layers import TfliteConvolution, TfliteLayers, UnsupportedNetworkError, match_layers
from deeplab.tflite.flatbuffer import Tensor, TfliteGraph
from deeplab.tflite.interpreter import accepts_raw_pixels
from deeplab.tflite.metadata import Metadata
from deeplab.tflite.tflite_file import TfliteSource, open_tflite

PASCAL = (
    "background", "aeroplane", "bicycle", "bird", "boat", "bottle", "bus", "car", "cat", "chair", "cow",
    "dining table", "dog", "horse", "motorbike", "person", "potted plant", "sheep", "sofa", "train", "tv",
)  # fmt: skip
"""The label map of the official models."""


@dataclass(frozen=True, eq=False)
class TfliteNetwork:
    """The DeepLab network in a .tflite file.

    Attributes:
        name: the file, for messages.
        config: the architecture that takes the weights.
        convolutions: by layer name.
        input_scale: `[3]`; see `input_offset`.
        input_offset: `[3]`. The network takes input_scale * x + input_offset, x being the pixels in -1..1.
        labels: class names, if the metadata contain them.
        image_size: (height, width) of the input.
        output_stride: output stride of the file; the weights fit any other.
        ranges: minimum and maximum that each activation tensor can represent, by the name of our layer that computes
            it (the convolution, if batch norm and activation are fused with it). None unless all are 8-bit.
    """

    name: str
    config: ModelConfig
    convolutions: dict[str, TfliteConvolution]
    input_scale: np.ndarray
    input_offset: np.ndarray
    labels: tuple[str, ...] | None
    image_size: tuple[int, int]
    output_stride: int
    ranges: dict[str, tuple[float, float]] | None

    @property
    def classes(self) -> tuple[str, ...]:
        """Class names by id. A file with 21 classes and no names is official and has the classes of PASCAL VOC."""
        count = self.config.classes
        if self.labels is not None and len(self.labels) == count:
            return self.labels
        return PASCAL if count == len(PASCAL) else tuple(f"class {i}" for i in range(count))


def read_network(source: TfliteSource | TfliteNetwork) -> TfliteNetwork:
    """Read the network in a .tflite file, with quantized weights as float32.

    Args:
        source: path, bytes or opened file. A network that was read already is returned as it is.

    Raises:
        UserError: the file is missing, damaged, or another network than MobileNetV2 with head "v3" or "v3plus".
    """
    if isinstance(source, TfliteNetwork):
        return source
    file = open_tflite(source)
    try:
        image = _input_image(file.graph)
        layers = match_layers(file.graph)
        config = _model_config(layers)
    except UnsupportedNetworkError as error:
        problem = f"is not a MobileNetV2 DeepLab: {error}"
        raise UserError(file.name, problem, "only MobileNetV2 with head v3 or v3plus can be imported") from error
    scale, offset = _input_normalization(image, file.metadata)
    return TfliteNetwork(
        name=file.name,
        config=config,
        convolutions=layers.convolutions,
        input_scale=scale,
        input_offset=offset,
        labels=file.metadata.labels if file.metadata else None,
        image_size=(image.shape[1], image.shape[2]),
        output_stride=layers.output_stride,
        ranges=_activation_ranges(file.graph, layers),
    )


def load_tflite(source: TfliteSource | TfliteNetwork, output_stride: int = 8, image_size: ImageSize = None) -> DeepLab:
    """Build a float model with the weights of a .tflite file, at any output stride and image size.

    Args:
        source: as for `read_network`.
        output_stride: 4, 8, 16 or 32, independent of the file.
        image_size: as for `build_model`.

    Raises:
        UserError: as `read_network` and `build_model`.
    """
    network = read_network(source)
    model = build_model(network.config, output_stride, image_size)
    assign_weights(model, source_weights(network, model))
    return model


def load_quantized(
    source: TfliteSource | TfliteNetwork,
    output_stride: int = 8,
    image_size: ImageSize = None,
    *,
    per_tensor: bool = False,
) -> DeepLab:
    """Build a quantization-aware model with the weights, activation ranges and kernel scales of a quantized file.

    A channel keeps its kernel scale if its largest value is at most 127 times the scale. The kernels of int8 files have
    no zero point, so other channels, which uint8 files can have, get a larger scale.

    Args:
        source: as for `load_tflite`.
        output_stride: as for `load_tflite`.
        image_size: as for `load_tflite`.
        per_tensor: whether each kernel has a single scale: that of the file, with its largest values changed by
            `fit_kernels`, or a new one if the file has a scale per channel.

    Raises:
        UserError: as `load_tflite`; or the file is not fully quantized.
    """
    network = read_network(source)
    ranges = network.ranges
    if ranges is None:
        raise UserError(network.name, "is not fully quantized", "load it as a float network")
    # The simulated input is brighter than the float one by half a gray level.
    shift = network.input_scale * (PIXEL_RANGE[1] - 1.0)
    network = replace(network, input_offset=network.input_offset - shift)
    float_model = load_tflite(network, output_stride, image_size)
    scales = {name: _kernel_scales(network, name, per_tensor) for name in network.convolutions}
    if per_tensor:
        fit_kernels(float_model, {name: float(values[0]) for name, values in scales.items()})
    plan = make_plan(float_model)
    model = quantize_aware(float_model, per_tensor)
    for layer in model.layers:
        if isinstance(layer, FoldedConvolution):
            layer.imported_scales = scales[layer.name]
    first_layers = {last: first for first, last in plan.last.items()}
    for group, sources in plan.sources.items():
        low, high = zip(*(ranges[first_layers[name]] for name in sources), strict=True)
        layer = model.get_layer(f"{group}_range")
        layer.low.assign(low)
        layer.high.assign(high)
    return model


def source_weights(network: TfliteNetwork, model: keras.Model) -> SourceWeights:
    """Return the weights of a network under our layer names, with the batch-norm epsilons of `model`."""
    epsilons = {x.name: x.epsilon for x in model.layers if isinstance(x, keras.layers.BatchNormalization)}
    weights: dict[str, tuple[np.ndarray, ...]] = {}
    for name, convolution in network.convolutions.items():
        kernel, bias = convolution.kernel, convolution.bias
        if name == "backbone_stem":
            kernel, bias = fold_input_normalization(kernel, bias, network.input_scale, network.input_offset)
        if name == "logits":
            weights[name] = (kernel, bias)
        else:
            weights[name] = (kernel,)
            # The default serves layers that the model does not have; they are reported as unused.
            weights[f"{name}_bn"] = bias_only_batch_norm(bias, epsilons.get(f"{name}_bn", 1e-3))
    notes: tuple[str, ...] = ()
    if not (np.allclose(network.input_scale, 1) and np.allclose(network.input_offset, 0)):
        scale = ", ".join(f"{value:.5g}" for value in np.unique(network.input_scale))
        offset = ", ".join(f"{value:+.5g}" for value in np.unique(network.input_offset))
        notes = (f"input normalization {scale} * x {offset} was folded into the first convolution",)
    return SourceWeights(network.name, weights, notes=notes, folded=True)


def bias_only_batch_norm(bias: np.ndarray, epsilon: float) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Return the weights of a batch norm that only adds `bias` `[c]` in inference, each `[c]` float32."""
    ones = np.ones_like(bias, np.float32)
    # The divisor is the root of variance plus epsilon: 1.
    return ones, bias.astype(np.float32), 0 * ones, (ones - np.float32(epsilon)).astype(np.float32)


def fold_input_normalization(
    kernel: np.ndarray, bias: np.ndarray, scale: np.ndarray, offset: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Fold the normalization `scale * x + offset` into the convolution that follows it.

    The kernel is `[h, w, 3, c]`, the bias `[c]`, scale and offset are `[3]`, per color. Kernel and bias of the result,
    float32, are those of a convolution on `x`. It is exact where the kernel lies within the image. At the border the
    convolution pads `x` with zeros instead of the normalized image; for the official uint8 files the difference is half
    a gray level.
    """
    kernel = kernel.astype(np.float64)
    shift = np.tensordot(kernel, np.asarray(offset, np.float64), axes=([2], [0])).sum(axis=(0, 1))
    scaled = kernel * np.asarray(scale, np.float64)[:, None]
    return scaled.astype(np.float32), (bias + shift).astype(np.float32)


def _kernel_scales(network: TfliteNetwork, name: str, per_tensor: bool) -> np.ndarray:
    """Return the scales `[c]` of a kernel: those of the file, or larger ones for channels that exceed 127 steps."""
    convolution = network.convolutions[name]
    depthwise = convolution.kernel.shape[2] == convolution.bias.size and convolution.kernel.shape[3] == 1
    kernel = convolution.kernel.transpose(0, 1, 3, 2) if depthwise else convolution.kernel
    computed = keras.ops.convert_to_numpy(kernel_scales(kernel, per_tensor))
    if per_tensor:
        scales = convolution.scale if np.unique(convolution.scale).size == 1 else computed
    else:
        fits = np.round(np.abs(kernel).max((0, 1, 2)) / convolution.scale) <= KERNEL_LIMIT
        scales = np.where(fits, convolution.scale, computed)
    return np.asarray(scales * (network.input_scale[0] if name == "backbone_stem" else 1.0), np.float32)


def _activation_ranges(graph: TfliteGraph, layers: TfliteLayers) -> dict[str, tuple[float, float]] | None:
    """Return `TfliteNetwork.ranges`."""
    if not all(convolution.scale.all() for convolution in layers.convolutions.values()):
        return None
    ranges = {}
    outputs = {name: convolution.output for name, convolution in layers.convolutions.items()} | layers.merges
    for name, output in outputs.items():
        tensor = graph.tensors[output]
        if tensor.quantization is None or tensor.dtype not in ("uint8", "int8"):
            return None
        limits = np.iinfo(tensor.dtype)
        scale, zero_point = tensor.quantization.scale[0], tensor.quantization.zero_point[0]
        ranges[name] = ((limits.min - zero_point) * scale, (limits.max - zero_point) * scale)
    return ranges


def _input_image(graph: TfliteGraph) -> Tensor:
    """Return the only input; raise UnsupportedNetworkError unless it is a color image."""
    inputs = [graph.tensors[index] for index in graph.inputs]
    if len(inputs) != 1 or len(inputs[0].shape) != 4 or inputs[0].shape[-1] != 3:
        shapes = ", ".join(str(list(tensor.shape)) for tensor in inputs)
        raise UnsupportedNetworkError(f"expected one input image [b, h, w, 3], got {shapes or 'no input'}")
    return inputs[0]


def _input_normalization(image: Tensor, metadata: Metadata | None) -> tuple[np.ndarray, np.ndarray]:
    """Return `TfliteNetwork.input_scale` and `TfliteNetwork.input_offset`."""
    stated = metadata or Metadata()
    mean, std = stated.mean or (PIXEL_MEAN,), stated.std or (PIXEL_STD,)
    if accepts_raw_pixels(image) and image.quantization is not None:
        mean = (image.quantization.zero_point[0] + (128 if image.dtype == "int8" else 0),)
        std = (1 / image.quantization.scale[0],)
    means, stds = (np.broadcast_to(np.array(value, np.float64), 3) for value in (mean, std))
    return PIXEL_STD / stds, (PIXEL_MEAN - means) / stds


def _model_config(layers: TfliteLayers) -> ModelConfig:
    """Return the architecture with the shapes of these layers."""
    channels = {name: convolution.bias.size for name, convolution in layers.convolutions.items()}
    backbone = [channels["backbone_stem"], *(channels[f"backbone_block{n}_project"] for n in range(len(BLOCKS)))]
    depth_multiplier, round_channels = _depth_multiplier(backbone)
    decoder_channels = channels.get("decoder_conv1_pointwise", channels.get("decoder_conv1"))
    return ModelConfig(
        depth_multiplier=depth_multiplier,
        round_channels=round_channels,
        expanded_channels=_expanded_channels(channels, backbone),
        head="v3plus" if "decoder_low_level" in channels else "v3",
        aspp_rates=layers.aspp_rates,
        aspp_separable="aspp1" not in channels,
        aspp_channels=channels["aspp0"],
        image_pooling="image_pooling" in channels,
        low_level_channels=channels.get("decoder_low_level", ModelConfig.low_level_channels),
        decoder_channels=decoder_channels or ModelConfig.decoder_channels,
        decoder_separable="decoder_conv1" not in channels,
        classes=channels["logits"],
    )


def _expanded_channels(channels: dict[str, int], inputs: list[int]) -> tuple[int, ...] | None:
    """Return `ModelConfig.expanded_channels`; `inputs` are the input channels of the blocks."""
    expanded = {n: channels[f"backbone_block{n}_expand"] for n, (factor, _, _) in enumerate(BLOCKS) if factor > 1}
    nominal = tuple(BLOCKS[n][0] * inputs[n] for n in expanded)
    return None if tuple(expanded.values()) == nominal else tuple(expanded.values())


def _depth_multiplier(channels: list[int]) -> tuple[float, bool]:
    """Return `depth_multiplier` and `round_channels` for these channels of the stem and the blocks."""
    nominal = [STEM_CHANNELS, *(channels for _, channels, _ in BLOCKS)]
    ratio = channels[-1] / nominal[-1]
    published = (1.0, 0.5, 0.25, 0.35, 0.75, 1.3, 1.4)
    for round_channels in (False, True):
        for multiplier in (*published, round(ratio, 2), ratio):
            config = ModelConfig(depth_multiplier=multiplier, round_channels=round_channels)
            if [scaled(count, config) for count in nominal] == channels:
                return multiplier, round_channels
    raise UnsupportedNetworkError(f"no depth multiplier results in blocks of {channels} channels")
