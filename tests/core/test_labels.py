"""Label values: any integers with gaps are mapped to classes and back without loss."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from medseg.core.errors import InputError
from medseg.core.labels import Labels
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
