"""Pictures keep proportions, colours and what is outlined."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from medseg.pages.pictures import RING_COLOUR, Layer, data_uri, drawn, grey_of
from tests.pages.reader import pixels_of

BLUE, AMBER = "#3fa9f5", "#ffb000"


def rgb(colour):
    return [int(colour[n : n + 2], 16) for n in (1, 3, 5)]


def where(pixels, colour):
    return (pixels == rgb(colour)).all(axis=2)


def test_a_png_in_a_page_holds_the_pixels():
    pixels = np.random.default_rng(0).integers(0, 256, (5, 7, 3), np.uint8)
    assert np.array_equal(pixels_of(data_uri(pixels)), pixels)


@given(st.integers(1, 60), st.integers(1, 60), st.floats(0.2, 5))
def test_a_picture_has_the_proportions_of_the_plane(rows, columns, aspect):
    height, width = drawn(np.zeros((rows, columns), np.uint8), (), aspect).shape[:2]
    assert abs(height - width * rows * aspect / columns) <= max(1, rows * aspect / columns)
    assert max(height, width) >= 260


def test_an_outline_is_where_the_mask_ends():
    mask = np.zeros((10, 10), bool)
    mask[2:8, 3:6] = True
    pixels = drawn(np.full((10, 10), 50, np.uint8), [Layer(mask, BLUE)], side=100)
    rows, columns = np.nonzero(where(pixels, BLUE))
    assert (rows.min(), rows.max(), columns.min(), columns.max()) == (20, 79, 30, 59)
    assert tuple(pixels[50, 45]) == (50, 50, 50)


def test_a_wide_line_shows_on_both_sides_of_a_narrow_one():
    mask = np.zeros((10, 10), bool)
    mask[2:8, 2:8] = True
    pixels = drawn(np.zeros((10, 10), np.uint8), [Layer(mask, BLUE, 3), Layer(mask, AMBER, 1)], side=100)
    assert where(pixels, AMBER)[50, 20]
    assert where(pixels, BLUE)[50, 19]
    assert where(pixels, BLUE)[50, 21]


def test_a_ring_is_around_its_pixel():
    pixels = drawn(np.zeros((10, 10), np.uint8), [], ring=(5, 2), side=200)
    rows, columns = np.nonzero(where(pixels, RING_COLOUR))
    assert abs(rows.mean() - 110) < 1
    assert abs(columns.mean() - 50) < 1


def test_grey_goes_from_black_to_white_whatever_the_values():
    grey = grey_of(np.linspace(-1000, 3000, 400).reshape(20, 20))
    assert grey.min() == 0
    assert grey.max() == 255
    assert not grey_of(np.full((3, 3), 7.0)).any()
    assert grey_of(np.array([[np.nan, 1.0], [2.0, 3.0]])).max() == 255
