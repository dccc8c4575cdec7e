"""Removing expanded channels, compared with setting them to their means."""

import keras
import numpy as np
import pytest

from deeplab.config import ModelConfig
from deeplab.errors import UserError
from deeplab.model.build import build_model
from deeplab.model.cost import cost
from deeplab.pruning.blocks import channel_costs, expanded_blocks, without_channels
from tests.networks import random_image, randomize

SMALL = ModelConfig(depth_multiplier=0.25, aspp_rates=(), aspp_channels=8, decoder_channels=8, classes=3, dropout=0.0)


@pytest.fixture(scope="module", params=["v3", "v3plus"])
def network(request) -> keras.Model:
    model = build_model(ModelConfig(**{**vars(SMALL), "head": request.param}), 16)
    randomize(model)
    return model


def means_of(network: keras.Model, image: np.ndarray) -> list[np.ndarray]:
    outputs = keras.Model(network.input, [block.output for block in expanded_blocks(network)])(image)
    return [np.asarray(x).mean(axis=(0, 1, 2)) for x in outputs]


def test_the_blocks_are_those_with_an_expansion(network):
    blocks = expanded_blocks(network)
    assert [block.name for block in blocks] == [f"backbone_block{n}" for n in range(1, 17)]
    # Depth 0.25: the stem has 8 channels; block 1 expands 4 channels to 24, block 16 expands 40 to 240.
    assert (blocks[0].channels, blocks[-1].channels) == (24, 240)
    decoder = ("decoder_low_level",) if network.config.head == "v3plus" else ()
    assert set(blocks[1].consumers) == {"backbone_block2_project", *decoder}


def test_all_channels_kept_is_the_same_function(network):
    blocks = expanded_blocks(network)
    kept = [np.arange(block.channels) for block in blocks]
    pruned = without_channels(network, kept, [np.zeros(block.channels) for block in blocks], 16)
    image = random_image(65, 65)
    np.testing.assert_array_equal(pruned(image), network(image))


def test_a_constant_channel_is_removed_without_a_change(network):
    """Each removed channel has the depthwise batch norm's gamma 0, so it equals its beta everywhere, its mean."""
    blocks, means = expanded_blocks(network), []
    for block in blocks:
        norm = network.get_layer(f"{block.name}_depthwise_bn")
        gamma, beta, mean, variance = norm.get_weights()
        gamma[::3], beta[::3] = 0, 0.7
        norm.set_weights([gamma, beta, mean, variance])
        means.append(np.full(block.channels, 0.7))
    kept = [np.flatnonzero(np.arange(block.channels) % 3) for block in blocks]
    pruned = without_channels(network, kept, means, 16)
    assert pruned.config.expanded_channels == tuple(len(indices) for indices in kept)
    image = random_image(65, 65)
    np.testing.assert_allclose(pruned(image), network(image), atol=2e-4)


def test_the_cost_of_a_channel_is_what_the_network_loses_without_it(network):
    fixed = build_model(network.config, 16, 65)
    channels = [block.channels for block in expanded_blocks(fixed)]
    costs = channel_costs(fixed)
    # The second block also feeds the decoder of v3plus; the last ones are dilated.
    for index in (0, 1, 15):
        fewer = tuple(n - 8 * (i == index) for i, n in enumerate(channels))
        changed = cost(ModelConfig(**{**vars(network.config), "expanded_channels": fewer}), 16, 65)
        assert cost(fixed).multiply_adds - changed.multiply_adds == 8 * costs[index]


def test_another_backbone_is_refused():
    model = build_model(ModelConfig(backbone="mobilenet_v3_small", depth_multiplier=0.1, aspp_channels=8), 16)
    with pytest.raises(UserError, match=r"model\.backbone: .*mobilenet_v2"):
        expanded_blocks(model)
