import pytest

from deeplab.config import ModelConfig
from deeplab.model.atrous import StrideRate, head_norm, rate_after, rates_at, stride_plan

# The strides of MobileNetV2: the stem, then blocks 0 to 16.
MOBILENET_V2 = [2, 1, 2, 1, 2, 1, 1, 2, 1, 1, 1, 1, 1, 1, 2, 1, 1, 1]


def test_at_16_the_layer_that_loses_its_stride_keeps_its_rate():
    plan = stride_plan(MOBILENET_V2, 16)
    assert [s.rate for s in plan] == [1] * 15 + [2] * 3  # block 13 (entry 14) has rate 1, blocks 14-16 have rate 2
    assert [s.stride for s in plan] == [2, 1, 2, 1, 2, 1, 1, 2, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1]


def test_at_8_the_rate_doubles_twice():
    plan = stride_plan(MOBILENET_V2, 8)
    assert [s.rate for s in plan] == [1] * 8 + [2] * 7 + [4] * 3  # block 6: rate 1, blocks 7-13: 2, blocks 14-16: 4


def test_no_rate_exceeds_1_at_the_nominal_stride():
    assert stride_plan(MOBILENET_V2, 32) == tuple(StrideRate(s, 1) for s in MOBILENET_V2)


@pytest.mark.parametrize(("output_stride", "reached"), [(64, 32), (3, 2)])
def test_an_output_stride_that_the_strides_do_not_reach_is_rejected(output_stride, reached):
    with pytest.raises(ValueError, match=f"multiply to {reached}, expected output_stride {output_stride}"):
        stride_plan(MOBILENET_V2, output_stride)


def test_the_rate_after_a_layer_grows_by_its_lost_stride():
    assert rate_after(StrideRate(2, 1), 2) == 1
    assert rate_after(StrideRate(1, 2), 2) == 4


@pytest.mark.parametrize(("output_stride", "rates"), [(16, (6, 12, 18)), (8, (12, 24, 36)), (32, (3, 6, 9))])
def test_aspp_rates_are_scaled_to_the_output_stride(output_stride, rates):
    assert rates_at((6, 12, 18), output_stride) == rates


def test_a_rate_that_is_not_an_integer_is_rejected():
    with pytest.raises(ValueError, match="not integers at output stride 32"):
        rates_at((5,), 32)


def test_the_momentum_of_the_head_is_the_published_one_unless_configured():
    published, configured = head_norm(ModelConfig()), head_norm(ModelConfig(batch_norm_momentum=0.9))
    assert (published.momentum, configured.momentum) == (0.9997, 0.9)
    assert published.epsilon == configured.epsilon == 1e-5
