"""Listings: regular files, folders, and what is neither, told without opening anything."""

import os
import socket
import sys

import pytest

from medseg import io
from medseg.core.errors import InputError
from medseg.io.files import digest, read_json
from medseg.io.kinds import looks_like_dicom
from medseg.io.listing import is_folder, is_regular, kind_of_special, listing

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="Windows has no pipes and devices among files")


@pytest.fixture
def odd_folder(tmp_path, monkeypatch):
    """A folder of two files, a folder, and one of each that is neither."""
    folder = tmp_path / "odd"
    (folder / "inner").mkdir(parents=True)
    (folder / "a.nii.gz").write_bytes(b"a")
    (folder / ".DS_Store").write_bytes(b"")
    (folder / "link.nii.gz").symlink_to(folder / "a.nii.gz")
    os.mkfifo(folder / "pipe.nii.gz")
    os.mkfifo(folder / "readme")
    (folder / "zero.nii.gz").symlink_to("/dev/zero")
    (folder / "nowhere.nii.gz").symlink_to(folder / "gone.nii.gz")
    (folder / "one").symlink_to(folder / "other")
    (folder / "other").symlink_to(folder / "one")
    with socket.socket(socket.AF_UNIX) as made:
        monkeypatch.chdir(folder)  # the path of a socket is short
        made.bind("talk")
        monkeypatch.undo()
    return folder


def test_a_listing_tells_files_from_what_must_not_be_opened(odd_folder):
    found = listing(odd_folder)
    assert [path.name for path in found.files] == ["a.nii.gz", "link.nii.gz"]
    assert [path.name for path in found.folders] == ["inner"]
    special = ["nowhere.nii.gz", "one", "other", "pipe.nii.gz", "readme", "talk", "zero.nii.gz"]
    assert [path.name for path in found.special] == special
    assert (found.n_hidden, found.is_readable) == (1, True)


def test_what_is_no_file_has_a_name(odd_folder):
    assert kind_of_special(odd_folder / "pipe.nii.gz") == "a pipe (FIFO)"
    assert kind_of_special(odd_folder / "zero.nii.gz") == "a device"
    assert kind_of_special(odd_folder / "talk") == "a socket"
    for name in ("a.nii.gz", "inner", "nowhere.nii.gz", "one", "absent"):
        assert kind_of_special(odd_folder / name) is None
    assert [is_regular(odd_folder / name) for name in ("a.nii.gz", "inner", "zero.nii.gz", "one")] == [
        True,
        *[False] * 3,
    ]
    assert [is_folder(odd_folder / name) for name in ("a.nii.gz", "inner", "one")] == [False, True, False]


def test_what_is_no_file_is_never_opened(odd_folder):
    """Each of these would wait, or read, for ever."""
    for name in ("pipe.nii.gz", "zero.nii.gz", "readme", "talk"):
        path = odd_folder / name
        assert io.kind_of(path) is None
        assert not looks_like_dicom(path)
        with pytest.raises(InputError, match="is a (pipe|device|socket)"):
            digest(path)
        with pytest.raises(InputError, match="is a (pipe|device|socket)"):
            read_json(path, "a record")
        with pytest.raises(InputError, match="is a (pipe|device|socket).*, and medseg reads files"):
            io.read(path)
    assert io.kind_of(odd_folder) is None


def test_a_folder_that_is_not_there_is_empty(tmp_path):
    assert listing(tmp_path / "absent").files == ()
    assert listing(tmp_path / "absent").is_readable
