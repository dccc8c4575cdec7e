"""The export function against the Keras model and NumPy."""

import keras
import numpy as np
import pytest

from deeplab.config import ModelConfig
from deeplab.conversion.export_graph import check_mask_stride, export_graph
from deeplab.errors import UserError
from deeplab.model.build import build_model
from tests.conversion.conftest import TINY
from tests.networks import random_image, randomize


@pytest.fixture(scope="module", params=[65, (64, 90)])
def model(request):
    return randomize(build_model(TINY, 16, request.param), seed=2)


def _normalized(image):
    return image / 127.5 - 1


def test_logits_equal_those_of_the_model(model):
    image = random_image(*model.input_shape[1:3])
    np.testing.assert_allclose(export_graph(model)(_normalized(image)), model(image, training=False), atol=1e-4)


def test_a_logit_offset_is_added_to_all_logits(model):
    image = random_image(*model.input_shape[1:3])
    logits = export_graph(model, logit_offset=2.5)(_normalized(image))
    np.testing.assert_allclose(logits, model(image, training=False) + 2.5, atol=1e-4)


def test_probabilities_are_the_softmax_and_labels_the_argmax_of_the_logits(model):
    image = random_image(*model.input_shape[1:3])
    logits = np.asarray(model(image, training=False))
    e = np.exp(logits - logits.max(-1, keepdims=True))
    probabilities = export_graph(model, "probabilities")(_normalized(image))
    np.testing.assert_allclose(probabilities, e / e.sum(-1, keepdims=True), atol=1e-4)
    ids = np.asarray(export_graph(model, "labels")(_normalized(image)))
    assert ids.dtype == np.int32
    assert ids.shape == logits.shape[:3]
    assert (ids == logits.argmax(-1)).mean() > 0.999


@pytest.mark.parametrize("mask_stride", [4, 16])
@pytest.mark.parametrize("head", ["v3", "v3plus"])
def test_mask_pixels_lie_on_every_nth_image_pixel(mask_stride, head):
    # 81 = 5 * 16 + 1 is not of the form 32k+1, so the mask is also cropped.
    network = ModelConfig(depth_multiplier=0.25, head=head, aspp_rates=(), aspp_channels=16, decoder_channels=16)
    model = randomize(build_model(network, 16, (81, 97)), seed=2)
    image = random_image(81, 97)
    full = np.asarray(model(image, training=False))
    coarse = np.asarray(export_graph(model, mask_stride=mask_stride)(_normalized(image)))
    np.testing.assert_allclose(coarse, full[:, ::mask_stride, ::mask_stride], atol=1e-4)


def test_a_mask_whose_corners_do_not_lie_on_the_corners_of_the_image_is_rejected():
    with pytest.raises(UserError, match=r"mask_stride: 4 does not fit an image side of 512 pixels; .*509 or 513"):
        check_mask_stride((513, 512), 4)
    with pytest.raises(UserError, match="mask_stride: 3 is not supported"):
        check_mask_stride((513, 513), 3)
    check_mask_stride((513, 509), 4)


def test_a_model_of_any_image_size_is_rejected():
    with pytest.raises(UserError, match="image_size: the model accepts any size"):
        export_graph(build_model(TINY, 16))


def test_the_export_function_does_not_update_batch_norm_statistics(model):
    image = random_image(*model.input_shape[1:3])
    before = [np.asarray(w) for w in model.non_trainable_weights]
    export_graph(model)(_normalized(image))
    for old, new in zip(before, model.non_trainable_weights, strict=True):
        np.testing.assert_array_equal(old, keras.ops.convert_to_numpy(new))
