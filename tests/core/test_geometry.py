"""Grids: a voxel keeps its place in the world whatever is done to the array, in all 48 orientations, oblique or not."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from medseg.core.errors import InputError
from medseg.core.geometry import Geometry
from tests.strategies import ORIENTATIONS, geometries, spacings_mm

PLACE_MM = 1e-9
"""Float64 noise at 1,000 mm."""


def numbered(shape):
    """An array whose voxels all differ."""
    return np.arange(np.prod(shape)).reshape(shape)


def places(array, grid):
    """Value → world position of each voxel, as an array sorted by value."""
    indices = np.argwhere(np.ones(array.shape, bool))
    return grid.to_world(indices)[np.argsort(array, axis=None)]


def same_places(before, grid_before, after, grid_after):
    return np.allclose(places(before, grid_before), places(after, grid_after), atol=PLACE_MM)


any_grid = geometries() | geometries(sheared=True)


@given(any_grid)
def test_world_and_voxel_are_inverse(grid):
    voxels = np.random.default_rng(0).uniform(-5, 20, (7, 3))
    np.testing.assert_allclose(grid.to_voxel(grid.to_world(voxels)), voxels, atol=1e-8)


@given(any_grid, st.data())
def test_a_cropped_voxel_stays_where_it_was(grid, data):
    start = [data.draw(st.integers(0, n - 1)) for n in grid.shape]
    stop = [data.draw(st.integers(a + 1, n)) for a, n in zip(start, grid.shape, strict=True)]
    array = numbered(grid.shape)
    box = tuple(slice(a, b) for a, b in zip(start, stop, strict=True))
    kept = np.isin(np.sort(array, axis=None), array[box])
    cropped = grid.crop(start, stop)
    assert cropped.shape == array[box].shape
    np.testing.assert_allclose(places(array, grid)[kept], places(array[box], cropped), atol=PLACE_MM)


@given(any_grid)
def test_padding_is_a_crop_beyond_the_border(grid):
    padded = grid.crop([-2, 0, -1], [grid.shape[0] + 1, grid.shape[1], grid.shape[2] + 3])
    assert padded.shape == (grid.shape[0] + 3, grid.shape[1], grid.shape[2] + 4)
    np.testing.assert_allclose(padded.to_world([2, 0, 1]), grid.to_world([0, 0, 0]), atol=PLACE_MM)


@given(any_grid, st.integers(0, 2))
def test_a_flipped_voxel_stays_where_it_was(grid, axis):
    array = numbered(grid.shape)
    assert same_places(array, grid, np.flip(array, axis), grid.flip(axis))
    np.testing.assert_allclose(grid.flip(axis).flip(axis).affine, grid.affine, atol=PLACE_MM)


@given(any_grid, st.permutations(range(3)))
def test_a_permuted_voxel_stays_where_it_was(grid, order):
    array = numbered(grid.shape)
    assert same_places(array, grid, array.transpose(order), grid.permute(order))


@given(any_grid, st.sampled_from(ORIENTATIONS))
def test_a_reoriented_voxel_stays_where_it_was_and_the_inverse_gives_the_array_back(grid, turn):
    array = numbered(grid.shape)
    turned, turned_grid = turn.apply(array), grid.reorient(turn)
    assert turned_grid.shape == turned.shape
    assert same_places(array, grid, turned, turned_grid)
    np.testing.assert_array_equal(turn.inverse.apply(turned), array)
    back = turned_grid.reorient(turn.inverse)
    assert back.shape == grid.shape
    np.testing.assert_allclose(back.affine, grid.affine, atol=PLACE_MM)


def test_reorientation_leaves_leading_axes_alone():
    array = numbered((2, 3, 4, 5))
    for turn in ORIENTATIONS:
        np.testing.assert_array_equal(turn.apply(array)[1], turn.apply(array[1]))


@given(any_grid)
def test_canonical_axes_run_closest_to_ras(grid):
    canonical = grid.reorient(grid.to_canonical)
    axes = canonical.affine[:3, :3] / np.array(canonical.spacing_mm)
    assert (np.diag(axes) > 0).all()
    assert canonical.orientation == "RAS"
    # No other one-to-one choice of axes lies closer.
    sums = [np.abs(np.diag(axes[:, list(turn.order)])).sum() for turn in ORIENTATIONS[::8]]
    assert np.abs(np.diag(axes)).sum() >= max(sums) - 1e-12


@pytest.mark.parametrize("turn", ORIENTATIONS)
def test_each_orientation_is_named_by_where_its_axes_point(turn):
    grid = Geometry.from_spacing((4, 5, 6)).reorient(turn)
    ends = grid.to_world(np.eye(3)) - grid.to_world(np.zeros((3, 3)))
    letters = [("R" if x > 0 else "L") if x else ("A" if y > 0 else "P") if y else ("S" if z > 0 else "I")
               for x, y, z in np.round(ends, 9)]  # fmt: skip
    assert grid.orientation == "".join(letters)
    assert grid.to_canonical == turn.inverse


@given(any_grid, spacings_mm())
def test_a_resampled_grid_covers_the_same_extent_edge_to_edge(grid, spacing_mm):
    resampled = grid.resampled(spacing_mm)
    low, high = np.full(3, -0.5), np.array(grid.shape) - 0.5
    new_high = np.array(resampled.shape) - 0.5
    np.testing.assert_allclose(resampled.to_world(low), grid.to_world(low), atol=1e-8)
    np.testing.assert_allclose(resampled.to_world(new_high), grid.to_world(high), atol=1e-8)
    np.testing.assert_allclose(
        resampled.voxel_volume_ml * np.prod(resampled.shape), grid.voxel_volume_ml * np.prod(grid.shape), rtol=1e-9
    )


@given(any_grid)
def test_resampling_to_its_own_spacing_changes_nothing(grid):
    same = grid.resampled(grid.spacing_mm)
    assert same.shape == grid.shape
    np.testing.assert_allclose(same.affine, grid.affine, atol=1e-9)


def test_resampling_follows_the_half_voxel_rule():
    """Four voxels of 1 mm become two of 2 mm; the first centre moves from 0 to 0.5 mm."""
    resampled = Geometry.from_spacing((4, 4, 4)).resampled((2, 1, 4))
    assert resampled.shape == (2, 4, 1)
    np.testing.assert_allclose(resampled.to_world([0, 0, 0]), [0.5, 0, 1.5])
    assert resampled.spacing_mm == (2, 1, 4)


@given(geometries(), st.floats(0, 0.5))
def test_shear_changes_neither_volume_nor_the_other_spacings(grid, tilt):
    affine = grid.affine.copy()
    affine[:3, 2] += tilt * affine[:3, 1]
    sheared = Geometry(grid.shape, affine)
    assert sheared.voxel_volume_ml == pytest.approx(grid.voxel_volume_ml)
    assert sheared.spacing_mm[:2] == pytest.approx(grid.spacing_mm[:2])
    assert grid.is_orthogonal
    assert sheared.is_orthogonal == (tilt * grid.spacing_mm[1] / sheared.spacing_mm[2] <= 1e-4)


def test_spacing_volume_and_diagonal_of_a_known_grid():
    grid = Geometry.from_spacing((3, 4, 12), (1, 1, 1), (10, 20, 30))
    assert grid.diagonal_mm == pytest.approx(13)
    assert grid.voxel_volume_ml == pytest.approx(1e-3)
    np.testing.assert_allclose(grid.corners_mm[[0, -1]], [[10, 20, 30], [12, 23, 41]])


@given(any_grid)
def test_a_grid_is_the_same_as_itself_and_not_as_one_moved_by_a_voxel(grid):
    moved = grid.crop([1, 0, 0], [grid.shape[0] + 1, *grid.shape[1:]])
    assert grid.same_as(grid)
    assert not grid.same_as(moved)
    assert grid.distance_mm(moved) == pytest.approx(grid.spacing_mm[0])


def test_the_tolerance_for_mice_is_below_a_voxel():
    mouse = Geometry.from_spacing((4, 4, 4), (0.05, 0.05, 0.05))
    head = Geometry.from_spacing((4, 4, 4), (1, 1, 5))
    assert mouse.tolerance_mm == pytest.approx(0.005)
    assert head.tolerance_mm == pytest.approx(0.01)
    assert not head.same_as(Geometry.from_spacing((4, 4, 4), (1, 1, 5), (0.02, 0, 0)))
    assert head.same_as(Geometry.from_spacing((4, 4, 4), (1, 1, 5), (0.009, 0, 0)))


def test_equality_is_exact_and_hashes_agree():
    one, other = Geometry.from_spacing((2, 3, 4)), Geometry.from_spacing((2, 3, 4))
    assert one == other
    assert hash(one) == hash(other)
    assert one != Geometry.from_spacing((2, 3, 4), (1, 1, 1.0000001))
    assert one != Geometry.from_spacing((2, 3, 5))
    assert one != "a grid"


def test_the_affine_is_a_read_only_copy():
    affine = np.eye(4)
    grid = Geometry((1, 2, 3), affine)
    affine[0, 3] = 5
    assert grid.affine[0, 3] == 0
    with pytest.raises(ValueError, match="read-only"):
        grid.affine[0, 0] = 2


@pytest.mark.parametrize(
    ("shape", "affine", "sentence"),
    [
        ((0, 2, 3), np.eye(4), "three sides"),
        ((2, 3), np.eye(4), "three sides"),
        ((2, 3, 4), np.diag([1, 1, 0, 1]), "cannot be inverted"),
        ((2, 3, 4), np.diag([1, np.nan, 1, 1]), "not a finite"),
        ((2, 3, 4), np.eye(3), "4×4"),
    ],
)
def test_what_is_no_grid_is_refused(shape, affine, sentence):
    with pytest.raises(InputError, match=sentence):
        Geometry(shape, affine)
