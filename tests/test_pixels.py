"""The pixel that each backbone maps to zero."""

import pytest

from deeplab.pixels import mean_pixel

# keras.applications.imagenet_utils, mode "caffe", for red, green and blue.
CAFFE_MEAN = (123.68, 116.779, 103.939)


@pytest.mark.parametrize("backbone", ["resnet50", "resnet101", "vgg16"])
def test_networks_with_caffe_weights_have_the_mean_of_imagenet(backbone):
    assert mean_pixel(backbone) == CAFFE_MEAN


@pytest.mark.parametrize("backbone", ["mobilenet_v2", "mobilenet_v3_small", "resnet50_beta", "xception65"])
def test_networks_with_pixels_from_minus_1_to_1_have_the_middle(backbone):
    assert mean_pixel(backbone) == (127.5, 127.5, 127.5)
