"""Contours are filled by the even-odd rule at voxel centres: against brute force in fractions, and matplotlib."""

from fractions import Fraction

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st
from matplotlib.path import Path

from medseg.io.dicom.polygons import filled

SHAPE = (9, 7)


def on_plane(contours, shape=SHAPE):
    raster = filled([np.asarray(contour, float) for contour in contours], shape)
    plane = np.zeros(shape, bool)
    plane[raster.box] = raster.mask
    return plane


def by_hand(contours, shape=SHAPE):
    """The rule word for word, without rounding: cross an edge from its lower end (included) to its upper (excluded)."""
    plane = np.zeros(shape, bool)
    exact = [[(Fraction(x), Fraction(y)) for x, y in contour] for contour in contours]
    for i, j in np.ndindex(*shape):
        for contour in exact:
            for (x1, y1), (x2, y2) in zip(contour, contour[1:] + contour[:1], strict=True):
                if (y1 <= j) != (y2 <= j) and i < x1 + (j - y1) * (x2 - x1) / (y2 - y1):
                    plane[i, j] ^= True
    return plane


# Quarters: many vertices and crossings lie exactly on centres, and some contours reach beyond the plane.
quarters = st.integers(-12, 44).map(lambda n: n / 4)
polygons = st.lists(st.tuples(quarters, quarters), min_size=3, max_size=8)


@settings(max_examples=60)
@given(st.lists(polygons, min_size=1, max_size=3))
def test_any_polygons_are_filled_by_the_even_odd_rule(contours):
    np.testing.assert_array_equal(on_plane(contours), by_hand(contours))


@given(st.lists(st.tuples(st.floats(-2, 11), st.floats(-2, 9)), min_size=3, max_size=8), st.integers(0, 1000))
def test_a_simple_polygon_is_filled_as_matplotlib_fills_it(points, turn):
    centre = np.mean(points, axis=0)
    angle = [np.arctan2(*(np.array(point) - centre)) for point in points]
    star = np.array([points[n] for n in np.argsort(angle, kind="stable")]) + (turn % 7) * 0.0137
    centres = np.argwhere(np.ones(SHAPE, bool)).astype(float)
    theirs = Path(star).contains_points(centres).reshape(SHAPE)
    near = np.abs(_distance(centres, star)).reshape(SHAPE) < 1e-5
    np.testing.assert_array_equal(on_plane([star])[~near], theirs[~near])


def _distance(centres, contour):
    """From each centre to the nearest edge."""
    a, b = contour, np.roll(contour, -1, axis=0)
    along = b - a
    length = np.maximum((along**2).sum(axis=1), 1e-30)
    share = np.clip(((centres[:, None] - a) * along).sum(axis=2) / length, 0, 1)
    return np.linalg.norm(centres[:, None] - a - share[..., None] * along, axis=2).min(axis=1)


@given(st.lists(st.integers(-8, 30), min_size=1, max_size=5), st.integers(0, 36))
def test_of_two_shapes_that_share_an_edge_exactly_one_has_each_voxel(heights, cut):
    """A ragged line through the plane cuts it in two; every voxel lies in one part, on the line or not."""
    line = [(n * SHAPE[0] / len(heights) - 0.5, h / 4) for n, h in enumerate(heights)] + [(SHAPE[0], cut / 4 - 1)]
    below = [*line, (SHAPE[0], -99), (-0.5, -99)]
    above = [*line, (SHAPE[0], 99), (-0.5, 99)]
    np.testing.assert_array_equal(on_plane([below]) ^ on_plane([above]), np.ones(SHAPE, bool))


def test_a_contour_within_another_is_a_hole():
    outer, inner = [(0.5, 0.5), (6.5, 0.5), (6.5, 5.5), (0.5, 5.5)], [(2.5, 2.5), (4.5, 2.5), (4.5, 4.5), (2.5, 4.5)]
    plane = on_plane([outer, inner])
    assert plane.sum() == 6 * 5 - 2 * 2
    assert not plane[3:5, 3:5].any()


def test_a_keyhole_is_a_hole_too():
    """The outline walks a bridge to its hole and back: askew, so that it meets centres from both sides."""
    outer, inner = [(0.5, 0.5), (6.5, 0.5), (6.5, 5.5), (0.5, 5.5)], [(2.5, 2.5), (2.5, 4.5), (4.5, 4.5), (4.5, 2.5)]
    keyhole = [*outer, outer[0], *inner, inner[0], outer[0]]
    np.testing.assert_array_equal(on_plane([keyhole]), on_plane([outer, inner]))


def test_a_contour_that_runs_through_centres_keeps_one_side_of_them():
    """As it is with pixels that are half open; a millionth of arithmetic does not change it."""
    square = np.array([(1, 1), (4, 1), (4, 4), (1, 4)], float)
    for noise in (0, 1e-9, -1e-9):
        plane = on_plane([square + noise])
        assert plane.sum() == 9
        assert plane[1:4, 1:4].all()


def test_what_lies_outside_the_plane_is_cut_off():
    assert on_plane([[(-50, -50), (50, -50), (50, 50), (-50, 50)]]).all()
    assert not on_plane([[(20, 1), (30, 1), (25, 9)]]).any()
    assert not on_plane([[(1.2, 1.2), (1.8, 1.3), (1.5, 1.8)]]).any()
    assert not on_plane([]).any()
