"""Label values: any integers with gaps are mapped to classes and back without loss."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from medseg.core.errors import InputError
from medseg.core.labels import Labels, translated, union
from tests.strategies import label_arrays, named_labels


@given(named_labels(), st.data())
def test_values_come_back_from_classes(labels, data):
    array = data.draw(label_arrays((3, 4, 2), labels.classes, np.uint16))
    classes = labels.to_classes(array)
    assert classes.max() < len(labels.classes)
    np.testing.assert_array_equal(labels.from_classes(classes), array)


@given(named_labels(regions=False), st.data())
def test_class_k_is_the_kth_value_in_ascending_order(labels, data):
    array = data.draw(label_arrays((2, 3, 4), labels.classes, np.uint16))
    expected = np.vectorize(sorted(labels.classes).index)(array)
    np.testing.assert_array_equal(labels.to_classes(array), expected)


def test_the_ignore_value_becomes_255_whatever_it_was():
    labels = Labels({"a": (2,), "b": (9,)}, ignore=7)
    np.testing.assert_array_equal(labels.to_classes(np.array([0, 2, 9, 7])), [0, 1, 2, 255])


def test_a_value_that_no_label_declares_is_refused_with_its_count():
    labels = Labels({"liver": (1,)})
    with pytest.raises(InputError, match=r"3 \(2 voxels\)"):
        labels.to_classes(np.array([0, 1, 3, 3]))
    assert labels.unknown_in(np.array([0, 1, 3, 3])) == {3: 2}


def test_as_many_labels_can_be_learnt_as_a_byte_tells_apart():
    labels = Labels.from_values(range(1, 255))
    array = np.arange(255, dtype=np.uint16)
    np.testing.assert_array_equal(labels.from_classes(labels.to_classes(array)), array)
    with pytest.raises(InputError, match="There are 255 label values; medseg learns at most 254"):
        Labels.from_values(range(1, 256)).to_classes(array)


@given(named_labels())
def test_json_gives_the_labels_back(labels):
    assert Labels.from_json(labels.to_json(), labels.ignore) == labels
    assert hash(Labels.from_json(labels.to_json(), labels.ignore)) == hash(labels)


def test_a_region_is_the_union_of_its_values():
    brats = Labels({"oedema": (2,), "whole tumour": (1, 2, 4)})
    array = np.array([0, 1, 2, 4, 3])
    np.testing.assert_array_equal(brats.mask(array, "whole tumour"), [False, True, True, True, False])
    np.testing.assert_array_equal(brats.mask(array, "oedema"), [False, False, True, False, False])
    assert brats.classes == (0, 1, 2, 4)
    assert brats.has_regions


def test_a_class_is_called_by_its_label_else_by_the_smallest_region_around_it():
    brats = Labels({"core": (1, 4), "whole tumour": (1, 2, 4), "enhancing": (4,)})
    assert brats.name_of(4) == "enhancing"
    assert brats.name_of(1) == "core (1)"
    assert brats.name_of(2) == "whole tumour (2)"
    assert brats.name_of(0) == "background"


def test_labels_without_names_are_called_by_their_values():
    assert Labels.from_values([5, 0, 2, 5]).names == ("label 2", "label 5")


@pytest.mark.parametrize(
    ("values", "ignore", "sentence"),
    [
        ({"a": (0,)}, None, "must lie in 1"),
        ({"a": (65_536,)}, None, "must lie in 1"),
        ({"a": ()}, None, "must lie in 1"),
        ({"a": (3,)}, 3, "also the value to ignore"),
    ],
)
def test_impossible_labels_are_refused(values, ignore, sentence):
    with pytest.raises(InputError, match=sentence):
        Labels(values, ignore)


def test_a_combination_is_the_names_that_carry_a_value():
    labels = Labels({"liver": (1, 3), "tumour": (2, 3)})
    assert labels.combination(3) == {"liver", "tumour"}
    assert labels.combination(2) == {"tumour"}
    assert labels.combination(0) == labels.combination(9) == frozenset()


def test_numberings_that_agree_are_kept():
    first, second = Labels({"liver": (5,)}), Labels({"spleen": (2,), "Liver": (5,)})
    assert union([first]) == first
    assert union([first, second]).to_json() == {"liver": 5, "spleen": 2}


def test_numberings_that_contradict_are_made_anew_by_names():
    first, second = Labels({"liver": (1,)}), Labels({"spleen": (1, 3), "liver": (2, 3)})
    assert union([first, second]).to_json() == {"liver": [1, 3], "spleen": [2, 3]}


def test_a_name_that_never_stands_alone_takes_no_value_of_its_own():
    nested, other = Labels({"whole": (1, 2), "core": (2,)}), Labels({"whole": (3,)})
    assert union([nested, other]).to_json() == {"whole": [1, 3], "core": 3}


def test_the_value_to_ignore_never_meets_a_label():
    merged = union([Labels({"a": (1,)}, ignore=2), Labels({"b": (1,), "c": (2,)})])
    assert merged == Labels({"a": (1,), "b": (2,), "c": (3,)}, ignore=4)


NAMES = ("liver", "tumour", "vein", "cyst")


@st.composite
def overlapping_labels(draw):
    """Labels of some of the names, in which some combinations occur, numbered at random."""
    names = draw(st.lists(st.sampled_from(NAMES), min_size=1, unique=True))
    together = draw(st.lists(st.frozensets(st.sampled_from(names), min_size=2), unique=True)) if len(names) > 1 else []
    alone = [frozenset({name}) for name in names]
    values = draw(st.permutations(range(1, len(alone + together) + 4)))
    numbered = dict(zip(alone + together, values, strict=False))
    return Labels({name: tuple(v for c, v in numbered.items() if name in c) for name in names})


@given(st.lists(overlapping_labels(), min_size=1, max_size=4), st.data())
def test_a_map_translated_to_the_union_names_every_voxel_as_before(many, data):
    merged = union(many)
    for own in many:
        array = data.draw(label_arrays((3, 2, 2), own.classes, np.uint16))
        moved = translated(array, own, merged)
        assert [merged.combination(v) for v in moved.ravel()] == [own.combination(v) for v in array.ravel()]
        np.testing.assert_array_equal(translated(moved, merged, own), array)


@given(st.lists(overlapping_labels(), min_size=2, max_size=4))
def test_the_order_of_cases_decides_the_order_of_names_and_nothing_else(many):
    def occurring(labels):
        return {labels.combination(value) for value in labels.classes}

    forwards, backwards = union(many), union(many[::-1])
    assert occurring(forwards) == occurring(backwards)
    assert union([forwards, *many]) == forwards


def test_a_combination_that_is_not_known_is_refused_by_names_and_count():
    own, target = Labels({"liver": (1, 3), "tumour": (2, 3)}), Labels({"liver": (1,), "tumour": (2,)})
    with pytest.raises(InputError, match=r"'liver' with 'tumour' \(2 voxels\)"):
        translated(np.array([0, 1, 3, 3]), own, target)
    with pytest.raises(InputError, match=r"the value 7 \(1 voxels\)"):
        translated(np.array([7, 1]), own, target)


def test_structures_that_nobody_asked_for_can_be_dropped():
    own, target = Labels({"liver": (1, 3), "body": (2, 3)}), Labels({"Liver": (9,)})
    np.testing.assert_array_equal(translated(np.array([0, 1, 2, 3]), own, target, drop_others=True), [0, 9, 0, 9])


def test_what_is_to_be_ignored_stays_so_in_other_numbers():
    own, target = Labels({"a": (1,)}, ignore=4), Labels({"a": (2,)}, ignore=300)
    np.testing.assert_array_equal(translated(np.array([0, 1, 4]), own, target), [0, 2, 300])
    with pytest.raises(InputError, match=r"the value to ignore \(1 voxels\)"):
        translated(np.array([4]), own, Labels({"a": (2,)}))


def test_regions_of_the_target_that_the_file_does_not_name_are_filled_by_their_parts():
    target = Labels({"liver": (4,), "abdomen": (4, 7), "spleen": (7,)})
    own = Labels({"spleen": (1,), "liver": (2,)})
    np.testing.assert_array_equal(translated(np.array([0, 1, 2]), own, target), [0, 7, 4])
    with pytest.raises(InputError, match=r"'abdomen' \(1 voxels\)"):
        translated(np.array([1]), Labels({"abdomen": (1,)}), target)
