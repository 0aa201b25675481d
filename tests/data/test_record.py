"""Files that changed are found, in every form that a case can have; a data set that moved is the same."""

import os
import shutil
from dataclasses import replace

import pytest

from medseg.core.errors import InputError
from medseg.data.dataset import Case
from medseg.data.record import FilesRecord, load_record, record_of, save_record


def recorded(*cases):
    (record,) = [item for item in record_of(cases) if isinstance(item, FilesRecord)]
    return record


@pytest.fixture
def folder(tmp_path):
    root = tmp_path / "data"
    (root / "series").mkdir(parents=True)
    for name in (
        "a.nii.gz",
        "b.nii.gz",
        "labels.nii.gz",
        "liver.nii.gz",
        "spleen.nii.gz",
        "series/1.dcm",
        "series/2.dcm",
    ):
        (root / name).write_bytes(name.encode() * 100)
    (root / "voxels.raw").write_bytes(b"voxels")
    (root / "c.mhd").write_text(
        "ObjectType = Image\nNDims = 1\nDimSize = 6\nElementType = MET_UCHAR\nElementDataFile = voxels.raw\n"
    )
    return root


def case_in(root):
    masks = {"liver": root / "liver.nii.gz", "spleen": root / "spleen.nii.gz"}
    images = (root / "a.nii.gz", root / "series", root / "c.mhd")
    return Case("case", images, masks)


def change(path):
    """Other bytes, as many, at another time."""
    path.write_bytes(bytes(byte ^ 1 for byte in path.read_bytes()))
    os.utime(path, ns=(1, path.stat().st_mtime_ns + 10**9))


def test_nothing_has_changed_where_nothing_was_touched(folder):
    case = case_in(folder)
    assert recorded(case).cases["case"].changed(case) == ()


@pytest.mark.parametrize(
    ("name", "role"),
    [
        ("a.nii.gz", "channel 0"),
        ("series/2.dcm", "channel 1"),
        ("voxels.raw", "channel 2"),
        ("liver.nii.gz", "mask of liver"),
        ("spleen.nii.gz", "mask of spleen"),
    ],
)
def test_a_change_is_found_in_its_role(folder, name, role):
    case = case_in(folder)
    record = recorded(case)
    change(folder / name)
    assert record.cases["case"].changed(case) == (role,)


def test_more_files_fewer_files_and_no_files_are_changes(folder):
    case = case_in(folder)
    record = recorded(case)
    (folder / "series/3.dcm").write_bytes(b"")
    assert record.cases["case"].changed(case) == ("channel 1",)
    (folder / "series/3.dcm").unlink()
    assert record.cases["case"].changed(case) == ()
    (folder / "a.nii.gz").unlink()
    assert record.cases["case"].changed(case) == ("channel 0",)


def test_other_roles_and_another_reading_are_changes(folder):
    case = case_in(folder)
    record = recorded(case).cases["case"]
    assert record.changed(replace(case, label=folder / "labels.nii.gz")) == (
        "mask of liver",
        "mask of spleen",
        "label map",
    )
    assert record.changed(replace(case, images=case.images[:2])) == ("channel 2",)
    assert record.changed(replace(case, read={"geometry": "sform"})) == ("reading",)


def test_a_data_set_that_was_moved_or_copied_is_the_same(folder, tmp_path):
    record = recorded(case_in(folder))
    moved = shutil.copytree(folder, tmp_path / "elsewhere" / "data")
    for path in moved.rglob("*"):
        os.utime(path, (0, 0))
    assert record.cases["case"].changed(case_in(moved)) == ()


def test_a_record_comes_back_and_holds_no_path(folder, tmp_path):
    record = recorded(case_in(folder))
    save_record(record, tmp_path / "files.json")
    assert load_record(tmp_path / "files.json") == record
    text = (tmp_path / "files.json").read_text()
    assert str(tmp_path) not in text
    assert "nii.gz" not in text


@pytest.mark.parametrize("text", ["[]", "{}", '{"schema": "medseg/files/1", "cases": 7}', "[" * 100_000])
def test_a_damaged_record_is_named(tmp_path, text):
    (tmp_path / "files.json").write_text(text)
    with pytest.raises(InputError, match=r"files\.json \(the record of the files\)"):
        load_record(tmp_path / "files.json")
