"""A stamp stays while files stay, wherever they lie, and is another one after any change."""

import os
import shutil
import zipfile

import pytest

from medseg.data.dataset import Case
from medseg.data.stamps import stamp_of


@pytest.fixture
def folder(tmp_path):
    root = tmp_path / "data"
    (root / "series").mkdir(parents=True)
    for name in (
        "image.nii.gz",
        "label.nii.gz",
        "scan.mhd",
        "scan.raw",
        "liver.nii.gz",
        "series/1.dcm",
        "series/2.dcm",
    ):
        (root / name).write_bytes(name.encode())
    (root / "scan.mhd").write_text("NDims = 1\nDimSize = 8\nElementType = MET_UCHAR\nElementDataFile = scan.raw\n")
    return root


def case(root, image="image.nii.gz", label="label.nii.gz", **more):
    return Case("a", (root / image,), root / label, **more)


def change(path):
    """Other bytes of the same number, a second later."""
    status = path.stat()
    path.write_bytes(b"x" * status.st_size)
    os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns + 10**9))


def test_a_case_keeps_its_stamp_when_the_data_set_moves(folder, tmp_path):
    before = stamp_of(case(folder))
    assert stamp_of(case(folder)) == before
    moved = shutil.move(folder, tmp_path / "elsewhere")
    assert stamp_of(case(moved)) == before


@pytest.mark.parametrize(
    ("image", "changed"),
    [
        ("image.nii.gz", "image.nii.gz"),
        ("image.nii.gz", "label.nii.gz"),
        ("scan.mhd", "scan.raw"),
        ("series", "series/2.dcm"),
    ],
)
def test_a_file_that_changes_changes_the_stamp(folder, image, changed):
    before = stamp_of(case(folder, image))
    change(folder / changed)
    assert stamp_of(case(folder, image)) != before


def test_a_slice_more_changes_the_stamp(folder):
    before = stamp_of(case(folder, "series"))
    (folder / "series/3.dcm").write_bytes(b"3")
    assert stamp_of(case(folder, "series")) != before


def test_a_mask_of_a_structure_and_the_way_of_reading_count(folder):
    masks = {"liver": folder / "liver.nii.gz"}
    before = stamp_of(Case("a", (folder / "image.nii.gz",), masks))
    assert stamp_of(Case("a", (folder / "image.nii.gz",), masks, read={"missing": "fill"})) != before
    change(masks["liver"])
    assert stamp_of(Case("a", (folder / "image.nii.gz",), masks)) != before


def test_what_lies_in_an_archive_has_the_stamp_of_the_archive(folder):
    with zipfile.ZipFile(folder / "scans.zip", "w") as archive:
        archive.writestr("series/1.dcm", "1")
    before = stamp_of(case(folder, "scans.zip/series"))
    change(folder / "scans.zip")
    assert stamp_of(case(folder, "scans.zip/series")) != before
