"""Leaning grids and the upright ones around them: nothing moves in space, nothing is cut off."""

from itertools import product

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from medseg.core.errors import InputError
from medseg.core.geometry import Geometry
from medseg.core.shear import straightening
from tests.strategies import ORIENTATIONS, geometries, rotations, shapes, spacings_mm

SLOPE = st.floats(-0.6, 0.6, allow_nan=False).map(lambda x: round(x, 3))


@st.composite
def leaning(draw, smallest=2, largest=9):
    """A grid whose three axes lean on each other, in any direction, turned in space."""
    shear = np.eye(3)
    shear[0, 1], shear[0, 2], shear[1, 2] = draw(st.tuples(SLOPE, SLOPE, SLOPE))
    order = draw(st.permutations(range(3)))
    affine = np.eye(4)
    affine[:3, :3] = draw(rotations()) @ shear[np.ix_(order, order)] @ np.diag(draw(spacings_mm(0.5, 5.0)))
    affine[:3, 3] = draw(st.tuples(*[st.floats(-100, 100)] * 3))
    return Geometry(draw(shapes(smallest, largest)), affine)


@given(leaning())
def test_the_upright_grid_is_at_right_angles_and_holds_every_voxel_where_it_was(grid):
    try:
        way = straightening(grid)
    except InputError:
        return  # three leans may add up to a very flat grid
    if way is None:
        return
    corners = np.array(list(product(*((0, n - 1) for n in grid.shape))))
    upright = corners @ way.matrix[:3, :3].T + way.matrix[:3, 3]
    np.testing.assert_allclose(way.grid.to_world(upright), grid.to_world(corners), atol=1e-9)
    assert upright.min() >= -1e-9
    assert (upright <= np.array(way.grid.shape) - 1 + 1e-9).all()
    np.testing.assert_allclose(upright[:, way.stack], corners[:, way.stack], atol=1e-12)
    # Leans of less than a hundredth of a voxel stay.
    axes = way.grid.affine[:3, :3] / np.array(way.grid.spacing_mm)
    reach = 0.02 * max(way.grid.spacing_mm) / (min(n - 1 for n in grid.shape) * min(way.grid.spacing_mm))
    assert np.abs(axes.T @ axes - np.eye(3)).max() <= max(1e-9, reach)


@given(leaning())
def test_a_voxel_keeps_its_volume_and_the_stack_its_planes(grid):
    try:
        way = straightening(grid)
    except InputError:
        return
    if way is None:
        return
    assert way.grid.voxel_volume_ml == pytest.approx(grid.voxel_volume_ml)
    assert way.grid.shape[way.stack] == grid.shape[way.stack]
    assert all(lean.axis != way.stack for lean in way.leans)


@given(geometries())
def test_a_grid_at_right_angles_needs_nothing(grid):
    assert straightening(grid) is None


def tilted(degrees=16.5, shape=(64, 64, 9), spacing_mm=(0.5, 0.5, 5.0)):
    """A CT whose gantry leans: the slices are stacked along z, and each lies a little further to the front."""
    affine = np.diag([*spacing_mm, 1.0])
    affine[1, 2] = np.tan(np.deg2rad(degrees)) * spacing_mm[2]
    return Geometry(shape, affine)


@pytest.mark.parametrize("degrees", [16.5, -16.5])
def test_the_slices_of_a_tilted_ct_slide_by_the_tangent_of_the_tilt(degrees):
    way = straightening(tilted(degrees))
    assert way.stack == 2
    assert [(lean.axis, lean.along) for lean in way.leans] == [(1, 2)]
    assert way.leans[0].slope == pytest.approx(np.tan(np.deg2rad(degrees)) * 5.0 / 0.5)
    # Eight slices further they have slid by 23.7 voxels: 24 more rows, below or above.
    assert way.grid.shape == (64, 64 + 24, 9)
    assert way.leans[0].offset == (0 if degrees > 0 else 24)
    np.testing.assert_allclose(way.grid.spacing_mm, (0.5, 0.5, 5.0))


def test_the_planes_along_the_coarsest_axis_are_the_ones_that_slide():
    for orientation in ORIENTATIONS:
        grid = tilted().reorient(orientation)
        way = straightening(grid)
        assert grid.spacing_mm[way.stack] > 4
        assert len(way.leans) == 1


def test_a_lean_of_rounding_is_left_as_it_is():
    assert straightening(tilted(0.006, (9, 9, 9), (1, 1, 1))) is None
    assert straightening(tilted(0.2, (9, 9, 9), (1, 1, 1))) is not None


@settings(max_examples=20)
@given(st.floats(61, 89))
def test_axes_that_nearly_coincide_are_refused_with_their_angle(degrees):
    with pytest.raises(InputError, match=r"The axes of the grid stand at \d+° to each other; below 30°"):
        straightening(tilted(degrees))
