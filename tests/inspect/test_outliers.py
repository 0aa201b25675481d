"""What stands out, and what does not."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from medseg.inspect.outliers import are_few, robust_z, standing_out

numbers = st.floats(-1e6, 1e6, allow_nan=False)


@given(st.lists(numbers, min_size=1, max_size=30), st.floats(0.1, 10), numbers)
def test_moving_all_numbers_moves_nothing(values, least_sd, shift):
    moved = [value + shift for value in values]
    assert np.allclose(robust_z(values, least_sd), robust_z(moved, least_sd), atol=1e-3)


@given(st.lists(st.floats(-1, 1), min_size=8, max_size=30), st.integers(0, 7))
def test_one_far_number_stands_out_alone(values, place):
    values[place] = 1000.0
    assert standing_out(values, least_sd=1.0) == [place]


def test_few_numbers_say_nothing():
    assert standing_out([0.0] * 6 + [1e9], least_sd=1.0) == []


def test_a_hair_is_no_outlier():
    assert standing_out([1.0] * 20 + [1.001], least_sd=0.1) == []


def test_what_is_not_finite_neither_counts_nor_stands_out():
    assert standing_out([1.0] * 10 + [float("nan"), 9.0], least_sd=0.1) == [11]
    assert standing_out([float("nan")] * 10, least_sd=0.1) == []


def test_a_group_is_not_few():
    assert are_few(2, 8)
    assert not are_few(3, 8)
    assert are_few(20, 200)
    assert not are_few(21, 200)
