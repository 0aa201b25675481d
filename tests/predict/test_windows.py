import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from medseg.core.errors import PlanError
from medseg.predict.windows import LEAST_WEIGHT, Tile, blend_window, pad_to, tiles, window_box

overlaps = st.floats(0, 0.9)


@st.composite
def boxes(draw, largest=12):
    """A volume's shape and a window that fits into it."""
    box = tuple(draw(st.integers(1, largest)) for _ in range(3))
    return tuple(side + draw(st.integers(0, largest)) for side in box), box


def starts(size, side, overlap):
    return [tile.start[0] for tile in tiles((size, 1, 1), (side, 1, 1), overlap)]


@given(boxes(), overlaps)
def test_a_constant_prediction_blends_back_to_the_constant(shape_box, overlap):
    shape, box = shape_box
    window, sums, weights = blend_window(box), np.zeros(shape), np.zeros(shape)
    for tile in tiles(shape, box, overlap):
        sums[tile.slices] += 0.7 * window
        weights[tile.slices] += window
    assert weights.min() >= LEAST_WEIGHT * 0.999
    np.testing.assert_allclose(sums / weights, 0.7, rtol=1e-6)


@given(boxes(), overlaps)
def test_tiles_have_the_size_of_the_window_lie_inside_and_come_in_order(shape_box, overlap):
    shape, box = shape_box
    placed = tiles(shape, box, overlap)
    for tile in placed:
        assert tuple(b - a for a, b in zip(tile.start, tile.stop, strict=True)) == box
        assert all(a >= 0 and b <= n for a, b, n in zip(tile.start, tile.stop, shape, strict=True))
    assert [tile.start for tile in placed] == sorted({tile.start for tile in placed})


@given(side=st.integers(1, 60), extra=st.integers(0, 200), overlap=overlaps)
def test_neighbours_share_at_least_the_overlap(side, extra, overlap):
    places = starts(side + extra, side, overlap)
    steps = np.diff(places)
    # One voxel is the smallest step, whatever the overlap asked for.
    assert all(step <= max(1, side * (1 - overlap)) for step in steps)
    assert len(set(steps)) <= 2


@pytest.mark.parametrize(
    ("size", "expected"), [(10, [0]), (11, [0, 1]), (15, [0, 5]), (20, [0, 5, 10]), (23, [0, 4, 9, 13])]
)
def test_starts_along_an_axis_for_a_window_of_10_and_half_overlap(size, expected):
    assert starts(size, 10, 0.5) == expected


def test_a_tile_is_an_index():
    array = np.arange(60).reshape(3, 4, 5)
    np.testing.assert_array_equal(array[Tile((1, 0, 2), (3, 2, 4)).slices], array[1:3, 0:2, 2:4])


def test_a_window_larger_than_the_volume_says_what_to_do():
    with pytest.raises(PlanError, match=r"window of \(8, 8, 8\) does not fit into a volume of \(8, 7, 8\).*pad"):
        tiles((8, 7, 8), (8, 8, 8))


@pytest.mark.parametrize("overlap", [-0.1, 1.0, float("nan")])
def test_an_overlap_that_is_no_share_is_refused(overlap):
    with pytest.raises(PlanError, match="share"):
        tiles((8, 8, 8), (4, 4, 4), overlap)


@given(boxes())
def test_weights_are_symmetric_and_largest_at_the_centre(shape_box):
    window = blend_window(shape_box[1])
    for axis in range(3):
        np.testing.assert_array_equal(window, np.flip(window, axis))
    assert window.dtype == np.float32
    assert window.min() >= LEAST_WEIGHT * 0.999
    assert window.max() == window[tuple(n // 2 for n in window.shape)] <= 1


def test_a_weight_by_hand():
    # Window of 8, sigma 1: the centre is at 3.5, voxel 2 lies 1.5 away.
    assert blend_window((8, 1, 1))[2, 0, 0] == pytest.approx(np.exp(-(1.5**2) / 2))


@pytest.mark.parametrize(("slice_axis", "box"), [(0, (1, 7, 5)), (1, (7, 1, 5)), (2, (7, 5, 1))])
def test_a_window_of_a_2d_plan_is_one_voxel_thick(slice_axis, box):
    assert window_box((7, 5), slice_axis) == box


@given(boxes(), st.tuples(*[st.integers(1, 14)] * 3))
def test_padding_centres_the_image_among_zeros(shape_box, box):
    array = np.random.default_rng(0).uniform(1, 2, (2, *shape_box[0]))
    padded, inside = pad_to(array, box)
    assert padded.shape == (2, *(max(n, side) for n, side in zip(shape_box[0], box, strict=True)))
    np.testing.assert_array_equal(padded[(..., *inside)], array)
    assert np.count_nonzero(padded) == array.size
    for part, n, side in zip(inside, padded.shape[1:], shape_box[0], strict=True):
        assert 0 <= (n - part.stop) - part.start <= 1 or n == side


def test_an_image_that_needs_no_padding_is_not_copied():
    array = np.zeros((1, 5, 5, 5))
    assert pad_to(array, (5, 4, 1))[0] is array
