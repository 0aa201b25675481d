"""Masks → contours: whichever way a reader fills them, the mask comes back."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as npst
from scipy import ndimage

from medseg.io.dicom.contours import contours_of

masks = npst.arrays(bool, st.tuples(st.integers(1, 9), st.integers(1, 9)))
blobs = st.tuples(st.integers(0, 10**6), st.integers(4, 40), st.floats(0.5, 4)).map(
    lambda seed_size_sigma: _blob(*seed_size_sigma)
)


def _blob(seed, size, sigma):
    noise = np.random.default_rng(seed).standard_normal((size, size + 3))
    return ndimage.gaussian_filter(noise, sigma, mode="constant") > 0


def ray_crossings(contour, shape):
    """Along +i from each centre: how many edges are met, and how many more of them upwards than downwards (brute)."""
    met, winding = np.zeros(shape, int), np.zeros(shape, int)
    for (i1, j1), (i2, j2) in zip(contour, np.roll(contour, -1, axis=0), strict=True):
        for j in range(shape[1]):
            if (j1 > j) != (j2 > j):
                at = i1 + (j - j1) * (i2 - i1) / (j2 - j1)
                met[: max(0, int(np.ceil(at))), j] += 1
                winding[: max(0, int(np.ceil(at))), j] += 1 if j2 > j1 else -1
    return met, winding


@given(masks | blobs)
def test_every_way_to_fill_contours_gives_the_mask_back(mask):
    even_odd, united, winding = np.zeros(mask.shape, bool), np.zeros(mask.shape, bool), np.zeros(mask.shape, int)
    for contour in contours_of(mask):
        met, turns = ray_crossings(contour, mask.shape)
        even_odd ^= met % 2 == 1
        united |= met % 2 == 1
        winding += turns
    np.testing.assert_array_equal(even_odd, mask)
    np.testing.assert_array_equal(united, mask)
    np.testing.assert_array_equal(winding != 0, mask)


@given(masks | blobs)
def test_there_is_one_contour_for_each_part_and_corners_do_not_join(mask):
    assert len(contours_of(mask)) == ndimage.label(mask)[1]


@given(masks | blobs)
def test_vertices_lie_midway_between_centres_and_each_is_needed(mask):
    for contour in contours_of(mask):
        doubled = 2 * contour
        np.testing.assert_array_equal(doubled, np.rint(doubled))
        # On a grid edge between two centres, or where a keyhole's line crosses one side of a straight outline.
        assert ((doubled % 2 != 0).any(axis=1)).all()
        before, after = contour - np.roll(contour, 1, axis=0), np.roll(contour, -1, axis=0) - contour
        assert (before[:, 0] * after[:, 1] != before[:, 1] * after[:, 0]).all()


def test_one_pixel_is_a_diamond_around_its_centre():
    mask = np.zeros((4, 5), bool)
    mask[1, 2] = True
    (contour,) = contours_of(mask)
    assert {tuple(vertex) for vertex in contour} == {(0.5, 2), (1.5, 2), (1, 1.5), (1, 2.5)}


def test_a_full_picture_is_outlined_beyond_its_border():
    (contour,) = contours_of(np.ones((3, 2), bool))
    assert contour.min(axis=0).tolist() == [-0.5, -0.5]
    assert contour.max(axis=0).tolist() == [2.5, 1.5]
    assert len(contour) == 8


def test_a_ring_is_one_contour_with_a_keyhole_walked_twice():
    mask = np.ones((5, 5), bool)
    mask[2, 2] = False
    (contour,) = contours_of(mask)
    vertices = [tuple(vertex) for vertex in contour]
    twice = [vertex for vertex in vertices if vertices.count(vertex) == 2]
    assert len(set(twice)) == 2  # both ends of the bridge
    (_, j), (_, other) = set(twice)
    assert j == other
    assert j % 1 == 0.5  # between the centres


def test_a_hole_in_an_island_in_a_hole_is_kept():
    mask = np.ones((9, 9), bool)
    mask[1:8, 1:8] = False
    mask[2:7, 2:7] = True
    mask[4, 4] = False
    assert len(contours_of(mask)) == 2


def test_an_empty_mask_has_no_contour():
    assert contours_of(np.zeros((3, 3), bool)) == []


@pytest.mark.parametrize("n_holes", [1, 30])
def test_many_holes_hang_on_each_other(n_holes):
    mask = np.ones((2 * n_holes + 1, 3), bool)
    mask[1::2, 1] = False
    (contour,) = contours_of(mask)
    met, _ = ray_crossings(contour, mask.shape)
    np.testing.assert_array_equal(met % 2 == 1, mask)


@settings(max_examples=10)
@given(st.floats(2, 200))
def test_a_disc_takes_few_points(radius):
    i, j = np.indices((int(2 * radius) + 5,) * 2) - radius - 2
    mask = i**2 + j**2 < radius**2
    (contour,) = contours_of(mask)
    assert len(contour) <= 6 * radius + 8
