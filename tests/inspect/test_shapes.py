"""What shapes say: pieces, places in the world, gaps along any axis."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from medseg.core.geometry import Geometry
from medseg.core.labels import Labels
from medseg.inspect.shapes import gaps_of, marks_of, parts_of, reach_of, slice_axis
from tests.strategies import geometries, label_arrays

ONE = Labels({"thing": (1,)})


def rod(n_slices=20, radius=3.5):
    """A rod through all slices of the third axis, seen in an image as bright as it is."""
    i, j, _ = np.indices((18, 16, n_slices))
    inside = (i - 8) ** 2 + (j - 8) ** 2 < radius**2
    noise = np.random.default_rng(0).normal(0, 3, inside.shape[:2])[..., None]
    return inside.astype(np.uint8), 100.0 * inside + noise


GRID = Geometry.from_spacing((18, 16, 20), (1, 1, 3))


@given(st.data())
def test_marks_count_every_voxel_and_centres_are_means_in_the_world(data):
    grid = data.draw(geometries(largest=6))
    array = data.draw(label_arrays(grid.shape, values=(0, 1, 2)))
    labels = Labels({"one": (1,), "two": (2,), "both": (1, 2)})
    marks = marks_of(parts_of(array, labels), grid)
    assert set(marks) == {name for name in labels.names if labels.mask(array, name).any()}
    for name, mark in marks.items():
        mask = labels.mask(array, name)
        assert mark.n_voxels == np.count_nonzero(mask)
        assert mark.volume_ml == pytest.approx(np.count_nonzero(mask) * grid.voxel_volume_ml)
        assert mark.centre_mm == pytest.approx(tuple(grid.to_world(np.argwhere(mask)).mean(axis=0)), abs=1e-6)


def test_an_island_has_its_voxel_and_its_distance():
    array, _ = rod()
    array[8, 15, 4] = 1
    mark = marks_of(parts_of(array, ONE), GRID)["thing"]
    assert (mark.n_pieces, mark.n_islands) == (2, 1)
    assert mark.islands[0].voxel == (8, 15, 4)
    assert mark.islands[0].distance_mm == pytest.approx(4)  # the rod ends at j = 11


def test_pieces_of_one_size_are_no_islands():
    array = np.zeros(GRID.shape, np.uint8)
    array[2:5, 2:5, 2:5] = array[10:13, 10:13, 10:13] = 1
    mark = marks_of(parts_of(array, ONE), GRID)["thing"]
    assert (mark.n_pieces, mark.largest_share, mark.n_islands) == (2, 0.5, 0)


@pytest.mark.parametrize(
    ("spacing", "shape", "axis"),
    [((1, 1, 3), (9, 9, 9), 2), ((4, 1, 1), (9, 9, 9), 0), ((1, 1, 1), (9, 9, 9), 2), ((1, 1, 1), (9, 9, 1), None)],
)
def test_slices_lie_along_the_widest_spacing(spacing, shape, axis):
    assert slice_axis(Geometry.from_spacing(shape, spacing)) == axis


@given(first=st.integers(2, 14), length=st.integers(1, 4))
def test_a_gap_inside_an_object_is_found_where_it_is(first, length):
    array, image = rod()
    array[:, :, first : first + length] = 0
    inside = [gap for gap in gaps_of(array, image, GRID, parts_of(array, ONE)) if gap.end is None]
    assert [(gap.label, gap.axis, gap.first, gap.last) for gap in inside] == [("", 2, first, first + length - 1)]
    assert inside[0].continuity == pytest.approx(1, abs=0.01)


@given(n=st.integers(2, 10), upper=st.booleans())
def test_an_end_without_labels_is_found_with_what_speaks_for_going_on(n, upper):
    array, image = rod()
    array[:, :, slice(20 - n, None) if upper else slice(0, n)] = 0
    (gap,) = gaps_of(array, image, GRID, parts_of(array, ONE))
    assert (gap.first, gap.last, gap.end) == ((20 - n, 19, "S") if upper else (0, n - 1, "I"))
    assert gap.area == 1
    assert gap.continuity == pytest.approx(1, abs=0.01)
    assert reach_of(array, GRID) == {"I": upper, "S": not upper}


def test_a_ball_has_no_gaps_and_tapers():
    i, j, k = np.indices(GRID.shape)
    array = (((i - 8) ** 2 + (j - 8) ** 2 + (k - 9) ** 2) < 36).astype(np.uint8)
    gaps = gaps_of(array, array * 100.0, GRID, parts_of(array, ONE))
    assert all(gap.end is not None and gap.area < 0.5 for gap in gaps)


def test_a_slip_far_from_the_object_does_not_hide_its_end():
    array, image = rod()
    array[:, :, 14:] = 0
    array[2, 2, 17] = 1
    (gap,) = gaps_of(array, image, GRID, parts_of(array, ONE))
    assert (gap.first, gap.last, gap.end) == (14, 19, "S")


def test_a_gap_of_one_label_among_others_is_told_by_its_name():
    array, image = rod()
    array[2:5, 2:5, :] = 2
    array[2:5, 2:5, 9:11] = 0
    gaps = gaps_of(array, image, GRID, parts_of(array, Labels({"thing": (1,), "other": (2,)})))
    assert [(gap.label, gap.first, gap.last) for gap in gaps] == [("other", 9, 10)]


def test_no_labels_have_no_marks_and_no_gaps():
    array, image = rod()
    array[:] = 0
    assert marks_of(parts_of(array, ONE), GRID) == {}
    assert gaps_of(array, image, GRID, {}) == ()
    assert reach_of(array, GRID) == {}
