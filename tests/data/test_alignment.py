"""A channel on the grid of another: the same places, the same values, and nothing beyond its field of view."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from medseg.core.geometry import Geometry
from medseg.data.alignment import brought_to, overlap_of
from tests.strategies import ORIENTATIONS, geometries


def ramp(grid, slope=(1.0, -2.0, 0.5), start=7.0):
    """An image whose value is a linear function of the place: linear interpolation gives it back anywhere."""
    index = np.stack(np.meshgrid(*map(np.arange, grid.shape), indexing="ij"), axis=-1)
    return (grid.to_world(index) @ slope + start)[None]


def inner(grid, n):
    """A grid of n³ voxels within the outermost centres of another, along its axes."""
    scale = (np.array(grid.shape) - 1) / n
    affine = grid.affine.copy()
    affine[:3, :3] *= scale
    affine[:3, 3] = grid.to_world(0.5 * scale)
    return Geometry((n, n, n), affine)


@given(geometries(smallest=2, largest=6, oblique=True))
def test_a_grid_brought_to_itself_is_as_it_was(grid):
    array = np.random.default_rng(0).normal(size=(2, *grid.shape)).astype(np.float32)
    np.testing.assert_allclose(brought_to(grid, array, grid), array, atol=1e-5)


@given(geometries(smallest=4, largest=7, oblique=True, sheared=True), st.integers(4, 9))
def test_what_is_linear_in_space_stays_so_wherever_the_grid_lies(own, n):
    """No finer grid is smoothed away here: the ratio stays below the one that smooths."""
    grid = inner(own, n)
    np.testing.assert_allclose(brought_to(grid, ramp(own), own), ramp(grid), rtol=1e-4, atol=1e-2)


@settings(max_examples=25)
@given(geometries(smallest=2, largest=5), st.sampled_from(ORIENTATIONS))
def test_the_way_the_axes_run_makes_no_difference(own, turn):
    array = np.random.default_rng(1).normal(size=(1, *own.shape)).astype(np.float32)
    turned = turn.apply(array)
    grid = inner(own, 5)
    np.testing.assert_allclose(
        brought_to(grid, array, own), brought_to(grid, turned, own.reorient(turn)), rtol=1e-4, atol=1e-4
    )


def test_outside_of_the_field_of_view_is_the_smallest_value_and_edges_reach_half_a_voxel():
    own = Geometry.from_spacing((2, 1, 1), (4, 4, 4))  # from -2 to 6 mm
    grid = Geometry.from_spacing((12, 1, 1), (1, 1, 1), (-3.5, 0, 0))  # centres at -3.5 … 7.5 mm
    found = brought_to(grid, np.array([[[[10]], [[50]]]], np.int16), own)[0, :, 0, 0]
    expected = [10, 10, 10, 10, 15, 25, 35, 45, 50, 50, 10, 10]
    np.testing.assert_allclose(found, expected)


def test_planes_beyond_a_slab_are_cut_off_too(monkeypatch):
    monkeypatch.setattr("medseg.data.alignment._SLAB_VOXELS", 7)
    own, grid = Geometry.from_spacing((3, 3, 3), (2, 2, 2)), Geometry.from_spacing((9, 9, 9), (1, 1, 1), (-2, -2, -2))
    found = brought_to(grid, np.full((1, 3, 3, 3), 5.0) + np.eye(3), own)[0]
    places = grid.to_world(np.stack(np.meshgrid(*map(np.arange, grid.shape), indexing="ij"), axis=-1))
    outside = ((places < -1) | (places > 5)).any(axis=-1)
    assert outside.any()
    assert (found[outside] == 5).all()
    assert (found[~outside] > 5).any()


def test_a_much_finer_channel_is_smoothed_before_voxels_are_left_out():
    """A pattern of single voxels averages out; taken voxel by voxel it would come back as stripes."""
    own = Geometry.from_spacing((48, 48, 1))
    stripes = np.zeros((1, 48, 48, 1), np.float32)
    stripes[:, ::2] = 100
    found = brought_to(Geometry.from_spacing((6, 6, 1), (8, 8, 1), (3.5, 3.5, 0)), stripes, own)
    assert np.abs(found - 50).max() < 5


def test_a_channel_of_half_floats_is_read_and_channels_keep_their_order():
    own = Geometry.from_spacing((2, 2, 2))
    array = np.stack([np.full((2, 2, 2), 1, np.float16), np.full((2, 2, 2), 2, np.float16)])
    found = brought_to(inner(own, 3), array, own)
    assert found.dtype == np.float32
    assert [channel.mean() for channel in found] == [1, 2]


@pytest.mark.parametrize(
    ("shift_mm", "expected"), [(0, 1.0), (5, 0.5), (8, 0.2), (10, 0.0), (400, 0.0)], ids=lambda value: str(value)
)
def test_an_overlap_is_the_share_of_the_field_of_view(shift_mm, expected):
    first = Geometry.from_spacing((10, 10, 10))
    found = overlap_of(first, Geometry.from_spacing((5, 5, 5), (2, 2, 2), (shift_mm + 0.5, 0.5, 0.5)))
    assert found.of_first == pytest.approx(expected, abs=0.02)
    assert found.of_other == pytest.approx(expected, abs=0.02)


def test_a_small_grid_within_a_large_one_lies_wholly_in_it():
    large, small = Geometry.from_spacing((20, 20, 20)), Geometry.from_spacing((10, 10, 10), origin_mm=(5, 5, 5))
    found = overlap_of(large, small)
    assert (found.of_first, found.of_other, found.of_smaller) == (pytest.approx(1 / 8, abs=0.01), 1.0, 1.0)


@given(geometries(smallest=1, largest=4, oblique=True), geometries(smallest=1, largest=4))
def test_an_overlap_seen_from_the_other_side_is_the_same(first, other):
    there, back = overlap_of(first, other), overlap_of(other, first)
    assert (there.of_first, there.of_other) == (back.of_other, back.of_first)
