"""Structures painted in any order become one map: every voxel carries exactly the names that were painted on it."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as npst

from medseg.core.errors import InputError
from medseg.core.structures import Structures

SHAPE = (4, 3, 5)
MASKS = st.lists(npst.arrays(bool, SHAPE), min_size=1, max_size=5)


@given(MASKS, st.data())
def test_every_voxel_carries_the_names_painted_on_it_whatever_the_order(masks, data):
    names = [f"s{n}" for n in range(len(masks))]
    structures = Structures(SHAPE, names)
    planes = [(n, k) for n in range(len(masks)) for k in range(SHAPE[2])]
    for n, k in data.draw(st.permutations(planes)):
        structures.paint(names[n], masks[n][..., k], (slice(None), slice(None), k))
    array, labels = structures.finish()
    assert labels.names == tuple(names)
    for name, mask in zip(names, masks, strict=True):
        np.testing.assert_array_equal(labels.mask(array, name), mask)


@given(MASKS)
def test_the_first_in_the_order_given_wins(masks):
    names = [f"s{n}" for n in range(len(masks))]
    structures = Structures(SHAPE, names, ",".join(reversed(names)).upper())
    for name, mask in zip(names, masks, strict=True):
        structures.paint(name, mask)
    array, labels = structures.finish()
    # Painted one over the other, the last one stays on top.
    expected = np.zeros(SHAPE, int)
    for n, mask in enumerate(masks, start=1):
        expected[mask] = n
    np.testing.assert_array_equal(array, expected)
    assert labels.to_json() == {name: n for n, name in enumerate(names, start=1)}


def test_values_follow_the_names_and_combinations_come_after():
    structures = Structures((5, 1, 1), ["liver", "tumour", "cyst"])
    structures.paint("tumour", np.array([0, 0, 1, 1, 0], bool).reshape(5, 1, 1))
    structures.paint("liver", np.array([0, 1, 1, 0, 0], bool).reshape(5, 1, 1))
    array, labels = structures.finish()
    assert array.ravel().tolist() == [0, 1, 4, 2, 0]
    assert labels.to_json() == {"liver": [1, 4], "tumour": [2, 4], "cyst": 3}
    assert array.dtype == np.uint8


def test_a_structure_that_lies_within_another_has_no_value_alone():
    structures = Structures((3, 1, 1), ["whole", "core"])
    structures.paint("whole", np.array([1, 1, 0], bool).reshape(3, 1, 1))
    structures.paint("core", np.array([1, 0, 0], bool).reshape(3, 1, 1))
    assert structures.finish()[1].to_json() == {"whole": [1, 3], "core": 3}


def test_overlaps_are_refused_with_both_names_the_count_and_the_remedy():
    structures = Structures((4, 1, 1), overlaps="refuse")
    structures.paint("liver", np.ones((4, 1, 1), bool))
    structures.paint("tumour", np.ones((2, 1, 1), bool), (slice(2),))
    with pytest.raises(InputError, match=r"'liver' and 'tumour' overlap in 2 voxels; --read overlaps=liver,tumour"):
        structures.finish()


def test_an_order_that_leaves_two_structures_unsettled_is_refused():
    structures = Structures((2, 1, 1), overlaps="cyst")
    for name in ("liver", "tumour", "cyst"):
        structures.paint(name, np.ones((1, 1, 1), bool), (slice(1),))
    array, labels = structures.finish()
    assert labels.combination(int(array[0, 0, 0])) == {"cyst"}
    for name in ("liver", "tumour"):
        structures.paint(name, np.ones((1, 1, 1), bool), (slice(1, 2),))
    with pytest.raises(InputError, match="'liver' and 'tumour' overlap in 1 voxels"):
        structures.finish()


def test_more_than_255_combinations_need_two_bytes():
    structures = Structures((300, 1, 1))
    for n in range(300):
        structures.paint(f"s{n}", np.ones((1, 1), bool), (n,))
    array, labels = structures.finish()
    assert array.dtype == np.uint16
    assert array.ravel().tolist() == list(range(1, 301))
    assert len(labels.names) == 300


def test_254_structures_over_each_other_are_one_map():
    structures = Structures((255, 1, 1))
    for n in range(254):
        structures.paint(f"s{n}", np.ones((n + 1, 1, 1), bool), (slice(n + 1),))
    array, labels = structures.finish()
    for n in (0, 100, 253):
        assert np.count_nonzero(labels.mask(array, f"s{n}")) == n + 1
