"""DICOM as hospitals and archives hand it out: which label belongs to which series, and who is the same patient."""

import re
import shutil

import numpy as np
import pytest

from medseg import io
from medseg.config.schema import DataConfig
from medseg.core.errors import AmbiguousError, InputError
from medseg.core.events import Warned
from medseg.data.case_ids import plain_name
from medseg.data.cases import read_case
from medseg.data.fingerprint import measure
from medseg.data.inputs import find_inputs
from medseg.data.layouts import open_dataset
from tests.data.dicom_trees import SHAPE, put_series, put_structures
from tests.data.folders import put_labels

BOX = slice(1, 4), slice(2, 5), slice(3, 9)
OTHER = slice(2, 3), slice(6, 9), slice(1, 4)


def opened(root, **config):
    return open_dataset(root, DataConfig(**config))


def names(cases):
    """The names in the ids of series, without the digests of their UIDs."""
    return [plain_name(case.id) for case in cases]


def archive(root, patients=("A", "B")):
    """PatientID/study/series folders of two patients, with CT and its structures."""
    for number, patient in enumerate(patients):
        series = put_series(root / f"{patient}/study/ct", patient, number)
        put_structures(root / f"{patient}/study/rt/1-1.dcm", series, GTV=BOX)
    return root


def test_one_case_for_each_series_with_structures_called_by_its_folder(tmp_path):
    root = archive(tmp_path)
    put_series(root / "B/study/scout", "B", Modality="MR")
    dataset = opened(root)
    assert (dataset.layout, names(dataset.cases), dataset.channels) == ("dicom", ["A", "B"], ("CT",))
    assert dataset.cases[0].images == (root / "A/study/ct",)
    assert dataset.cases[0].label == root / "A/study/rt/1-1.dcm"
    assert any("Series without labels, of another modality, are not used: 1 of MR." in note for note in dataset.notes)


def test_structures_are_read_on_their_series_voxel_for_voxel(tmp_path):
    (case, _) = opened(archive(tmp_path)).cases
    image, label_map, _ = read_case(case, None, io.ReadOptions())
    expected = np.zeros(SHAPE, bool)
    expected[BOX] = True
    assert label_map.labels.names == ("GTV",)
    np.testing.assert_array_equal(label_map.array > 0, expected.transpose(2, 1, 0))
    assert image.geometry.same_as(label_map.geometry)


def test_series_in_one_folder_are_told_apart_by_their_uid(tmp_path):
    for number, name in ((3, "first"), (4, "second")):
        series = put_series(tmp_path / name, "A", number, SeriesNumber=number)
        put_structures(tmp_path / f"rt_{number}.dcm", series, GTV=BOX)
        (tmp_path / "all").mkdir(exist_ok=True)
        for file in series:
            file.rename(tmp_path / f"all/{number}_{file.name}")
        (tmp_path / name).rmdir()
    dataset = opened(tmp_path)
    assert names(dataset.cases) == ["all", "all"]
    assert len(set(dataset.ids)) == 2
    assert len({case.group for case in dataset.cases}) == 1
    first, second = (read_case(case, None, io.ReadOptions())[0].array for case in dataset.cases)
    assert first.shape == second.shape
    assert not np.array_equal(first, second)


def test_labels_whose_series_is_stale_are_matched_by_frame_and_the_nearest_folder(tmp_path):
    def stale(dataset):
        (frame,) = dataset.ReferencedFrameOfReferenceSequence
        (series,) = frame.RTReferencedStudySequence[0].RTReferencedSeriesSequence
        series.SeriesInstanceUID = "1.2.3.4"

    frame = {"FrameOfReferenceUID": "1.9.8"}
    ct, mr = put_series(tmp_path / "p/CT/image", **frame), put_series(tmp_path / "p/CT2/image", seed=1, **frame)
    put_structures(tmp_path / "p/CT/rt.dcm", ct, stale, GTV=BOX)
    put_structures(tmp_path / "p/CT2/rt.dcm", mr, stale, GTV=OTHER)
    dataset = opened(tmp_path)
    assert {(case.images[0].parent.name, case.label.parent.name) for case in dataset.cases} == {
        ("CT",) * 2,
        ("CT2",) * 2,
    }


def test_series_of_several_modalities_are_refused_and_one_can_be_chosen(tmp_path):
    root = archive(tmp_path)
    series = put_series(root / "A/study/mr", "A", 5, Modality="MR")
    put_structures(root / "A/study/rt_mr/1-1.dcm", series, GTV=BOX)
    with pytest.raises(AmbiguousError, match=r"several modalities \(2 of CT, 1 of MR\).*--read modality=CT") as refused:
        opened(root)
    assert names(opened(root, read={"modality": "CT"}).cases) == ["A", "B"]
    assert opened(root, read={"modality": "MR"}).channels == ("MR",)
    (root / "cases.csv").write_text(refused.value.table)
    dataset = opened(root)
    assert (dataset.layout, names(dataset.cases)) == ("table", ["A", "B"])
    assert dataset.cases[0].group == dataset.cases[0].id


def test_two_structure_sets_of_one_series_are_refused_with_both(tmp_path):
    root = archive(tmp_path)
    shutil.copy(root / "A/study/rt/1-1.dcm", root / "A/study/rt/1-2.dcm")
    with pytest.raises(AmbiguousError, match=r"the series of A_\w+ have more than one SEG or RTSTRUCT") as refused:
        opened(root)
    row = r"A_\w+,A/study/ct,A/study/rt/1-"
    assert re.search(rf"\n{row}1\.dcm\n# {row}2\.dcm\n", refused.value.table)


def test_labels_without_any_series_say_so(tmp_path):
    root = archive(tmp_path)
    with pytest.raises(
        InputError, match="none of 2 SEG and RTSTRUCT files belongs to one of 0 image series that --read"
    ):
        opened(root, read={"modality": "PT"})


def test_patients_stay_together_and_a_rule_that_divides_them_is_told(tmp_path):
    for visit in ("v1", "v2"):
        series = put_series(tmp_path / f"X_{visit}/ct", "same", ord(visit[1]))
        put_structures(tmp_path / f"X_{visit}/rt.dcm", series, GTV=BOX)
    series = put_series(tmp_path / "Y/ct", "other", 7)
    put_structures(tmp_path / "Y/rt.dcm", series, GTV=BOX)
    first, _, third = together = [case.group for case in opened(tmp_path).cases]
    assert together == [first, first, third]
    assert [plain_name(group) for group in together] == ["X_v1", "X_v1", "Y"]
    divided = opened(tmp_path, group="block:1")
    assert any("one patient by their DICOM headers are in different groups (X_v1" in n for n in divided.notes)
    assert [case.group for case in opened(tmp_path, group="patient").cases] == together


def test_patients_are_known_in_every_layout_with_dicom_images(tmp_path):
    for case, patient in (("a", "p"), ("b", "p"), ("c", "q")):
        put_series(tmp_path / f"images/{case}", patient, ord(case))
        put_labels(tmp_path / f"labels/{case}.nii.gz")
    dataset = opened(tmp_path)
    assert [case.group for case in dataset.cases] == ["a", "a", "c"]
    assert "2 cases are of 1 patients by their DICOM headers and stay together." in dataset.notes
    assert not any(word in note for note in dataset.notes for word in ("Doe", "4711"))


def test_a_folder_of_a_series_and_a_structure_set_beside_it_pair_by_name(tmp_path):
    series = put_series(tmp_path / "images/p1", "p")
    put_structures(tmp_path / "labels/p1.dcm", series, GTV=BOX)
    put_structures(tmp_path / "more/p2.dcm", put_series(tmp_path / "images/p2", "q", 1), GTV=BOX)
    (tmp_path / "labels/p2").mkdir()
    (tmp_path / "more/p2.dcm").rename(tmp_path / "labels/p2/rt.dcm")
    dataset = opened(tmp_path)
    assert dataset.layout == "paired"
    assert [case.label for case in dataset.cases] == [tmp_path / "labels/p1.dcm", tmp_path / "labels/p2/rt.dcm"]
    assert all(read_case(case, None, io.ReadOptions())[1].array.any() for case in dataset.cases)


def test_names_of_structures_that_differ_between_patients_are_told(tmp_path):
    root = archive(tmp_path)
    series = put_series(root / "C/study/ct", "C", 9)
    put_structures(root / "C/study/rt.dcm", series, gtv=BOX, Cord=OTHER)
    generator = measure(opened(root), io.ReadOptions())
    told = []
    while True:
        try:
            told.append(next(generator))
        except StopIteration as stop:
            result = stop.value
            break
    assert result.labels.names == ("GTV", "Cord")
    assert [fact.n_cases for fact in result.fingerprint.labels] == [3, 1]
    assert any("not all name the same structures: Cord (1)" in e.text for e in told if isinstance(e, Warned))


def test_a_study_of_several_series_and_patients_is_as_many_inputs(tmp_path):
    root = archive(tmp_path / "study")
    put_series(root / "A/study/ct2", "A", 8, SeriesNumber=6)
    found = find_inputs([root / "A"], 1)
    assert {(plain_name(case.id), case.images[0].name) for case in found.cases} == {("A", "ct"), ("ct2", "ct2")}
    assert len({case.group for case in found.cases}) == 1
    assert sorted(names(find_inputs([root], 1).cases)) == ["A", "B", "ct2"]
    assert names(find_inputs([root / "A"], 1, io.ReadOptions(series="6")).cases) == ["ct2"]


def test_a_folder_of_structure_sets_is_no_input(tmp_path):
    root = archive(tmp_path / "study")
    assert names(find_inputs([root / "A/study"], 1).cases) == ["A"]
    for name in ("one", "two"):
        shutil.copytree(root / "A/study/rt", tmp_path / "labels" / name)
    with pytest.raises(InputError, match="holds SEG or RTSTRUCT alone"):
        find_inputs([tmp_path / "labels"], 1)
    put_series(root / "A/study/late", "A", 8)
    assert names(find_inputs([root / "A/study"], 1).cases) == ["A", "late"]


def test_an_archive_of_several_series_is_as_many_inputs(tmp_path):
    root = archive(tmp_path / "study")
    shutil.make_archive(str(tmp_path / "sent"), "zip", root)
    cases = find_inputs([tmp_path / "sent.zip"], 1).cases
    assert names(cases) == ["A", "B"]
    images = [io.read(case.images[0], io.ReadOptions().updated(case.read)).array for case in cases]
    np.testing.assert_array_equal(images[0], io.read(root / "A/study/ct").array)
    np.testing.assert_array_equal(images[1], io.read(root / "B/study/ct").array)


def test_series_for_a_model_of_several_channels_are_refused_with_a_table(tmp_path):
    root = tmp_path / "p1"
    for number, name in enumerate(("ct", "pet")):
        put_series(root / name, "A", number)
    with pytest.raises(AmbiguousError, match="2 DICOM series, and the model wants 2 channels") as refused:
        find_inputs([root], 2)
    assert re.search(r"\np1_\w+,ct,pet\n", refused.value.table)
    (root / "cases.csv").write_text(refused.value.table)
    (case,) = find_inputs([root / "cases.csv"], 2).cases
    assert [path.name for path in case.images] == ["ct", "pet"]


def test_real_sarcomas_are_one_case_a_patient_for_one_modality(shared_data):
    root = shared_data / "dicom/rtstruct/sts"
    with pytest.raises(AmbiguousError, match="2 of CT, 2 of MR, 2 of PT"):
        opened(root)
    dataset = opened(root, read={"modality": "CT"})
    assert (names(dataset.cases), dataset.channels) == (["STS_002", "STS_003"], ("CT",))
    published = io.read_labels(root / "STS_002/CT/rtstruct_GTV_Mass.nii.gz")
    _, label_map, _ = read_case(dataset.cases[0], None, io.ReadOptions(modality="CT"))
    assert np.count_nonzero(label_map.array) == np.count_nonzero(published.array)
