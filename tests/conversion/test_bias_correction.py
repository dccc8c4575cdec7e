"""Bias correction against values computed by hand, on a small network."""

import keras
import numpy as np
import pytest
from ai_edge_litert import schema_py_generated as schema

from deeplab.conversion.bias_correction import with_corrected_biases
from deeplab.conversion.convert import _convert, convert
from deeplab.tflite.flatbuffer import read_graph, serialize
from deeplab.tflite.interpreter import TfliteModel


def network(depthwise: bool) -> keras.Model:
    """Two layers whose kernels int8 rounds; all inputs are positive, so that the errors add up."""
    rng = np.random.default_rng(0)
    image = keras.Input((9, 9, 3))
    kind = keras.layers.DepthwiseConv2D if depthwise else keras.layers.Conv2D
    first = kind(3, depth_multiplier=2) if depthwise else kind(6, 3)
    x = keras.layers.ReLU()(first(image))
    model = keras.Model(image, keras.layers.Conv2D(4, 1)(x))
    model.set_weights([rng.normal(0.3, 0.5, w.shape) for w in model.get_weights()])
    return model


def random_images(count: int) -> list[np.ndarray]:
    rng = np.random.default_rng(0)
    images = [rng.integers(130, 256, (9, 9, 3)).astype("float32") for _ in range(count)]
    images[0][0, 0], images[0][-1, -1] = 0, 255
    return images


def float_and_int8(model: keras.Model, images: list[np.ndarray]) -> tuple[bytes, bytes]:
    function = lambda x: model(x, training=False)  # noqa: E731
    return _convert(function, (9, 9), "float32"), _convert(function, (9, 9), "int8", tuple(images))


@pytest.mark.parametrize("depthwise", [False, True])
def test_each_bias_changes_by_the_mean_error_of_rounding(depthwise):
    model, images = network(depthwise), random_images(4)
    plain, rounded = float_and_int8(model, images)
    inputs = [image[None] * np.float32(2 / 255) - 1 for image in images]
    corrected = with_corrected_biases(rounded, plain, inputs)
    float_graph, before, after = read_graph(plain), read_graph(rounded), read_graph(corrected)
    hidden = keras.Model(model.input, model.layers[2].output)
    means = [np.mean(inputs, (0, 1, 2, 3)), np.mean([hidden(x) for x in inputs], (0, 1, 2, 3))]
    names = ("CONV_2D", "DEPTHWISE_CONV_2D")
    layers = [[op for op in graph.operators if op.name in names] for graph in (float_graph, before, after)]
    for (old, new, fixed), mean in zip(zip(*layers, strict=True), means, strict=True):
        change = before.tensors[new.inputs[1]].values() - float_graph.tensors[old.inputs[1]].values()
        if new.name == "CONV_2D":
            shift = np.einsum("ohwi,i->o", change.astype(np.float64), mean)
        else:
            shift = np.array([change[0, :, :, o].sum() * mean[o // 2] for o in range(6)])
        bias, new_bias = before.tensors[new.inputs[2]], after.tensors[fixed.inputs[2]]
        np.testing.assert_allclose(new_bias.values() - bias.values(), -shift, atol=1.01 * max(bias.quantization.scale))
        assert np.abs(shift).max() > 3 * max(bias.quantization.scale)
    unchanged = [t for t in before.tensors if t.data is not None and t.index not in {op.inputs[2] for op in layers[1]}]
    for tensor in unchanged:
        np.testing.assert_array_equal(tensor.data, after.tensors[tensor.index].data)


def test_bias_correction_reduces_the_mean_error_of_the_output():
    model, images = network(False), random_images(8)
    _, rounded = float_and_int8(model, images)
    function = lambda x: model(x, training=False)  # noqa: E731
    corrected = convert(function, (9, 9), "int8", images)
    assert convert(function, (9, 9), "int8", images, correct_biases=False) == rounded
    errors = []
    for content in (rounded, corrected):
        file = TfliteModel(content)
        differences = [
            np.asarray(file(image.astype(np.uint8)), np.float64) - model(image[None] * (2 / 255) - 1)[0]
            for image in images
        ]
        errors.append(np.abs(np.mean(differences, (0, 1, 2))).max())
    assert errors[1] < 0.8 * errors[0]


def test_biases_in_a_shared_buffer_are_corrected_separately():
    # Two layers with equal biases, which a file may store once.
    image = keras.Input((9, 9, 3))
    model = keras.Model(image, [keras.layers.Conv2D(4, 1)(image), keras.layers.Conv2D(4, 1)(image)])
    rng = np.random.default_rng(0)
    for layer in model.layers[1:]:
        layer.set_weights([rng.normal(0.3, 0.5, (1, 1, 3, 4)), np.zeros(4)])
    images = random_images(4)
    plain, rounded = float_and_int8(model, images)
    packed = schema.ModelT.InitFromPackedBuf(rounded, 0)
    tensors = packed.subgraphs[0].tensors
    biases = [op.inputs[2] for op in read_graph(rounded).operators if op.name == "CONV_2D"]
    shared = tensors[biases[0]].buffer
    tensors[biases[1]].buffer = shared
    together = serialize(packed)
    inputs = [image[None] * np.float32(2 / 255) - 1 for image in images]
    corrected = with_corrected_biases(together, plain, inputs)
    tensors = schema.ModelT.InitFromPackedBuf(corrected, 0).subgraphs[0].tensors
    assert tensors[biases[0]].buffer != tensors[biases[1]].buffer
    # Each layer gets the correction for its kernel, as in the file with separate bias buffers.
    separate = read_graph(with_corrected_biases(rounded, plain, inputs))
    values = [[graph.tensors[i].data for i in biases] for graph in (read_graph(corrected), separate)]
    np.testing.assert_array_equal(values[0], values[1])
    float_graph, before = read_graph(plain), read_graph(together)
    kernels = [[op.inputs[1] for op in g.operators if op.name == "CONV_2D"] for g in (float_graph, before)]
    mean = np.mean(inputs, (0, 1, 2, 3))
    for old, new, bias, stored in zip(*kernels, biases, values[0], strict=True):
        change = before.tensors[new].values() - float_graph.tensors[old].values()
        shift = change[:, 0, 0].astype(np.float64) @ mean
        np.testing.assert_allclose(stored, -shift / before.tensors[bias].quantization.scale, atol=0.51)
        assert np.abs(stored).max() > 3


def test_files_of_different_networks_are_rejected():
    images = random_images(2)
    with pytest.raises(ValueError, match="convolutions"):
        with_corrected_biases(float_and_int8(network(False), images)[1], float_and_int8(network(True), images)[0], [])
