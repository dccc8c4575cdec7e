"""On a network small enough to work the correction out by hand."""

import keras
import numpy as np
import pytest

from deeplab.conversion.bias_correction import with_corrected_biases
from deeplab.conversion.convert import _converted, convert
from deeplab.tflite.flatbuffer import read_graph
from deeplab.tflite.interpreter import TfliteModel


def network(depthwise: bool) -> keras.Model:
    """Two layers whose kernels do not fit a grid of 127 steps; the inputs are all positive, so that errors add up."""
    rng = np.random.default_rng(0)
    image = keras.Input((9, 9, 3))
    kind = keras.layers.DepthwiseConv2D if depthwise else keras.layers.Conv2D
    first = kind(3, depth_multiplier=2) if depthwise else kind(6, 3)
    x = keras.layers.ReLU()(first(image))
    model = keras.Model(image, keras.layers.Conv2D(4, 1)(x))
    model.set_weights([rng.normal(0.3, 0.5, w.shape) for w in model.get_weights()])
    return model


def pictures(count: int, seed: int = 0) -> list[np.ndarray]:
    rng = np.random.default_rng(seed)
    found = [rng.integers(130, 256, (9, 9, 3)).astype("float32") for _ in range(count)]
    found[0][0, 0], found[0][-1, -1] = 0, 255
    return found


def files(model: keras.Model, images: list[np.ndarray]) -> tuple[bytes, bytes]:
    graph = lambda x: model(x, training=False)  # noqa: E731
    return _converted(graph, (9, 9), "float32"), _converted(graph, (9, 9), "int8", tuple(images))


@pytest.mark.parametrize("depthwise", [False, True])
def test_each_bias_moves_by_the_mean_of_what_rounding_adds(depthwise):
    model, images = network(depthwise), pictures(4)
    plain, rounded = files(model, images)
    inputs = [image[None] * np.float32(2 / 255) - 1 for image in images]
    corrected = with_corrected_biases(rounded, plain, inputs)
    float_graph, before, after = read_graph(plain), read_graph(rounded), read_graph(corrected)
    hidden = keras.Model(model.input, model.layers[2].output)
    means = [np.mean(inputs, (0, 1, 2, 3)), np.mean([hidden(x) for x in inputs], (0, 1, 2, 3))]
    kinds = ("CONV_2D", "DEPTHWISE_CONV_2D")
    layers = [[op for op in graph.operators if op.name in kinds] for graph in (float_graph, before, after)]
    for (old, new, fixed), mean in zip(zip(*layers, strict=True), means, strict=True):
        change = before.tensors[new.inputs[1]].values() - float_graph.tensors[old.inputs[1]].values()
        if new.name == "CONV_2D":
            shift = np.einsum("ohwi,i->o", change.astype(np.float64), mean)
        else:
            shift = np.array([change[0, :, :, o].sum() * mean[o // 2] for o in range(6)])
        bias, moved = before.tensors[new.inputs[2]], after.tensors[fixed.inputs[2]]
        np.testing.assert_allclose(moved.values() - bias.values(), -shift, atol=1.01 * max(bias.quantization.scale))
        assert np.abs(shift).max() > 3 * max(bias.quantization.scale)
    same = [t for t in before.tensors if t.data is not None and t.index not in {op.inputs[2] for op in layers[1]}]
    for tensor in same:
        np.testing.assert_array_equal(tensor.data, after.tensors[tensor.index].data)


def test_a_converted_file_is_nearer_to_the_network_in_the_mean():
    model, images = network(False), pictures(8)
    _, rounded = files(model, images)
    graph = lambda x: model(x, training=False)  # noqa: E731
    corrected = convert(graph, (9, 9), "int8", images)
    assert convert(graph, (9, 9), "int8", images, correct_biases=False) == rounded
    errors = []
    for content in (rounded, corrected):
        run = TfliteModel(content)
        found = [
            np.asarray(run(image.astype(np.uint8)), np.float64) - model(image[None] * (2 / 255) - 1)[0]
            for image in images
        ]
        errors.append(np.abs(np.mean(found, (0, 1, 2))).max())
    assert errors[1] < 0.8 * errors[0]


def test_files_of_different_networks_are_told_apart():
    images = pictures(2)
    with pytest.raises(ValueError, match="convolutions"):
        with_corrected_biases(files(network(False), images)[1], files(network(True), images)[0], [])
