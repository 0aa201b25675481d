"""A plane is hung as radiologists do it."""

import numpy as np
import pytest

from medseg.core.geometry import Geometry
from medseg.core.views import PLANES, edges_of, hung, shown_axis


@pytest.mark.parametrize(
    ("axis", "edges"), [(2, ("R", "L", "A", "P")), (1, ("R", "L", "S", "I")), (0, ("A", "P", "S", "I"))]
)
def test_the_letters_are_those_of_the_voxels_at_the_edges(axis, edges):
    letters = np.array(["L", "R"]), np.array(["P", "A"]), np.array(["I", "S"])
    across, along = (other for other in range(3) if other != axis)
    columns = np.broadcast_to(letters[across][:, None], (2, 2))
    rows = np.broadcast_to(letters[along][None, :], (2, 2))
    assert (hung(columns)[0, 0], hung(columns)[0, 1], hung(rows)[0, 0], hung(rows)[1, 0]) == edges == edges_of(axis)


def test_each_axis_of_the_world_has_a_plane():
    assert sorted(PLANES) == [0, 1, 2]


@pytest.mark.parametrize(
    ("shape", "spacing_mm", "axis"),
    [((9, 9, 9), (1, 1, 1), 2), ((9, 9, 9), (3, 1, 1), 0), ((9, 9, 1), (3, 1, 1), 2), ((9, 9, 3), (1, 1, 5), 2)],
)
def test_a_volume_is_looked_at_along_its_slices(shape, spacing_mm, axis):
    assert shown_axis(Geometry.from_spacing(shape, spacing_mm)) == axis
