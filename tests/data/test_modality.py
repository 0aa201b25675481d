"""A model of one modality takes its own series out of an archive, and is told of patients who have none."""

import shutil

import pytest

from medseg import io
from medseg.data.case_ids import plain_name
from medseg.data.cases import read_image
from medseg.data.inputs import find_inputs
from tests.data.dicom_trees import put_series, put_structures

BOX = slice(1, 4), slice(2, 5), slice(3, 9)


def examined(root, *modalities, patient="A"):
    for seed, modality in enumerate(modalities):
        files = put_series(root / modality / "image", patient, seed, Modality=modality)
    put_structures(root / modality / "rt.dcm", files, GTV=BOX)
    return root


def names(inputs):
    return [plain_name(case.id) for case in inputs.cases]


@pytest.mark.parametrize("channel", ["CT", "ct"])
def test_the_series_of_the_models_modality_are_taken_and_the_others_counted(tmp_path, channel):
    for patient in ("A", "B"):
        examined(tmp_path / patient, "CT", "PT", "MR", patient=patient)
    inputs = find_inputs([tmp_path], (channel,))
    assert names(inputs) == ["A", "B"]
    assert not inputs.problems
    assert inputs.remarks == [
        f"4 series of other modalities were left out (2 of MR, 2 of PT): the model's channel is {channel}."
    ]
    (case,) = find_inputs([tmp_path / "A"], (channel,)).cases
    assert (case.id, case.images) == (inputs.cases[0].id, (tmp_path / "A/CT/image",))


def test_pet_is_pt_and_a_name_that_is_no_modality_chooses_nothing(tmp_path):
    examined(tmp_path, "CT", "PT")
    (case,) = find_inputs([tmp_path], ("PET",)).cases
    assert case.images == (tmp_path / "PT/image",)
    for name in ("T1", "image"):
        assert len(find_inputs([tmp_path], (name,)).cases) == 2


def test_a_patient_without_the_modality_fails_by_name_and_the_offered_option_predicts(tmp_path):
    examined(tmp_path / "A", "CT", "PT")
    examined(tmp_path / "B", "PT", patient="B")
    inputs = find_inputs([tmp_path], ("CT",))
    assert names(inputs) == ["A"]
    (problem,) = inputs.problems
    assert plain_name(problem.id) == "B"
    assert "is a PT series, and the model's channel is CT" in problem.reason
    assert "say --read modality=PT." in problem.reason
    chosen = find_inputs([tmp_path / "B"], ("CT",), io.ReadOptions(modality="PT"))
    assert [case.id for case in chosen.cases] == [problem.id]


def test_an_archive_of_several_modalities_is_chosen_from_alike(tmp_path):
    root = examined(tmp_path / "A", "CT", "PT")
    shutil.make_archive(str(tmp_path / "sent"), "zip", root)
    (case,) = find_inputs([tmp_path / "sent.zip"], ("CT",)).cases
    assert read_image(case, io.ReadOptions()).meta.header["modality"] == "CT"


def test_structures_beside_a_series_are_not_said_to_be_left_aside(tmp_path):
    root = examined(tmp_path / "A", "CT")
    (case,) = find_inputs([root], ("CT",)).cases
    assert not any("Structure" in warning for warning in read_image(case, io.ReadOptions()).meta.warnings)
