"""BIDS trees without label maps are predicted as those with label maps are trained on."""

import numpy as np
import pytest

from medseg import io
from medseg.config.schema import DataConfig
from medseg.core.errors import InputError
from medseg.data.cases import read_image
from medseg.data.inputs import find_cases, find_inputs
from medseg.data.layouts import open_dataset
from tests.data.folders import image, put_image, put_labels


def put(root, start, **suffixes):
    """Images of one examination: seed by suffix, in sub-…/ses-…/anat."""
    folder = root.joinpath(*(part for part in start.split("_") if part[:4] in ("sub-", "ses-")), "anat")
    for suffix, seed in suffixes.items():
        put_image(folder / f"{start}_{suffix}.nii.gz", seed=seed)
    return folder


def found(path, *channels):
    return {case.id: [each.name for each in case.images] for case in find_cases([path], channels)}


@pytest.mark.parametrize(
    "starts", [("sub-01", "sub-02"), ("sub-01_ses-1", "sub-01_ses-2"), ("sub-01_run-1", "sub-01_run-2")]
)
def test_a_model_takes_the_image_that_its_channel_is_called_after(tmp_path, starts):
    for start in starts:
        put(tmp_path, start, T1w=0, FLAIR=1)
    assert found(tmp_path, "T1w") == {start: [f"{start}_T1w.nii.gz"] for start in starts}
    assert found(tmp_path, "flair") == {start: [f"{start}_FLAIR.nii.gz"] for start in starts}
    assert find_inputs([tmp_path], ("T1w",)).remarks == [
        "Images that are no channel of the model were left out: 2 × FLAIR."
    ]


def test_ids_are_the_same_from_wherever_in_the_tree_and_as_in_training(tmp_path):
    places = [put(tmp_path, start, T1w=0) for start in ("sub-01_ses-1", "sub-02_ses-1")]
    unlabelled = list(found(tmp_path, "T1w"))
    assert [name for place in places for name in found(place, "T1w")] == unlabelled
    assert [name for place in places for name in found(place.parents[1], "T1w")] == unlabelled
    assert list(found(places[0] / "sub-01_ses-1_T1w.nii.gz", "T1w")) == unlabelled[:1]
    for start in ("sub-01_ses-1", "sub-02_ses-1"):
        put_labels(tmp_path / "derivatives/manual" / start.replace("_", "/") / f"anat/{start}_dseg.nii.gz")
    dataset = open_dataset(tmp_path, DataConfig())
    assert (dataset.layout, list(dataset.ids), dataset.channels) == ("bids", unlabelled, ("T1w",))
    assert list(found(tmp_path, "T1w")) == unlabelled


def test_subjects_without_a_label_map_are_predicted_beside_those_with_one(tmp_path):
    for start in ("sub-01", "sub-02"):
        put(tmp_path, start, T1w=0)
    put_labels(tmp_path / "derivatives/manual/sub-01/anat/sub-01_dseg.nii.gz")
    assert list(found(tmp_path, "T1w")) == ["sub-01", "sub-02"]


def test_channels_go_in_by_their_suffixes_and_an_examination_that_lacks_one_fails_by_name(tmp_path):
    put(tmp_path, "sub-01", T1w=0, FLAIR=1, T2w=2)
    put(tmp_path, "sub-02", T1w=0)
    put(tmp_path, "sub-03_acq-fast", T1w=0)
    put(tmp_path, "sub-03", FLAIR=1)
    inputs = find_inputs([tmp_path], ("T1w", "FLAIR"))
    assert [case.id for case in inputs.cases] == ["sub-01", "sub-03"]
    for case in inputs.cases:
        expected = np.concatenate([image(seed=seed).array for seed in (0, 1)])
        np.testing.assert_array_equal(read_image(case, io.ReadOptions()).array, expected)
    (problem,) = inputs.problems
    assert (problem.id, "FLAIR is missing" in problem.reason) == ("sub-02", True)
    assert not any("no names for the channels" in remark for remark in inputs.remarks)


def test_a_model_without_names_takes_every_image_and_other_names_are_refused_with_what_helps(tmp_path):
    put(tmp_path, "sub-01", T1w=0, FLAIR=1)
    assert sorted(found(tmp_path, "image")) == ["sub-01_FLAIR", "sub-01_T1w"]
    with pytest.raises(InputError, match=r"holds FLAIR, T1w, and the model has 1 channel \(CT\).*give its files"):
        find_cases([tmp_path], ("CT",))
    assert list(found(tmp_path / "sub-01/anat/sub-01_T1w.nii.gz", "CT")) == ["sub-01_T1w"]


def test_images_of_one_kind_are_taken_for_the_one_channel_of_another_name_with_a_note(tmp_path):
    put(tmp_path, "sub-01", T1w=0)
    inputs = find_inputs([tmp_path], ("MRI",))
    assert [case.id for case in inputs.cases] == ["sub-01_T1w"]
    assert list(found(tmp_path / "sub-01/anat/sub-01_T1w.nii.gz", "MRI")) == ["sub-01_T1w"]
    assert any("calls its images T1w, and the model its channel MRI" in note for note in inputs.notes)
