"""Counts of voxels against loops, sets and SimpleITK, and what each formula leaves undefined."""

from math import isnan

import numpy as np
import pytest
import SimpleITK as sitk  # noqa: N813
from hypothesis import assume, given
from hypothesis import strategies as st

from medseg.core.errors import InputError
from medseg.metrics import confusion
from tests.strategies import label_arrays, shapes

VALUES = (0, 1, 2, 5, 255)


@st.composite
def pairs(draw, values=VALUES, dtype=np.uint8):
    shape = draw(shapes(1, 6))
    return draw(label_arrays(shape, values, dtype)), draw(label_arrays(shape, values, dtype))


@given(pairs())
def test_every_cell_is_the_number_of_voxels_with_that_pair_of_values(pair):
    reference, predicted = pair
    counted = confusion(reference, predicted)
    for row, r in enumerate(counted.values):
        for column, p in enumerate(counted.values):
            assert counted.counts[row, column] == np.count_nonzero((reference == r) & (predicted == p))
    assert counted.counts.sum() == reference.size


@given(pairs(), st.sets(st.sampled_from([1, 2, 5, 255, 7]), min_size=1))
def test_a_label_or_region_has_the_counts_of_its_mask(pair, values):
    reference, predicted = (np.isin(array, list(values)) for array in pair)
    found = confusion(*pair).overlap(values)
    assert found.true_positive == np.count_nonzero(reference & predicted)
    assert found.false_positive == np.count_nonzero(~reference & predicted)
    assert found.false_negative == np.count_nonzero(reference & ~predicted)
    assert found.true_negative == np.count_nonzero(~reference & ~predicted)


@given(pairs())
def test_voxels_to_ignore_count_nowhere(pair):
    reference, predicted = pair
    judged = reference != 255
    found = confusion(reference, predicted, ignore=255)
    without = confusion(reference[judged], predicted[judged])
    assert found.n_ignored == np.count_nonzero(~judged)
    for value in (1, 2, 5):
        assert found.overlap([value]) == without.overlap([value])


@given(pairs(values=(0, 3, 700, 65_535), dtype=np.uint16), st.sampled_from("CF"), st.sampled_from("CF"))
def test_large_values_and_any_order_in_memory_give_the_same_counts(pair, first_order, second_order):
    reference, predicted = np.asarray(pair[0], order=first_order), np.asarray(pair[1], order=second_order)
    found = confusion(reference, predicted)
    for value in (3, 700, 65_535):
        assert found.overlap([value]).true_positive == np.count_nonzero((pair[0] == value) & (pair[1] == value))


def test_maps_of_more_than_one_chunk_are_counted_whole():
    generator = np.random.default_rng(0)
    reference, predicted = generator.integers(0, 4, (2, 70, 60, 50)).astype(np.uint8)
    found = confusion(reference, predicted)
    assert found.counts.sum() == reference.size
    assert found.overlap([3]).true_positive == np.count_nonzero((reference == 3) & (predicted == 3))


@given(pairs(values=(0, 1)))
def test_overlap_and_volumes_agree_with_simpleitk(pair):
    reference, predicted = pair
    assume(reference.any() and predicted.any())
    oracle = sitk.LabelOverlapMeasuresImageFilter()
    oracle.Execute(sitk.GetImageFromArray(predicted), sitk.GetImageFromArray(reference))
    found = confusion(reference, predicted).overlap([1])
    assert found.dice == pytest.approx(oracle.GetDiceCoefficient(), abs=1e-12)
    assert found.iou == pytest.approx(oracle.GetJaccardCoefficient(), abs=1e-12)
    # ITK's is signed and divides by the mean of both volumes.
    ours = 2 * (found.n_predicted - found.n_reference) / (found.n_reference + found.n_predicted)
    assert ours == pytest.approx(oracle.GetVolumeSimilarity(), abs=1e-12)
    assert 1 - found.recall == pytest.approx(oracle.GetFalseNegativeError(), abs=1e-12)


@given(pairs(values=(0, 1)))
def test_dice_and_iou_are_one_number_in_two_forms(pair):
    found = confusion(*pair).overlap([1])
    assume(not isnan(found.dice))
    assert found.iou == pytest.approx(found.dice / (2 - found.dice))


@given(pairs(values=(0, 1)))
def test_swapping_the_maps_swaps_precision_and_recall_and_keeps_dice(pair):
    there, back = confusion(*pair).overlap([1]), confusion(*reversed(pair)).overlap([1])
    assert (there.dice, there.iou) == pytest.approx((back.dice, back.iou), nan_ok=True)
    assert there.precision == pytest.approx(back.recall, nan_ok=True)
    assert there.volume_error_ml(0.5) == -back.volume_error_ml(0.5)


def test_a_pair_worked_out_by_hand():
    reference = np.array([1, 1, 1, 1, 0, 0, 0, 0])
    predicted = np.array([0, 1, 1, 1, 1, 1, 0, 0])
    found = confusion(reference, predicted).overlap([1])
    assert found.dice == pytest.approx(6 / 9)
    assert found.iou == pytest.approx(3 / 6)
    assert found.precision == pytest.approx(3 / 5)
    assert found.recall == pytest.approx(3 / 4)
    assert found.specificity == pytest.approx(2 / 4)
    assert found.volume_similarity == pytest.approx(1 - 1 / 9)
    assert found.volume_error_ml(0.002) == pytest.approx(0.002)
    assert found.volume_error_percent == pytest.approx(25)


def test_what_a_formula_leaves_undefined_is_nan_and_nothing_else_is():
    empty, full = np.zeros(4, np.uint8), np.array([0, 0, 1, 1], np.uint8)
    both_empty = confusion(empty, empty).overlap([1])
    undefined = ("dice", "iou", "precision", "recall", "volume_similarity", "volume_error_percent")
    assert all(isnan(getattr(both_empty, name)) for name in undefined)
    assert both_empty.specificity == 1
    missed = confusion(full, empty).overlap([1])
    assert isnan(missed.precision)
    assert (missed.dice, missed.recall, missed.volume_error_percent) == (0, 0, -100)
    false_alarm = confusion(empty, full).overlap([1])
    assert isnan(false_alarm.recall)
    assert isnan(false_alarm.volume_error_percent)
    assert (false_alarm.dice, false_alarm.precision, false_alarm.specificity) == (0, 0, 0.5)


def test_unequal_shapes_and_negative_values_are_refused_by_name():
    with pytest.raises(InputError, match=r"\(2,\).*\(3,\)"):
        confusion(np.zeros(2, int), np.zeros(3, int))
    with pytest.raises(InputError, match="-1"):
        confusion(np.array([-1]), np.array([0]))
