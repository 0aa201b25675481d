from hypothesis import given
from hypothesis import strategies as st

from medseg.plan.topology import feature_counts, round_up, topology

patches = st.lists(st.integers(1, 200), min_size=2, max_size=3)


@given(patch=patches, spacing=st.lists(st.floats(0.1, 10), min_size=3, max_size=3), most=st.integers(2, 8))
def test_no_feature_map_is_halved_below_four_voxels(patch, spacing, most):
    shape = topology(patch, spacing[: len(patch)], most)
    assert 2 <= len(shape.strides) <= most
    assert len(shape.kernels) == len(shape.strides)
    sides = patch
    for stride in shape.strides[1:] if len(shape.strides) > 2 else []:
        assert all(s == 1 or n >= 8 for n, s in zip(sides, stride, strict=True))
        sides = [-(-n // s) for n, s in zip(sides, stride, strict=True)]


def test_thick_slices_are_halved_and_convolved_only_once_the_plane_is_as_coarse():
    shape = topology((64, 64, 16), (1, 1, 5), 6)
    assert shape.strides[:3] == ((1, 1, 1), (2, 2, 1), (2, 2, 1))
    assert shape.kernels[:3] == ((3, 3, 1), (3, 3, 1), (3, 3, 3))


def test_the_patch_of_the_hippocampus_is_halved_three_times_along_every_axis():
    assert topology((40, 56, 40), (1, 1, 1), 6).divisor == (8, 8, 8)


def test_features_double_up_to_their_largest():
    assert feature_counts(5, 16, 100) == (16, 32, 64, 100, 100)


@given(st.lists(st.integers(1, 500), min_size=3, max_size=3), st.lists(st.integers(1, 32), min_size=3, max_size=3))
def test_rounding_up_gives_the_next_multiple(sides, divisor):
    for n, d, rounded in zip(sides, divisor, round_up(sides, divisor), strict=True):
        assert rounded % d == 0
        assert 0 <= rounded - n < d
