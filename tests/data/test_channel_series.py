"""Series of several modalities as channels of one case: who belongs together, what is open, and how it is read."""

import re
import shutil

import numpy as np
import pytest

from medseg import io
from medseg.config.schema import DataConfig
from medseg.core.errors import AmbiguousError, InputError, UsageError
from medseg.data.case_ids import plain_name
from medseg.data.cases import read_case, read_image
from medseg.data.inputs import find_inputs
from medseg.data.layouts import open_dataset
from tests.data.dicom_trees import SHAPE, put_series, put_structures
from tests.io.dicom_files import write_series

BOX = slice(1, 4), slice(2, 5), slice(3, 9)
BOTH = "CT+MR"


def opened(root, modality=BOTH, **config):
    return open_dataset(root, DataConfig(read={"modality": modality}, **config))


def put_coarse(folder, patient, seed=0, **attributes):
    """An MR of half as many voxels along each axis over the extent of `put_series`."""
    stored = np.random.default_rng(seed).integers(0, 900, tuple(n // 2 for n in SHAPE)).astype(np.int16)
    return write_series(
        folder,
        stored,
        **{"PatientID": patient, "Modality": "MR", **attributes},
        origin=(-9.7, 20.4, 31.25),
        spacing=(1.6, 1.2),
        step=(0.0, 0.0, 5.0),
    )


def examination(root, patient, labels="ct", study="1", **attributes):
    """CT and MR of one patient in one frame of reference, and a structure set on one of them."""
    shared = {"FrameOfReferenceUID": f"1.{ord(patient)}.{study}", "StudyInstanceUID": f"2.{ord(patient)}.{study}"}
    ct = put_series(root / "ct", patient, ord(patient), **shared, **attributes)
    mr = put_coarse(root / "mr", patient, ord(patient), **shared, **attributes)
    put_structures(root / "rt/1.dcm", ct if labels == "ct" else mr, GTV=BOX)
    return shared


def archive(root, patients=("A", "B"), **more):
    for patient in patients:
        examination(root / patient, patient, **more)
    return root


def test_a_patients_series_are_the_channels_of_one_case_in_the_order_that_was_given(tmp_path):
    dataset = opened(archive(tmp_path))
    assert dataset.channels == ("CT", "MR")
    assert [plain_name(case.id) for case in dataset.cases] == ["A", "B"]
    assert [[path.name for path in case.images] for case in dataset.cases] == [["ct", "mr"]] * 2
    assert dataset.cases[0].label == tmp_path / "A/rt/1.dcm"
    assert any("Cases with the channels CT, MR: 2, of 2 patients" in note for note in dataset.notes)


def test_the_channels_lie_on_the_grid_of_the_first_and_so_do_the_structures(tmp_path):
    options = io.ReadOptions(modality=BOTH)
    (case, _) = opened(archive(tmp_path)).cases
    image, label_map, notes = read_case(case, None, options, ("CT", "MR"))
    assert image.array.shape == (2, *reversed(SHAPE))
    assert list(image.meta.own_grids) == [1]
    np.testing.assert_array_equal(image.array[0], io.read(tmp_path / "A/ct").array[0])
    assert np.count_nonzero(label_map.array) == np.prod([side.stop - side.start for side in BOX])
    assert not any("frames of reference" in note or "covers" in note for note in notes)


@pytest.mark.parametrize("number", ["3", "4"])
def test_series_that_share_a_folder_are_told_apart_in_every_channel(tmp_path, number):
    archive(tmp_path, patients="A", SeriesNumber=number)
    for path in [*tmp_path.rglob("*.dcm")]:
        if path.parent.name in ("ct", "mr"):
            path.rename(tmp_path / f"A/{path.parent.name}_{path.name}")
    (case,) = opened(tmp_path).cases
    assert case.images == (tmp_path / "A",) * 2
    image, label_map, _ = read_case(case, None, io.ReadOptions(modality=BOTH))
    assert image.n_channels == 2
    assert image.array[0].min() >= 900 - 1024 > -500 > image.array[1].min()
    assert label_map.array.any()


def test_the_word_of_people_for_a_modality_will_do_and_case_does_not_matter(tmp_path):
    for name in ("ct+mri", "CT+MR", "Ct+Mri"):
        assert opened(archive(tmp_path), name).channels == ("CT", "MR")


def test_a_visit_has_the_channels_of_its_own_study(tmp_path):
    """One frame of reference may span two studies; then the study decides."""
    for visit in "12":
        examination(tmp_path / f"visit{visit}", "A", study=visit)
    cases = opened(tmp_path).cases
    visits = [{path.parent.name for path in case.images} for case in cases]
    assert sorted(visits, key=min) == [{"visit1"}, {"visit2"}]
    assert cases[0].group == cases[1].group


def test_series_without_a_common_frame_belong_together_by_their_study(tmp_path):
    root = tmp_path / "A"
    ct = put_series(root / "ct", "A", 1, StudyInstanceUID="2.7")
    put_coarse(root / "mr", "A", 1, StudyInstanceUID="2.7")
    put_structures(root / "rt.dcm", ct, GTV=BOX)
    (case,) = opened(tmp_path).cases
    notes = read_image(case, io.ReadOptions(modality=BOTH), ("CT", "MR")).meta.warnings
    assert any("CT and MR have different frames of reference" in note for note in notes)


def test_another_patients_series_is_never_taken_even_in_one_study(tmp_path):
    archive(tmp_path, patients="A")
    shared = {"FrameOfReferenceUID": "1.65.1", "StudyInstanceUID": "2.65.1"}
    ct = put_series(tmp_path / "B/ct", "B", 5, **shared)
    put_structures(tmp_path / "B/rt.dcm", ct, GTV=BOX)
    dataset = opened(tmp_path)
    assert [plain_name(case.id) for case in dataset.cases] == ["A"]
    assert any(note.startswith("Cases with the channels CT, MR: 1, of 1 patient;") for note in dataset.notes)
    (problem,) = dataset.problems
    assert re.fullmatch(
        r"Case B_\w+ has a CT series and no MR series in its frame of reference or its study\.", problem.reason
    )


def test_a_modality_that_nobody_has_is_refused_with_those_that_are_there(tmp_path):
    with pytest.raises(InputError, match=r"no case with the channels CT, PT\. Case [AB]_\w+ has a CT") as no:
        opened(archive(tmp_path), "CT+PT")
    assert str(no.value).endswith("(1 more like it) Its series are of CT, MR.")


def test_two_series_that_could_be_one_channel_are_refused_with_the_table_that_settles_it(tmp_path):
    shared = examination(tmp_path / "A", "A")
    put_coarse(tmp_path / "A/mr2", "A", 9, **shared)
    with pytest.raises(AmbiguousError, match=r"several series could be one of the channels CT, MR of A_\w+") as refused:
        opened(tmp_path)
    assert re.search(r"\nA_\w+,A/ct,A/mr,A/rt/1\.dcm\n# A_\w+,A/ct,A/mr2,A/rt/1\.dcm\n", refused.value.table)
    (tmp_path / "cases.csv").write_text(refused.value.table)
    dataset = opened(tmp_path)
    assert (dataset.layout, dataset.channels) == ("table", ("CT", "MR"))
    assert read_image(dataset.cases[0], io.ReadOptions(modality=BOTH)).n_channels == 2


def test_a_table_of_series_in_one_folder_names_a_series_for_each_channel(tmp_path):
    shared = examination(tmp_path / "A", "A")
    put_coarse(tmp_path / "A/mr2", "A", 9, **shared)
    for path in [*tmp_path.rglob("*.dcm")]:
        if path.parent.name != "rt":
            path.rename(tmp_path / f"A/{path.parent.name}_{path.name}")
    with pytest.raises(AmbiguousError) as refused:
        opened(tmp_path)
    (tmp_path / "cases.csv").write_text(refused.value.table)
    (case,) = open_dataset(tmp_path, DataConfig()).cases
    assert case.images == (tmp_path / "A", tmp_path / "A")
    assert read_case(case, None, io.ReadOptions())[0].n_channels == 2


def test_two_structure_sets_of_the_first_channel_are_refused_with_both(tmp_path):
    archive(tmp_path)
    (tmp_path / "A/rt/2.dcm").write_bytes((tmp_path / "A/rt/1.dcm").read_bytes())
    with pytest.raises(AmbiguousError, match=r"the CT series of A_\w+ have several SEG or RTSTRUCT") as refused:
        opened(tmp_path)
    assert re.search(r"\nA_\w+,A/ct,A/mr,A/rt/1\.dcm\n# A_\w+,A/ct,A/mr,A/rt/2\.dcm", refused.value.table)


def test_labels_drawn_on_a_further_channel_are_refused_with_the_order_that_works(tmp_path):
    archive(tmp_path, labels="mr")
    with pytest.raises(InputError, match=r"none of 2 SEG and RTSTRUCT files is drawn on CT.*--read modality=MR\+CT"):
        opened(tmp_path)
    dataset = opened(tmp_path, "MR+CT")
    assert dataset.channels == ("MR", "CT")
    assert [path.name for path in dataset.cases[0].images] == ["mr", "ct"]


def test_labels_of_further_channels_are_left_out_with_a_count(tmp_path):
    root = archive(tmp_path)
    mr = sorted((root / "A/mr").glob("*.dcm"))
    put_structures(root / "A/rt_mr.dcm", mr, GTV=BOX)
    dataset = opened(root)
    assert len(dataset.cases) == 2
    assert "1 SEG or RTSTRUCT files were not drawn on CT and are not used." in dataset.notes


def test_a_scout_of_a_modality_is_no_second_candidate(tmp_path):
    shared = examination(tmp_path / "A", "A")
    stored = np.zeros((1, 6, 5), np.int16)
    write_series(
        tmp_path / "A/scout", stored, PatientID="A", Modality="MR", **shared, ImageType=["ORIGINAL", "LOCALIZER"]
    )
    (case,) = opened(tmp_path).cases
    assert [path.name for path in case.images] == ["ct", "mr"]


def test_examinations_without_structures_are_predicted_and_not_trained_on(tmp_path):
    archive(tmp_path)
    (tmp_path / "B/rt/1.dcm").unlink()
    dataset = opened(tmp_path)
    assert [len(case.images) for case in (*dataset.cases, *dataset.unlabelled)] == [2, 2]
    assert [plain_name(case.id) for case in dataset.unlabelled] == ["B"]


def test_the_refusal_of_several_modalities_offers_them_as_channels_where_they_belong_together(tmp_path):
    root = archive(tmp_path)
    mr = sorted((root / "A/mr").glob("*.dcm"))
    put_structures(root / "A/rt_mr.dcm", mr, GTV=BOX)
    with pytest.raises(AmbiguousError, match=r"channels of one case: --read modality=CT\+MR, with the labels of CT\. "):
        open_dataset(root, DataConfig())
    other = put_series(root / "C/ct", "C", 3)
    put_structures(root / "C/rt.dcm", other, GTV=BOX)
    for path in [*root.rglob("mr/*.dcm"), root / "A/rt_mr.dcm"]:
        path.unlink()
    assert len(open_dataset(root, DataConfig()).cases) == 3


@pytest.mark.parametrize(
    ("value", "sentence"),
    [("MR+MR", "names MR twice"), ("PT+PET", "names PT twice"), ("CT+", "join what is wanted"), ("+", "join what")],
)
def test_modalities_that_cannot_be_told_apart_are_refused(value, sentence):
    with pytest.raises(UsageError, match=re.escape(f"--read modality={value} ") + f".*{sentence}"):
        io.ReadOptions.parse({"modality": value})


def inputs(path, channels=("CT", "MR"), **read):
    return find_inputs([path], channels, io.ReadOptions(**read))


def test_patients_to_predict_have_the_channels_that_training_gave_them_under_the_same_ids(tmp_path):
    dataset = opened(archive(tmp_path))
    found = inputs(tmp_path, modality=BOTH)
    assert (found.problems, [case.id for case in found.cases]) == ([], list(dataset.ids))
    for case, trained in zip(found.cases, dataset.cases, strict=True):
        assert (case.images, case.label) == (trained.images, None)
        np.testing.assert_array_equal(
            read_image(case, io.ReadOptions(modality=BOTH)).array,
            read_image(trained, io.ReadOptions(modality=BOTH)).array,
        )


@pytest.mark.parametrize(
    ("channels", "read"),
    [
        (("CT", "MR"), {}),
        (("ct", "MRI"), {}),
        (("CT", "MR"), {"modality": "MR+CT"}),
        (("a", "b"), {"modality": BOTH}),
        (2, {"modality": "ct+mri"}),
    ],
)
def test_which_series_is_which_channel_is_known_by_the_model_or_said(channels, read, tmp_path):
    root = archive(tmp_path)
    options = io.ReadOptions(**read)
    for path in (root, root / "A", root / "A/rt/.."):
        case = find_inputs([path], channels, options).cases[0]
        assert {plain_name(case.id), *(image.name for image in case.images)} >= {"ct", "mr"}
        image = read_image(case, options)
        assert image.array.shape == (2, *reversed(SHAPE))
        assert image.array[1].min() < -500


def test_a_model_that_sees_mr_first_gets_it_first(tmp_path):
    case = inputs(archive(tmp_path), ("MR", "CT"), modality=BOTH).cases[0]
    assert [path.name for path in case.images] == ["mr", "ct"]
    assert read_image(case, io.ReadOptions(modality=BOTH)).array.shape == (2, *(n // 2 for n in reversed(SHAPE)))


def test_an_archive_of_patients_is_taken_apart_into_channels(tmp_path):
    root = archive(tmp_path / "sent")
    shutil.make_archive(str(tmp_path / "all"), "zip", root)
    cases = inputs(tmp_path / "all.zip").cases
    assert [plain_name(case.id) for case in cases] == ["A", "B"]
    for case, patient in zip(cases, "AB", strict=True):
        array = read_image(case, io.ReadOptions()).array
        np.testing.assert_array_equal(array[0], io.read(root / patient / "ct").array[0])


def test_a_patient_without_a_channel_fails_by_name_and_the_others_go_on(tmp_path):
    root = archive(tmp_path, patients=("A", "B", "C"))
    shutil.rmtree(root / "A/mr")
    shutil.rmtree(root / "B/ct")
    found = inputs(root)
    assert [plain_name(case.id) for case in found.cases] == ["C"]
    assert sorted(re.sub(r"_[0-9a-f]{8}", "", problem.reason) for problem in found.problems) == [
        "Case A has a CT series and no MR series in its frame of reference or its study.",
        "Case B has a MR series and no CT series, which is the first channel.",
    ]


def test_two_series_that_could_be_one_channel_are_a_case_that_fails_with_the_way_out(tmp_path):
    shared = examination(tmp_path / "A", "A")
    examination(tmp_path / "B", "B")
    put_coarse(tmp_path / "A/mr2", "A", 9, **{**shared, "SeriesNumber": "8"})
    found = inputs(tmp_path)
    assert [plain_name(case.id) for case in found.cases] == ["B"]
    (problem,) = found.problems
    assert re.search(r"2 MR series .* \(series 5, 8\), and nothing says which one is meant.*table", problem.reason)


def test_series_of_no_channel_are_left_out_with_a_count(tmp_path):
    shared = examination(tmp_path / "A", "A")
    put_series(tmp_path / "A/us", "A", 9, **shared, Modality="NM")
    found = inputs(tmp_path)
    assert len(found.cases) == 1
    assert any("none of CT, MR were left out: 1 of NM." in note for note in found.notes)


def test_series_for_a_model_whose_channels_are_no_modalities_are_refused_with_what_would_settle_it(tmp_path):
    with pytest.raises(AmbiguousError, match=r"4 DICOM series.*channels \(early, late\).*--read modality=CT\+MR"):
        inputs(archive(tmp_path), ("early", "late"))


def test_real_sarcomas_have_ct_and_pet_as_channels(shared_data):
    dataset = opened(shared_data / "dicom/rtstruct/sts", "CT+PET")
    assert [plain_name(case.id) for case in dataset.cases] == ["STS_002", "STS_003"]
    image, label_map, notes = read_case(dataset.cases[0], None, io.ReadOptions(modality="CT+PT"), dataset.channels)
    published = io.read_labels(shared_data / "dicom/rtstruct/sts/STS_002/CT/rtstruct_GTV_Mass.nii.gz")
    assert np.count_nonzero(label_map.array) == np.count_nonzero(published.array)
    # The tumour takes up more sugar than what lies around it: the PET is in its place.
    pet = image.array[1]
    assert pet[label_map.array > 0].mean() > 2 * pet[label_map.array == 0].mean()
    assert not any("covers" in note or "frames" in note for note in notes)
