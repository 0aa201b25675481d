"""What to predict: any mix of files, folders, series and data sets, with ids from names."""

import shutil

import numpy as np
import pytest
from PIL import Image

from medseg.config.schema import DataConfig
from medseg.core.errors import InputError, UsageError
from medseg.data.case_ids import plain_name
from medseg.data.inputs import find_cases, find_inputs
from medseg.data.layouts import open_dataset
from tests.data.dicom_trees import put_series
from tests.data.folders import msd, nnunet, paired, put_image, put_labels, touch


def found(*paths, channels=1):
    return {case.id: [path.name for path in case.images] for case in find_cases(paths, channels)}


def test_a_file_is_a_case_called_by_its_stem(tmp_path):
    assert found(put_image(tmp_path / "knee.nii.gz")) == {"knee": ["knee.nii.gz"]}


@pytest.mark.parametrize("name", ["ct", "scan", "T1", "image", "imaging", "MRI_T2w", "ct_0000"])
def test_a_file_called_as_in_every_folder_is_called_by_its_folder(tmp_path, name):
    paths = [put_image(tmp_path / f"s{number:04d}/{name}.nii.gz") for number in (40, 41)]
    assert list(found(*paths)) == ["s0040", "s0041"]
    assert list(found(*(path.parent for path in paths))) == ["s0040", "s0041"]


def test_a_file_called_as_the_channel_of_the_model_is_called_by_its_folder(tmp_path):
    path = put_image(tmp_path / "p7/late phase.nii.gz")
    assert list(found(path, channels=["Late-Phase"])) == ["p7"]
    assert list(found(path, channels=["image"])) == ["late phase"]


def test_a_folder_of_files_is_a_case_each_in_natural_order(tmp_path):
    for name in ("s_10", "s_2", "s_1"):
        put_image(tmp_path / f"{name}.nii.gz")
    touch(tmp_path / "._s_1.nii.gz")
    touch(tmp_path / "notes.txt")
    assert list(found(tmp_path)) == ["s_1", "s_2", "s_10"]


def test_for_a_model_of_one_channel_the_first_number_is_dropped_whatever_else_lies_there(tmp_path):
    put_image(tmp_path / "a_0000.nii.gz")
    first = put_image(tmp_path / "frame_0000.nii.gz")
    assert list(found(tmp_path)) == ["a", "frame"]
    put_image(tmp_path / "frame_0001.nii.gz")
    assert list(found(tmp_path)) == ["a", "frame", "frame_0001"]
    assert list(found(first)) == ["frame"]


@pytest.mark.parametrize("channels", [2, None])
def test_numbered_channels_are_one_case(tmp_path, channels):
    nnunet(tmp_path)
    assert found(tmp_path / "imagesTr", channels=channels) == {
        f"c_{n}": [f"c_{n}_0000.nii.gz", f"c_{n}_0001.nii.gz"] for n in range(3)
    }


def test_files_given_one_by_one_are_grouped_too(tmp_path):
    root = nnunet(tmp_path)
    files = [root / f"imagesTr/c_{n}_000{c}.nii.gz" for n in (1, 2) for c in (1, 0)]
    assert [case.images for case in find_cases(files, 2)] == [
        (root / f"imagesTr/c_{n}_0000.nii.gz", root / f"imagesTr/c_{n}_0001.nii.gz") for n in (1, 2)
    ]


def test_another_number_of_channels_than_the_model_has_is_refused(tmp_path):
    nnunet(tmp_path, channels=("a", "b", "c"))
    with pytest.raises(InputError, match="Case c_0 has 3 files of channels, but the model has 2 channels"):
        find_cases([tmp_path / "imagesTr"], 2)
    with pytest.raises(InputError, match="Case c_0 has 3 files of channels, but the model has 2 channels"):
        find_cases([tmp_path], 2)


def test_named_channels_are_one_case_unless_each_file_holds_them_all(tmp_path):
    for suffix in ("t1", "t2"):
        put_image(tmp_path / f"apart/p-{suffix}.nii.gz")
        put_image(tmp_path / f"whole/p-{suffix}.nii.gz", n_channels=2)
    assert found(tmp_path / "apart", channels=2) == {"p": ["p-t1.nii.gz", "p-t2.nii.gz"]}
    assert list(found(tmp_path / "whole", channels=2)) == ["p-t1", "p-t2"]


def test_one_file_for_several_channels_holds_them_along_its_fourth_axis(tmp_path):
    (case,) = find_cases([put_image(tmp_path / "both.nii.gz", n_channels=2)], 2)
    assert case.stacked
    (case,) = find_cases([put_image(tmp_path / "one.nii.gz")], 1)
    assert not case.stacked


def test_a_data_set_gives_all_its_images_under_their_ids(tmp_path):
    root = msd(tmp_path / "d")
    put_image(root / "imagesTs/t.nii.gz")
    put_image(root / "imagesTr/new.nii.gz")
    cases = find_cases([root], 1)
    assert [case.id for case in cases] == ["c_0", "c_1", "c_2", "new", "t"]
    assert all(case.label is None for case in cases)


@pytest.mark.parametrize("make", [msd, paired])
def test_label_folders_are_no_input(tmp_path, make):
    cases = find_cases([make(tmp_path)], 1)
    assert {path.parent.name.lower() for case in cases for path in case.images} <= {"imagestr", "images"}


def test_a_folder_with_nothing_but_test_images_is_looked_into(tmp_path):
    put_image(tmp_path / "imagesTs/t.nii.gz")
    put_labels(tmp_path / "labelsTs/t.nii.gz")
    assert list(found(tmp_path)) == ["t"]


def test_paths_stay_in_the_order_given(tmp_path):
    put_image(tmp_path / "b/z.nii.gz")
    put_image(tmp_path / "a/y.nii.gz")
    assert list(found(tmp_path / "b", tmp_path / "a")) == ["z", "y"]


def test_a_table_gives_its_images_whether_labelled_or_not(tmp_path):
    put_image(tmp_path / "scan.nii.gz")
    (tmp_path / "list.csv").write_text("case,image\nx,scan.nii.gz\n")
    assert found(tmp_path / "list.csv") == {"x": ["scan.nii.gz"]}


def test_two_inputs_of_one_name_are_refused_with_both_paths(tmp_path):
    one, two = put_image(tmp_path / "a/knee.nii.gz"), put_image(tmp_path / "b/knee.nii.gz")
    with pytest.raises(InputError, match=r"id 'knee': .*a/knee\.nii\.gz and .*b/knee\.nii\.gz"):
        find_cases([one, two], 1)


def test_a_numbered_file_beside_its_namesake_is_refused_not_lost(tmp_path):
    put_image(tmp_path / "a.nii.gz")
    put_image(tmp_path / "a_0000.nii.gz")
    with pytest.raises(InputError, match=r"id 'a': "):
        find_cases([tmp_path], 1)


def test_two_files_that_differ_by_suffix_alone_are_refused_and_a_repetition_counts_once(tmp_path):
    one, two = put_image(tmp_path / "a.nii.gz"), put_image(tmp_path / "a.nii")
    with pytest.raises(InputError, match="would have one name for their results"):
        find_cases([one, two], 1)
    assert len(find_cases([one, one], 1)) == 1


def test_what_is_no_scan_says_so(tmp_path):
    with pytest.raises(UsageError, match="does not exist"):
        find_cases([tmp_path / "gone.nii.gz"], 1)
    with pytest.raises(InputError, match=r"notes\.txt is no scan that medseg reads"):
        find_cases([touch(tmp_path / "notes.txt")], 1)
    with pytest.raises(InputError, match="holds no scan"):
        find_cases([tmp_path], 1)


def test_a_series_is_a_case_called_by_its_folder_never_by_the_patient(tmp_path, shared_data):
    series = shared_data / "dicom/ct/philips_axial_5mm"
    for name in ("study/one", "study/two", "nested/inner"):
        shutil.copytree(series, tmp_path / name)
    names = {path: [plain_name(case.id) for case in find_cases([tmp_path / path], 1)] for path in ("study", "nested")}
    assert names == {"study": ["one", "two"], "nested": ["inner"]}


def brats(root, names, suffixes=("flair", "t1", "t1ce", "t2"), mask=False):
    for name in names:
        for seed, suffix in enumerate(suffixes):
            put_image(root / name / f"{name}_{suffix}.nii.gz", seed=seed)
        if mask:
            put_labels(root / name / f"{name}_seg.nii.gz")
    return root


@pytest.mark.parametrize("with_labels", [True, False])
def test_a_folder_a_case_is_predicted_as_it_is_trained_on_with_masks_or_without(tmp_path, with_labels):
    for case in ("s0040", "s0041"):
        put_image(tmp_path / case / "ct.nii.gz")
        if with_labels:
            put_labels(tmp_path / case / "segmentations/liver.nii.gz", values=(1,))
    assert found(tmp_path) == {"s0040": ["ct.nii.gz"], "s0041": ["ct.nii.gz"]}
    assert found(*sorted(tmp_path.iterdir())) == found(tmp_path)
    if with_labels:
        assert open_dataset(tmp_path, DataConfig()).ids == ("s0040", "s0041")


@pytest.mark.parametrize("with_labels", [True, False])
def test_folders_of_named_channels_are_cases_with_masks_or_without(tmp_path, with_labels):
    channels = ("t1", "T2", "FLAIR", "t1ce")
    brats(tmp_path, ("B_001", "B_002"), mask=with_labels)
    expected = {
        name: [f"{name}_{suffix}.nii.gz" for suffix in ("t1", "t2", "flair", "t1ce")] for name in ("B_001", "B_002")
    }
    assert found(tmp_path, channels=channels) == expected
    assert found(tmp_path / "B_001", tmp_path / "B_002", channels=channels) == expected
    inputs = find_inputs([tmp_path], channels)
    assert (inputs.remarks != []) == with_labels
    assert not with_labels or "2 files are label maps by their names" in inputs.remarks[0]


def test_cases_deep_in_a_tree_are_called_as_in_training(tmp_path):
    for place in ("A/visit_1/anat", "A/visit_2/anat", "B/2020-01-31"):
        put_image(tmp_path / f"{place}/T1.nii.gz")
    unlabelled = list(found(tmp_path))
    assert unlabelled == ["A_visit_1", "A_visit_2", "B_2020-01-31"]
    assert list(found(tmp_path / "A/visit_2")) == ["A_visit_2"]
    for place in ("A/visit_1/anat", "A/visit_2/anat", "B/2020-01-31"):
        put_labels(tmp_path / f"{place}/seg.nii.gz")
    assert list(found(tmp_path)) == unlabelled
    assert list(open_dataset(tmp_path, DataConfig()).ids) == unlabelled


def test_several_scans_in_each_folder_are_called_after_both(tmp_path):
    for name in ("p1/frame01", "p1/frame02", "p2/frame01", "p2/frame02", "p3/p3_end"):
        put_image(tmp_path / f"{name}.nii.gz")
    assert list(found(tmp_path)) == ["p1_frame01", "p1_frame02", "p2_frame01", "p2_frame02", "p3"]


def test_two_masks_that_training_would_ask_about_are_no_question_in_prediction(tmp_path):
    put_image(tmp_path / "p1/ct.nii.gz")
    for name in ("liver_mask", "tumour_mask"):
        put_labels(tmp_path / f"p1/{name}.nii.gz")
    inputs = find_inputs([tmp_path], ("ct",))
    assert [case.id for case in inputs.cases] == ["p1"]
    assert inputs.remarks == [
        "2 files are label maps by their names and were left out: liver_mask.nii.gz, tumour_mask.nii.gz."
    ]


def test_a_masked_scan_is_a_scan(tmp_path):
    for name in ("p20", "p20_masked"):
        put_image(tmp_path / f"pm/{name}.nii.gz")
    assert list(found(tmp_path / "pm")) == ["p20", "p20_masked"]


def test_a_folder_of_label_maps_says_so_and_its_files_can_be_given(tmp_path):
    path = put_labels(tmp_path / "a_seg.nii.gz")
    with pytest.raises(InputError, match=r"label maps by their names \(a_seg\.nii\.gz\)"):
        find_cases([tmp_path], 1)
    assert list(found(path)) == ["a_seg"]


def test_images_in_several_folders_are_all_taken(tmp_path):
    put_image(tmp_path / "imagesTr/a.nii.gz")
    put_image(tmp_path / "imagesTs/b.nii.gz")
    put_labels(tmp_path / "labelsTs/b.nii.gz")
    assert list(found(tmp_path)) == ["a", "b"]


def test_folders_of_dicom_beside_folders_of_files_are_all_taken(tmp_path):
    put_image(tmp_path / "s1/ct.nii.gz")
    put_series(tmp_path / "s2/CT")
    assert [plain_name(case.id) for case in find_cases([tmp_path], 1)] == ["s1", "s2"]


def test_what_medseg_wrote_and_data_sets_further_down_are_no_scans(tmp_path):
    put_image(tmp_path / "s1/ct.nii.gz")
    put_image(tmp_path / "out/s1.nii.gz")
    (tmp_path / "out/predictions.json").write_text("{}")
    put_image(tmp_path / "predictions/s1.nii.gz")
    assert list(found(tmp_path)) == ["s1"]


def test_cases_of_one_name_in_two_folders_are_told_apart_as_in_training(tmp_path):
    for part in ("batch1", "batch2"):
        put_image(tmp_path / part / "case1/ct.nii.gz")
    expected = ["batch1_case1", "batch2_case1"]
    assert list(found(tmp_path)) == expected
    for part in ("batch1", "batch2"):
        put_labels(tmp_path / part / "case1/seg.nii.gz")
    assert list(open_dataset(tmp_path, DataConfig()).ids) == expected


def test_pictures_in_colour_are_no_channels_of_each_other_even_if_they_are_grey(tmp_path):
    for number in range(3):
        Image.fromarray(np.full((6, 5), number, np.uint8)).save(tmp_path / f"f_{number:04d}.png")
    assert list(found(tmp_path, channels=("red", "green", "blue"))) == ["f", "f_0001", "f_0002"]


def test_paired_dicom_and_numbered_pictures_have_the_ids_that_they_have_alone(tmp_path):
    for case, patient in (("a", "p"), ("b", "q")):
        put_series(tmp_path / f"d/images/{case}", patient, ord(case))
        put_labels(tmp_path / f"d/labels/{case}.nii.gz")
    assert list(found(tmp_path / "d")) == list(found(tmp_path / "d/images"))
    assert [plain_name(name) for name in found(tmp_path / "d")] == ["a", "b"]
    for number in range(2):
        put_image(tmp_path / f"n/images/f_{number:04d}.nii.gz")
        put_labels(tmp_path / f"n/labels/f_{number:04d}.nii.gz")
    assert list(found(tmp_path / "n")) == list(found(tmp_path / "n/images")) == ["f", "f_0001"]


def test_an_unlabelled_case_of_other_channels_is_a_bad_case_and_the_others_go_on(tmp_path):
    paired(tmp_path, 2, suffixes=("-t1", "-t2"))
    for suffix in ("t1", "dw"):
        put_image(tmp_path / f"images/new-{suffix}.nii.gz")
    inputs = find_inputs([tmp_path], ("t1", "t2"))
    assert [case.id for case in inputs.cases] == ["c_0", "c_1"]
    (problem,) = inputs.problems
    assert problem.id == "new"
    assert "its own are t1" in problem.reason


def test_of_several_inputs_one_that_cannot_be_read_fails_by_name_and_the_others_go_on(tmp_path):
    scan = put_image(tmp_path / "knee.nii.gz")
    notes = touch(tmp_path / "t1.mnc")
    link = tmp_path / "gone.nii.gz"
    link.symlink_to(tmp_path / "nowhere.nii.gz")
    inputs = find_inputs([link, notes, scan], 1)
    assert [case.id for case in inputs.cases] == ["knee"]
    assert [problem.id for problem in inputs.problems] == ["t1.mnc"]
    assert "gone.nii.gz is a link that leads nowhere and was left aside." in inputs.notes
    with pytest.raises(UsageError):
        find_inputs([link], 1)
    with pytest.raises(InputError):
        find_inputs([notes], 1)


def test_the_files_of_a_series_given_one_by_one_are_the_series(tmp_path):
    files = put_series(tmp_path / "p1/CT")
    assert find_cases(files, 1) == find_cases([tmp_path / "p1"], 1)
    (case,) = find_cases(files[:1], 1)
    assert case.images == (files[0],)


def test_a_folder_images_may_hold_the_images_of_a_case_or_many_cases(tmp_path):
    put_image(tmp_path / "p1/images/ct.nii.gz")
    put_image(tmp_path / "p2/images/ct.nii.gz")
    assert list(found(tmp_path)) == ["p1", "p2"]
    assert list(found(tmp_path / "p1", tmp_path / "p2")) == ["p1", "p2"]
    put_image(tmp_path / "many/images/a.nii.gz")
    assert list(found(tmp_path / "many")) == ["a"]


def test_without_a_model_files_that_every_folder_has_are_channels(tmp_path):
    brats(tmp_path, ("B_001", "B_002"))
    inputs = find_inputs([tmp_path])
    assert inputs.channels == ("flair", "t1", "t1ce", "t2")
    assert [(case.id, len(case.images)) for case in inputs.cases] == [("B_001", 4), ("B_002", 4)]
    put_image(tmp_path / "B_003/B_003_pd.nii.gz")
    assert find_inputs([tmp_path]).channels == ()


def test_what_lies_beside_scans_and_is_none_is_noted_where_everything_is_given(tmp_path):
    put_image(tmp_path / "knee.nii.gz")
    (tmp_path / "participants.tsv").write_text("id\tage\nknee\t7\n")
    (tmp_path / "about.json").write_text("{}")
    inputs = find_inputs(sorted(tmp_path.iterdir()), 1)
    assert ([case.id for case in inputs.cases], inputs.problems) == (["knee"], [])
    assert any("about.json is no scan and was left aside" in note for note in inputs.notes)
    assert any("participants.tsv lists no cases" in note for note in inputs.notes)
    with pytest.raises(InputError, match="no column 'image'"):
        find_inputs([tmp_path / "participants.tsv"], 1)
