"""Boxes of voxels: by brute force, and what lies beyond an array is nothing."""

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from medseg.metrics.boxes import box_of, boxes_of, grown, moved, seen, start_of, union

SHAPE = (7, 6, 5)
ends = st.tuples(st.integers(-3, 9), st.integers(0, 6))
boxes = st.tuples(ends, ends, ends).map(lambda each: tuple(slice(a, a + n) for a, n in each))


def voxels(box):
    return {(i, j, k) for i in range(box[0].start, box[0].stop) for j in range(box[1].start, box[1].stop)
            for k in range(box[2].start, box[2].stop)}  # fmt: skip


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 10**6), st.sampled_from("CF"))
def test_the_box_of_a_value_is_the_smallest_that_holds_it(seed, order):
    array = np.random.default_rng(seed).choice([0, 0, 0, 0, 0, 0, 2, 5], SHAPE).astype(np.uint16)
    array[:2] = 0
    found = boxes_of(np.asarray(array, order=order))
    assert set(found) == set(np.unique(array)) - {0}
    for value, box in found.items():
        places = np.argwhere(array == value)
        assert start_of(box) == tuple(places.min(axis=0))
        assert tuple(side.stop for side in box) == tuple(places.max(axis=0) + 1)
    assert box_of(array > 0) == (union(found.values()) if found else None)


@settings(max_examples=60, deadline=None)
@given(boxes, st.tuples(*[st.integers(-4, 8)] * 3))
def test_what_is_seen_in_a_box_is_the_array_voxel_by_voxel_and_nothing_beyond(box, start):
    array = np.arange(1, 211, dtype=np.int32).reshape(SHAPE)
    found = seen(array, start, box)
    assert found.dtype == array.dtype
    for place in voxels(box):
        inside = tuple(np.subtract(place, start))
        wanted = array[inside] if all(0 <= a < n for a, n in zip(inside, SHAPE, strict=True)) else 0
        assert found[tuple(np.subtract(place, start_of(box)))] == wanted


def test_boxes_grow_as_far_as_the_grid_reaches_and_move_beyond_it():
    box = (slice(1, 3), slice(0, 2), slice(3, 5))
    assert grown(box, (2, 1, 1), SHAPE) == (slice(0, 5), slice(0, 3), slice(2, 5))
    assert moved(box, (-2, 0, 4)) == (slice(-1, 1), slice(0, 2), slice(7, 9))
