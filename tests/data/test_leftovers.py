"""What a scan of a folder leaves aside: counted, and named by suffix, whatever the layout."""

import os
import sys

import pytest

from medseg.config.schema import DataConfig
from medseg.core.errors import InputError, UsageError
from medseg.data.inputs import find_inputs
from medseg.data.layouts import open_dataset
from medseg.data.leftovers import left_aside
from tests.data.dicom_trees import put_series, put_structures
from tests.data.folders import declare, msd, nnunet, paired, put_image, put_labels, touch


def as_table(root):
    paired(root, images="a", labels="b")
    rows = "".join(f"c_{n},a/c_{n}.nii.gz,b/c_{n}.nii.gz\n" for n in range(3))
    (root / "cases.csv").write_text(f"case,image,label\n{rows}")


def as_cases(root):
    for n in range(3):
        put_image(root / f"p{n}/t1.nii.gz")
        put_labels(root / f"p{n}/seg.nii.gz")


def as_bids(root):
    for n in range(3):
        put_image(root / f"sub-{n}/anat/sub-{n}_T1w.nii.gz")
        put_labels(root / f"derivatives/manual/sub-{n}/anat/sub-{n}_dseg.nii.gz")


def as_dicom(root):
    for n in range(2):
        series = put_series(root / f"P{n}/ct", f"id{n}", n)
        put_structures(root / f"P{n}/rt/1.dcm", series, lesion=(slice(1, 3), slice(2, 5), slice(2, 5)))


LAYOUTS = {
    "table": (as_table, "a"),
    "msd": (msd, "imagesTr"),
    "nnunet": (nnunet, "labelsTr"),
    "paired": (paired, "images"),
    "folders": (as_cases, "."),
    "bids": (as_bids, "sub-1"),
    "dicom": (as_dicom, "P1"),
}


@pytest.mark.parametrize("name", LAYOUTS)
def test_every_layout_counts_what_it_does_not_understand(tmp_path, name):
    make, home = LAYOUTS[name]
    make(tmp_path)
    for odd in ("old.mnc", "scout.PAR", "other.xyz", "notes.txt", "README", "dwi.bval"):
        touch(tmp_path / home / odd)
    dataset = open_dataset(tmp_path, DataConfig())
    assert dataset.layout == name
    (note,) = [note for note in dataset.notes if "no kind that medseg reads" in note]
    assert note == (
        "3 files are of no kind that medseg reads and were left aside: .mnc, .PAR, .xyz. "
        ".mnc is MINC; convert it to NIfTI. "
        ".PAR is Philips PAR/REC; convert it to NIfTI."
    )
    assert note in find_inputs([tmp_path]).notes


def test_a_whole_folder_says_nothing(tmp_path):
    touch(paired(tmp_path) / "README.md")
    declare(tmp_path, labels={"front": 1, "back": 2})
    assert left_aside(tmp_path) == ()


def test_voxels_of_a_header_beside_them_are_no_stranger(tmp_path):
    touch(tmp_path / "a.mhd")
    touch(tmp_path / "a.raw")
    touch(tmp_path / "deeper" / "b.raw")
    assert left_aside(tmp_path) == (
        "1 file is of no kind that medseg reads and was left aside: .raw. "
        ".raw is raw voxels without a header; "
        "write a MetaImage (.mhd) or NRRD (.nhdr) header for it.",
    )


def test_what_medseg_wrote_inside_of_a_data_set_is_not_counted(tmp_path):
    touch(tmp_path / "run" / "plan.json")
    touch(tmp_path / "run" / "fold_0" / "last.pt")
    assert left_aside(tmp_path) == ()


@pytest.mark.parametrize("make", [paired, nnunet, msd])
def test_folders_of_scans_among_scans_are_told(tmp_path, make):
    make(tmp_path)
    home = "images" if make is paired else "imagesTr"
    put_image(tmp_path / home / "more" / "c_9_0000.nii.gz")
    (tmp_path / home / "notes").mkdir()
    assert f"1 folder that holds scans was not looked into: {home}/more." in open_dataset(tmp_path, DataConfig()).notes


def test_images_of_nnunet_with_another_ending_are_told(tmp_path):
    nnunet(tmp_path)
    put_image(tmp_path / "imagesTr/d_0000.mha")
    note = '1 images do not end as file_ending ".nii.gz" says: d_0000.mha.'
    assert note in open_dataset(tmp_path, DataConfig()).notes


def test_a_folder_of_nothing_else_names_it(tmp_path):
    for n in range(3):
        touch(tmp_path / f"images/c{n}.mnc")
        touch(tmp_path / f"labels/c{n}.mnc")
    with pytest.raises(InputError, match=r"6 files are of no kind that medseg reads .* \.mnc is MINC"):
        open_dataset(tmp_path, DataConfig())
    with pytest.raises(InputError, match=r"3 files are of no kind that medseg reads .* \.mnc is MINC"):
        find_inputs([tmp_path / "images"])


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no pipes among files")
@pytest.mark.parametrize("name", LAYOUTS)
def test_pipes_and_devices_are_left_aside_in_every_layout(tmp_path, name):
    make, home = LAYOUTS[name]
    make(tmp_path)
    before = open_dataset(tmp_path, DataConfig())
    os.mkfifo(tmp_path / home / "readme")
    os.mkfifo(tmp_path / home / "c_9.nii.gz")
    (tmp_path / home / "c_8.nii.gz").symlink_to("/dev/zero")
    (tmp_path / home / "c_7.dcm").symlink_to(tmp_path / "gone.dcm")
    dataset = open_dataset(tmp_path, DataConfig())
    at = "" if home == "." else f"{home}/"
    note = (
        f"4 entries are no files and were left aside: {at}c_7.dcm (a link that leads nowhere), {at}c_8.nii.gz "
        f"(a device), {at}c_9.nii.gz (a pipe (FIFO)), {at}readme (a pipe (FIFO))."
    )
    assert note in dataset.notes
    assert note in find_inputs([tmp_path]).notes
    assert dataset.ids == before.ids


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no pipes among files")
@pytest.mark.parametrize("name", ["dataset.json", "cases.csv", "splits_final.json", "dataset.tsv"])
def test_a_pipe_in_the_place_of_a_description_is_none(tmp_path, name):
    os.mkfifo(paired(tmp_path) / name)
    assert open_dataset(tmp_path, DataConfig()).layout == "paired"
    with pytest.raises(UsageError, match=r"is a pipe \(FIFO\); give a file or a folder"):
        open_dataset(tmp_path / name, DataConfig())


@pytest.fixture
def nobody():
    """Permissions count for everybody but root."""
    if sys.platform == "win32":
        pytest.skip("permissions are others on Windows")
    if os.geteuid() != 0:
        yield
        return
    os.seteuid(65534)
    try:
        yield
    finally:
        os.seteuid(0)


@pytest.mark.parametrize("name", LAYOUTS)
def test_a_closed_folder_is_a_note_and_not_the_end(tmp_path, name, request):
    make, _ = LAYOUTS[name]
    make(tmp_path)
    (tmp_path / "closed").mkdir()
    for folder in (tmp_path, *tmp_path.parents[:3]):
        folder.chmod(0o755)
    (tmp_path / "closed").chmod(0)
    request.getfixturevalue("nobody")
    dataset = open_dataset(tmp_path, DataConfig())
    assert dataset.layout == name
    assert "1 folder may not be read and was left aside: closed." in dataset.notes
    assert len(find_inputs([tmp_path]).cases) == len(dataset.cases)
