"""A cut shows the plane it says, hung as radiologists do, and finds its voxels again."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from medseg.core.geometry import Geometry
from medseg.pages.cuts import Cut, around
from tests.strategies import geometries

WHOLE = (slice(None), slice(None), slice(None))


@given(geometries(2, 9), st.data())
def test_a_voxel_that_is_shown_is_found_at_its_spot(grid, data):
    turn = grid.to_canonical
    upright = grid.reorient(turn)
    axis = data.draw(st.integers(0, 2))
    voxel = tuple(data.draw(st.integers(0, n - 1)) for n in upright.shape)
    box = around(upright, voxel, voxel, least=(4, 4, 4)) if data.draw(st.booleans()) else WHOLE
    cut = Cut(upright, turn, data.draw(st.booleans()), axis, voxel[axis], box)
    array = np.zeros(upright.shape, bool)
    array[voxel] = True
    shown = cut.of(array)
    assert shown[cut.spot(voxel)]
    assert shown.sum() == 1


def test_the_patients_right_is_at_the_left_and_slices_are_numbered_as_in_the_file():
    grid = Geometry((4, 6, 8), np.diag([-1.0, -1, -2, 1]))
    turn = grid.to_canonical
    cut = Cut(grid.reorient(turn), turn, True, 2, 7, WHOLE)
    assert cut.title == "axial slice 0 of 0…7"
    assert cut.edges == ("R", "L", "A", "P")
    side = np.zeros((4, 6, 8))
    side[0] = 1  # the file's first plane along i is the patient's right
    assert cut.of(turn.apply(side))[:, 0].all()
    assert Cut(grid.reorient(turn), turn, True, 0, 0, WHOLE).aspect == 2


def test_a_picture_is_shown_as_it_is_stored():
    grid = Geometry.from_spacing((4, 3, 1))
    cut = Cut(grid, grid.to_canonical, False, 2, 0, WHOLE)
    array = np.arange(12).reshape(4, 3, 1)
    assert np.array_equal(cut.of(array), array[:, :, 0].T)
    assert cut.title == ""
    assert cut.spot((3, 1, 0)) == (1, 3)


def test_every_other_pixel_of_a_large_plane_is_shown():
    grid = Geometry.from_spacing((10, 8, 2))
    cut = Cut(grid, grid.to_canonical, True, 2, 1, WHOLE, 2)
    assert cut.of(np.zeros(grid.shape)).shape == (4, 5)
    assert cut.spot((0, 0, 1)) == (3, 4)


@pytest.mark.parametrize(
    ("first", "last", "expected"), [(40, 59, slice(30, 70)), (0, 3, slice(0, 10)), (98, 99, slice(90, 100))]
)
def test_a_box_around_a_place_stays_in_the_grid(first, last, expected):
    grid = Geometry.from_spacing((100, 100, 100))
    assert around(grid, (first, 0, 0), (last, 0, 0), least=(10, 1, 1))[0] == expected
