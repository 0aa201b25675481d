"""What is true of a fold and not of its data set is told before it is trained."""

from dataclasses import replace

import pytest

from medseg.core.errors import InputError
from medseg.core.labels import Labels
from medseg.data.contrast import Flattened
from medseg.data.splits import Fold
from medseg.train.cautions import flattened_cautions, fold_cautions, vanished_caution
from medseg.transforms.preprocessing import ChannelNormalisation

LABELS = Labels({"liver": (1,), "tumour": (2,), "organ": (1, 2)}, ignore=9)


def cautions(counts, train, validation):
    return list(fold_cautions(counts, LABELS, Fold(tuple(train), tuple(validation)), 3))


def test_a_fold_that_learns_and_tests_everything_needs_no_word():
    counts = {case: {0: 9, 1: 1, 2: 1} for case in "abc"}
    assert cautions(counts, "ab", "c") == []
    assert cautions(counts, "abc", "") == []


def test_a_label_that_only_validates_is_told_with_its_cases_and_its_fold():
    counts = {"a": {0: 9, 1: 1}, "b": {0: 9, 1: 1}, "c": {0: 9, 2: 3}, "d": {0: 9, 1: 2, 2: 1}}
    (text,) = cautions(counts, "ab", "cd")
    assert text.startswith("tumour occurs in no case that fold 3 trains on, only in c, d, which validate")
    assert "this model will not find it" in text


def test_a_label_in_no_case_at_all_is_told_elsewhere():
    assert cautions({"a": {0: 9, 1: 1}, "b": {0: 9, 1: 1}}, "a", "b") == []


def test_a_fold_that_would_learn_nothing_is_refused():
    with pytest.raises(InputError, match="only b, held out for validation. Choose another --fold"):
        cautions({"a": {0: 9}, "b": {0: 9, 1: 1, 2: 1}}, "a", "b")


def test_cases_that_are_ignored_as_a_whole_are_named_and_judge_nothing():
    counts = {"a": {0: 9, 1: 1, 2: 1}, "b": {9: 10}, "c": {9: 10}, "d": {0: 5, 9: 5}}
    trained, judged = cautions(counts, "ab", "cd")
    assert trained == "b is to be ignored as a whole: there is nothing to learn from it."
    assert judged == "c is to be ignored as a whole: left out of validation; 1 of 2 cases judge."
    (_, all_of_them) = cautions(counts, "ab", "c")
    assert "nothing will tell how good this model is" in all_of_them


def test_a_flattened_channel_is_told_where_the_plan_takes_a_z_score(plan):
    squeezed = Flattened(10.0, 1e30, 60.0, 150.0, 1e-27)
    (text,) = flattened_cautions({plan.channels[0]: {"c10": squeezed, "c2": squeezed}}, plan)
    assert text.startswith(f"{plan.channels[0]} of c2: values run from 10 to 1e+30, but nearly all lie between 60 and")
    assert "The same holds of c10." in text
    assert "plan.normalisation=percentile" in text
    clipped = plan.preprocessing.model_copy(
        update={"normalisation": (ChannelNormalisation(scheme="percentile"),) * len(plan.channels)}
    )
    percentile = plan.model_copy(update={"preprocessing": clipped})
    assert list(flattened_cautions({plan.channels[0]: {"c2": squeezed}}, percentile)) == []
    padded = replace(squeezed, by_percentiles=True)
    (text,) = flattened_cautions({plan.channels[0]: {"c2": squeezed, "c3": padded}}, percentile)
    assert "of c3" in text
    assert "plan.normalisation" not in text, "no remedy that does not help"


def test_labels_that_vanish_are_told_by_case_with_their_voxels(plan):
    vanished = {"lesion": {f"c{n}": n for n in range(1, 8)}}
    text = vanished_caution(vanished, {"lesion": 9}, plan)
    assert "lesion in 7 of the 9 training cases that have it: c1 (1 voxel), c2 (2 voxels)" in text
    assert "c5 (5 voxels) and 2 more" in text
    assert "finer plan.spacing_mm" in text
