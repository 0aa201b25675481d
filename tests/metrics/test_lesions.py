"""Lesions one by one: counted by hand, by brute force, and by the text of the BraTS 2023 evaluation."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import ndimage

from medseg.core.errors import UsageError
from medseg.core.geometry import Geometry
from medseg.metrics import boundary_of, surface_distances
from medseg.metrics.lesions import (
    BRATS_2023,
    LesionWiseRule,
    detection,
    lesion_wise,
    lesions_of,
    panoptic_quality,
)

GRID = Geometry.from_spacing((12, 10, 8), (1, 1, 2))


def specks(seed, share, grown):
    """A mask of random specks, some of them grown to lesions."""
    mask = np.random.default_rng(seed).random((12, 10, 8)) < share
    return ndimage.binary_dilation(mask) if grown else mask


sparse = st.builds(specks, st.integers(0, 10**6), st.sampled_from([0, 0.003, 0.01, 0.05]), st.booleans())


def boxes(*places, shape=(12, 10, 8)):
    mask = np.zeros(shape, bool)
    for place in places:
        mask[place] = True
    return mask


A = np.s_[1:4, 1:4, 1:4]
B = np.s_[7:10, 1:4, 1:4]
C = np.s_[7:10, 6:9, 4:7]


def test_voxels_that_touch_at_a_corner_are_one_lesion_of_26_neighbours_and_two_of_18():
    mask = boxes(np.s_[2, 2, 2], np.s_[3, 3, 3])
    assert [len(lesions_of(mask, connectivity=c)) for c in (6, 18, 26)] == [2, 2, 1]
    with pytest.raises(UsageError, match="6, 18 or 26"):
        lesions_of(mask, connectivity=8)


def test_an_empty_mask_has_no_lesion():
    nothing, some = lesions_of(boxes()), lesions_of(boxes(A))
    assert len(nothing) == 0
    assert (detection(some, nothing).f1, detection(nothing, some).f1) == (0, 0)
    assert np.isnan(detection(nothing, nothing).f1)
    assert (panoptic_quality(some, nothing).quality, panoptic_quality(nothing, some).quality) == (0, 0)
    assert np.isnan(panoptic_quality(nothing, nothing).quality)


def test_one_found_one_missed_one_spurious():
    found = detection(lesions_of(boxes(A, B)), lesions_of(boxes(np.s_[3:5, 1:4, 1:4], C)))
    assert (found.found, found.missed, found.right, found.spurious) == (1, 1, 1, 1)
    assert (found.recall, found.precision, found.f1) == (0.5, 0.5, 0.5)


def test_with_a_threshold_a_lesion_counts_only_if_it_is_covered_enough():
    # 9 voxels shared of 27 + 18 − 9 = 36: an IoU of a quarter.
    reference, predicted = lesions_of(boxes(A)), lesions_of(boxes(np.s_[3:5, 1:4, 1:4]))
    assert detection(reference, predicted, iou=0.25).recall == 1
    assert detection(reference, predicted, iou=0.26).recall == 0


def test_panoptic_quality_by_hand():
    # A is matched with 18 of 27 voxels, B missed (an IoU of exactly a half is not above it), C spurious.
    reference = boxes(A, np.s_[7:9, 1:3, 1:2])
    predicted = boxes(np.s_[1:3, 1:4, 1:4], np.s_[7:8, 1:3, 1:2], C)
    found = panoptic_quality(lesions_of(reference), lesions_of(predicted))
    assert (found.matched, found.missed, found.spurious) == (1, 1, 2)
    assert found.segmentation == pytest.approx(18 / 27)
    assert found.recognition == pytest.approx(1 / 2.5)
    assert found.quality == pytest.approx(18 / 27 / 2.5)


@settings(max_examples=40, deadline=None)
@given(sparse, sparse, st.sampled_from([6, 18, 26]))
def test_pairs_of_lesions_are_those_of_brute_force(reference, predicted, connectivity):
    rank = {6: 1, 18: 2, 26: 3}[connectivity]
    theirs, n = ndimage.label(reference, ndimage.generate_binary_structure(3, rank))
    ours, m = ndimage.label(predicted, ndimage.generate_binary_structure(3, rank))
    iou = np.array([[((theirs == r) & (ours == p)).sum() / ((theirs == r) | (ours == p)).sum()
                     for p in range(1, m + 1)] for r in range(1, n + 1)]).reshape(n, m)  # fmt: skip
    sides = lesions_of(reference, connectivity=connectivity), lesions_of(predicted, connectivity=connectivity)
    found = detection(*sides)
    assert (found.found, found.right) == ((iou > 0).any(axis=1).sum(), (iou > 0).any(axis=0).sum())
    assert (found.found + found.missed, found.right + found.spurious) == (n, m)
    quality = panoptic_quality(*sides)
    assert quality.matched == (iou > 0.5).sum()
    assert quality.sum_iou == pytest.approx(iou[iou > 0.5].sum())


def brats_2023(reference, predicted, grid, rule):
    """The evaluation of the challenge as its code reads, lesion by lesion on whole arrays; medseg's HD95."""
    ball, all_round = ndimage.generate_binary_structure(3, 2), np.ones((3, 3, 3))
    dilated, n = ndimage.label(ndimage.binary_dilation(reference, ball, iterations=rule.dilations), all_round)
    lesions = dilated * reference
    ours, m = ndimage.label(predicted, all_round)
    dice, hd95, hits = [], [], set()
    for number in range(1, n + 1):
        lesion = lesions == number
        around = ndimage.binary_dilation(lesion, ball, iterations=rule.dilations)
        touching = set(np.unique(ours[around])) - {0}
        hits |= touching
        if lesion.sum() * grid.voxel_volume_ml * 1000 <= rule.smallest_mm3:
            continue
        its = np.isin(ours, list(touching))
        dice.append(2 * (its & lesion).sum() / (its.sum() + lesion.sum()) if touching else 0)
        distances = surface_distances(boundary_of(lesion, grid), boundary_of(its, grid))
        hd95.append(distances.hd95_mm() if touching else 374)
    spurious = m - len(hits)
    count = len(dice) + spurious
    return (sum(dice) / count, (sum(hd95) + 374 * spurious) / count) if count else (1, 0)


@settings(max_examples=30, deadline=None)
@given(sparse, sparse, st.sampled_from([1, 3]), st.sampled_from([0, 2, 6]))
def test_lesion_wise_metrics_are_those_of_the_challenge(reference, predicted, dilations, smallest_mm3):
    rule = LesionWiseRule("test", dilations, smallest_mm3)
    found = lesion_wise(reference, predicted, GRID, rule)
    assert (found.dice, found.hd95_mm) == pytest.approx(brats_2023(reference, predicted, GRID, rule))


def test_a_missed_and_a_spurious_lesion_count_as_the_diagonal():
    shape, grid = (40, 12, 12), Geometry.from_spacing((40, 12, 12))
    reference = boxes(np.s_[1:6, 1:6, 1:6], np.s_[16:21, 1:6, 1:6], shape=shape)
    predicted = boxes(np.s_[1:6, 1:6, 1:6], np.s_[33:36, 1:6, 1:6], shape=shape)
    found = lesion_wise(reference, predicted, grid, BRATS_2023["gli"])
    assert (found.n_reference, found.n_missed, found.n_spurious) == (2, 1, 1)
    assert found.dice == pytest.approx(1 / 3)
    assert found.hd95_mm == pytest.approx(2 * 374 / 3)


def test_lesions_that_are_too_small_are_left_out_and_what_found_them_is_not_spurious():
    reference = boxes(np.s_[1:3, 1:3, 1:3])  # 16 mm³
    found = lesion_wise(reference, reference, GRID, BRATS_2023["gli"])
    assert (found.n_reference, found.n_spurious, found.dice, found.hd95_mm) == (0, 0, 1, 0)


def test_empty_masks_are_perfect_when_both_and_worst_when_one():
    rule = BRATS_2023["met"]
    assert lesion_wise(boxes(), boxes(), GRID, rule).dice == 1
    assert lesion_wise(boxes(A), boxes(), GRID, rule).hd95_mm == 374
    assert lesion_wise(boxes(), boxes(A), GRID, rule).dice == 0
