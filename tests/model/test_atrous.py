import pytest

from deeplab.model.atrous import StrideRate, rates_at, stride_plan

# Stem and the 17 blocks of MobileNetV2, numbered from 0 behind the stem.
MOBILENET_V2 = [2, 1, 2, 1, 2, 1, 1, 2, 1, 1, 1, 1, 1, 1, 2, 1, 1, 1]


def test_mobilenet_v2_keeps_the_old_rate_where_the_stride_is_lost_at_16():
    plan = stride_plan(MOBILENET_V2, 16)
    assert [s.rate for s in plan] == [1] * 15 + [2] * 3  # block 13 (entry 14) rate 1, blocks 14-16 rate 2
    assert [s.stride for s in plan] == [2, 1, 2, 1, 2, 1, 1, 2, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1]


def test_mobilenet_v2_at_8():
    plan = stride_plan(MOBILENET_V2, 8)
    assert [s.rate for s in plan] == [1] * 8 + [2] * 7 + [4] * 3  # block 6 rate 1, 7-13 rate 2, 14-16 rate 4


def test_nothing_is_atrous_at_the_nominal_stride():
    assert stride_plan(MOBILENET_V2, 32) == tuple(StrideRate(s, 1) for s in MOBILENET_V2)


@pytest.mark.parametrize("output_stride", [64, 3])
def test_a_stride_that_cannot_be_had_is_refused(output_stride):
    with pytest.raises(ValueError, match=f"output_stride {output_stride}"):
        stride_plan(MOBILENET_V2, output_stride)


@pytest.mark.parametrize(("output_stride", "rates"), [(16, (6, 12, 18)), (8, (12, 24, 36)), (32, (3, 6, 9))])
def test_aspp_rates_follow_the_output_stride(output_stride, rates):
    assert rates_at((6, 12, 18), output_stride) == rates


def test_a_rate_that_is_not_whole_is_refused():
    with pytest.raises(ValueError, match="not whole at 32"):
        rates_at((5,), 32)
