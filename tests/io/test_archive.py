"""Zip archives are read in place: nothing is unpacked to the disk, and names lead nowhere."""

import zipfile

import numpy as np
import pytest

from medseg import io
from medseg.core.errors import InputError, UsageError
from medseg.io.archive import archive_of, first_bytes, members, opened
from tests.io.dicom_files import write_series

STORED = np.random.default_rng(0).integers(0, 3000, (5, 3, 4)).astype(np.uint16)


def zipped(path, names, method=zipfile.ZIP_DEFLATED):
    """An archive of (name, bytes)."""
    with zipfile.ZipFile(path, "w", method) as archive:
        for name, content in names:
            archive.writestr(name, content)
    return path


@pytest.fixture
def series(tmp_path):
    return write_series(tmp_path / "series", STORED)


def test_a_zipped_series_is_the_volume_of_its_folder(tmp_path, series):
    names = [(f"study/A long name/{n}/file", path.read_bytes()) for n, path in enumerate(series)]
    path = zipped(tmp_path / "Scan.ZIP", [*names, ("__MACOSX/._file", b"0"), ("readme.txt", b"words")])
    assert io.kind_of(path) == "dicom"
    plain, packed = io.read(tmp_path / "series"), io.read(path)
    np.testing.assert_array_equal(plain.array, packed.array)
    assert plain.geometry == packed.geometry == io.read_geometry(path)[0]
    assert "2 files without DICOM" in packed.meta.warnings[0]
    assert sorted(p.name for p in tmp_path.iterdir()) == ["Scan.ZIP", "series"]


def test_names_that_lead_out_of_an_archive_lead_nowhere(tmp_path, series):
    names = ["../../outside.dcm", "/etc/passwd", "C:\\windows\\x.dcm", "a/../../b.dcm", "..\\up.dcm"]
    path = zipped(tmp_path / "scan.zip", zip(names, (p.read_bytes() for p in series), strict=True))
    for member in members(path):
        assert path in member.parents
        assert ".." not in member.parts
    np.testing.assert_array_equal(io.read(path).array, io.read(tmp_path / "series").array)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["scan.zip", "series"]
    assert not (tmp_path.parent / "outside.dcm").exists()


def test_a_member_is_read_by_its_path(tmp_path, series):
    path = zipped(tmp_path / "scan.zip", [("in/one.dcm", series[2].read_bytes())])
    member = path / "in" / "one.dcm"
    assert archive_of(member) == path
    assert archive_of(path) is None
    assert first_bytes(member, 132)[128:] == b"DICM"
    with opened(member) as file:
        assert file.read() == series[2].read_bytes()
    np.testing.assert_array_equal(io.read(member).array, io.read(series[2]).array)
    with pytest.raises(UsageError, match="does not exist"):
        io.read(path / "in" / "two.dcm")


def test_an_archive_that_declares_too_much_is_refused_before_it_is_unpacked(tmp_path):
    path = zipped(tmp_path / "bomb.zip", [(f"{n}.dcm", bytes(1000)) for n in range(3)])
    content = bytearray(path.read_bytes())
    at = content.index(b"PK\1\2")
    content[at + 24 : at + 28] = (0x7FFFFFFF).to_bytes(4, "little")  # the size in the directory
    path.write_bytes(content)
    with pytest.raises(InputError, match="declares to hold 2147485647; that is no archive of scans"):
        members(path)
    with pytest.raises(InputError, match="no archive of scans"):
        io.read(path)


def test_damage_and_other_contents_are_said(tmp_path, series):
    content = bytearray(zipped(tmp_path / "a.zip", [("x.dcm", series[0].read_bytes())]).read_bytes())
    content[200:260] = bytes(60)
    (tmp_path / "damaged.zip").write_bytes(content)
    with pytest.raises(InputError, match=r"damaged\.zip is damaged"):
        opened(tmp_path / "damaged.zip" / "x.dcm")
    with pytest.raises(InputError, match=r"damaged|without DICOM|without a DICOM file"):
        io.read(tmp_path / "damaged.zip")
    (tmp_path / "cut.zip").write_bytes(content[:300])
    with pytest.raises(InputError, match=r"cut\.zip is damaged: its table of contents"):
        io.read(tmp_path / "cut.zip")
    with pytest.raises(InputError, match="a zip archive without a DICOM file"):
        io.read(zipped(tmp_path / "words.zip", [("x.txt", b"words")]))


def test_an_encrypted_member_is_refused_with_what_to_do(tmp_path, series):
    path = zipped(tmp_path / "secret.zip", [("x.dcm", series[0].read_bytes())], zipfile.ZIP_STORED)
    content = bytearray(path.read_bytes())
    content[6] |= 1  # the flag in the local header, and in the directory
    content[content.index(b"PK\1\2") + 8] |= 1
    path.write_bytes(content)
    with pytest.raises(InputError, match="is encrypted; unpack secret.zip with its password"):
        opened(path / "x.dcm")
