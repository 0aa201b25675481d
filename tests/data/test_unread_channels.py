"""A channel, an image or a label map that is there in a format that medseg does not read is an error by name."""

import shutil

import pytest

from medseg.config.schema import DataConfig
from medseg.core.errors import InputError
from medseg.data.layouts import open_dataset
from tests.data.folders import declare, msd, nnunet, paired, put_image, put_labels, touch


def opened(root):
    return open_dataset(root, DataConfig())


def foreign(path, suffix=".mnc"):
    """A file in another format in the place of a scan."""
    path.unlink(missing_ok=True)
    return touch(path.with_name(path.name.replace(".nii.gz", suffix)))


def reasons(dataset):
    return {problem.id: problem.reason for problem in dataset.problems}


def brats(root, n=3, suffixes=("t1", "flair")):
    for number in range(n):
        for suffix in suffixes:
            put_image(root / f"c{number}/c{number}_{suffix}.nii.gz")
        put_labels(root / f"c{number}/c{number}_seg.nii.gz")
    return root


@pytest.mark.parametrize("suffix", [".mnc", ".PAR", ".mif.gz", ".BRIK", ".gipl"])
def test_a_channel_of_a_case_folder_in_another_format_is_refused_by_its_name(tmp_path, suffix):
    brats(tmp_path, 1)
    foreign(tmp_path / "c0/c0_flair.nii.gz", suffix)
    with pytest.raises(InputError, match=rf"Channel flair of case c0 is there as c0_flair\{suffix}: that is .*convert"):
        opened(tmp_path)


def test_one_case_with_such_a_channel_is_a_problem_and_the_others_go_on(tmp_path):
    brats(tmp_path)
    foreign(tmp_path / "c1/c1_flair.nii.gz")
    dataset = opened(tmp_path)
    assert (dataset.ids, dataset.channels) == (("c0", "c2"), ("flair", "t1"))
    assert reasons(dataset) == {
        "c1": "Channel flair of case c1 is there as c1_flair.mnc: that is MINC, which medseg does not read; "
        "convert it to NIfTI."
    }


def test_many_cases_in_one_folder_are_judged_alike(tmp_path):
    for number in range(3):
        put_image(tmp_path / f"all/c{number}_t1.nii.gz")
        touch(tmp_path / f"all/c{number}_flair.mnc")
        put_labels(tmp_path / f"all/c{number}_seg.nii.gz")
    with pytest.raises(InputError, match=r"Channel flair of case \w+ is there as c0_flair.mnc.* So it is in 2 more"):
        opened(tmp_path)


def test_what_is_no_image_for_certain_makes_no_channel(tmp_path):
    brats(tmp_path, suffixes=("t1",))
    for name in ("c0_t1.json", "c0_to_mni.mat", "c0_features.npz", "c0_t1.mnc", "c0_odd.xyz", "c0_surface.stl"):
        touch(tmp_path / "c0" / name)
    dataset = opened(tmp_path)
    assert (len(dataset.cases), dataset.problems) == (3, ())
    assert "4 files are of no kind that medseg reads and were left aside: .mat, .mnc, .npz, .xyz." in " ".join(
        dataset.notes
    )


def test_a_label_map_in_another_format_is_a_problem_and_not_a_case_without_one(tmp_path):
    brats(tmp_path)
    foreign(tmp_path / "c1/c1_seg.nii.gz")
    dataset = opened(tmp_path)
    assert dataset.ids == ("c0", "c2")
    assert reasons(dataset)["c1"].startswith("The label map of case c1 is there as c1_seg.mnc: that is MINC")


def test_a_mask_of_a_structure_in_another_format_is_no_absent_structure(tmp_path):
    for number in range(2):
        put_image(tmp_path / f"s{number}/ct.nii.gz")
        for organ in ("liver", "spleen"):
            put_labels(tmp_path / f"s{number}/segmentations/{organ}.nii.gz", values=(1,))
    foreign(tmp_path / "s1/segmentations/spleen.nii.gz")
    dataset = opened(tmp_path)
    assert dataset.ids == ("s0",)
    assert "spleen.mnc" in reasons(dataset)["s1"]


@pytest.mark.parametrize("suffix", [".mnc", ".xyz"])
def test_an_image_in_another_format_beside_a_label_map_is_named(tmp_path, suffix):
    paired(tmp_path, n=2)
    foreign(tmp_path / "images/c_1.nii.gz", suffix)
    dataset = opened(tmp_path)
    assert dataset.ids == ("c_0",)
    assert reasons(dataset)["c_1"].startswith(f"The image of case c_1 is there as c_1{suffix}: that is ")


@pytest.mark.parametrize("suffixes", [("_t1", "_flair"), ("_0000", "_0001")])
@pytest.mark.parametrize("suffix", [".mnc", ".xyz"])
def test_a_channel_of_paired_folders_in_another_format_is_refused(tmp_path, suffixes, suffix):
    paired(tmp_path, suffixes=suffixes)
    for number in range(3):
        foreign(tmp_path / f"images/c_{number}{suffixes[1]}.nii.gz", suffix)
    with pytest.raises(
        InputError, match=rf"Channel {suffixes[1][1:]} of case c_0 is there as .*{suffix}.*2 more cases"
    ):
        opened(tmp_path)


def test_label_maps_of_paired_folders_are_judged_alike(tmp_path):
    paired(tmp_path, label_suffix="_mask")
    foreign(tmp_path / "labels/c_2_mask.nii.gz")
    dataset = opened(tmp_path)
    assert reasons(dataset)["c_2"].startswith("The label map of case c_2 is there as c_2_mask.mnc")


def test_nnunets_channels_in_another_format_or_with_another_ending_are_named(tmp_path):
    nnunet(tmp_path)
    foreign(tmp_path / "imagesTr/c_0_0001.nii.gz")
    (tmp_path / "imagesTr/c_1_0000.nii.gz").unlink()
    put_image(tmp_path / "imagesTr/c_1_0000.mha")
    dataset = opened(tmp_path)
    assert dataset.ids == ("c_2",)
    assert "Channel 0001 of case c_0 is there as c_0_0001.mnc: that is MINC" in reasons(dataset)["c_0"]
    assert reasons(dataset)["c_1"] == (
        "Channel 0000 of case c_1 is there as c_1_0000.mha: that ends in .mha and not as the data set says."
    )


def test_a_decathlon_list_of_what_is_there_in_another_format_names_it(tmp_path):
    msd(tmp_path, n=4)
    foreign(tmp_path / "imagesTr/c_1.nii.gz")
    foreign(tmp_path / "labelsTr/c_2.nii.gz")
    dataset = opened(tmp_path)
    assert dataset.ids == ("c_0", "c_3")
    assert "The image of case c_1 is there as c_1.mnc" in reasons(dataset)["c_1"]
    assert "The label map of case c_2 is there as c_2.mnc" in reasons(dataset)["c_2"]


def test_a_channel_of_bids_in_another_format_is_refused(tmp_path):
    for number in range(2):
        put_image(tmp_path / f"sub-{number}/anat/sub-{number}_T1w.nii.gz")
        touch(tmp_path / f"sub-{number}/anat/sub-{number}_FLAIR.mnc")
        put_labels(tmp_path / f"derivatives/manual/sub-{number}/anat/sub-{number}_dseg.nii.gz")
    with pytest.raises(InputError, match=r"Channel FLAIR of case sub-0 is there as sub-0_FLAIR\.mnc"):
        opened(tmp_path)


def test_a_table_names_the_format_of_a_cell(tmp_path):
    paired(tmp_path, n=1)
    foreign(tmp_path / "images/c_0.nii.gz")
    (tmp_path / "cases.csv").write_text("case,image,label\nc_0,images/c_0.mnc,labels/c_0.nii.gz\n")
    with pytest.raises(InputError, match=r"line 2: images/c_0\.mnc is MINC, which medseg does not read; convert"):
        opened(tmp_path)


def test_images_without_label_maps_in_other_formats_stop_nobody(tmp_path):
    paired(tmp_path)
    touch(tmp_path / "images/d.mnc")
    shutil.copy(tmp_path / "images/c_0.nii.gz", tmp_path / "images/e.nii.gz")
    declare(tmp_path, labels={"front": 1, "back": 2})
    dataset = opened(tmp_path)
    assert (len(dataset.cases), dataset.problems) == (3, ())
    assert [case.id for case in dataset.unlabelled] == ["e"]
