"""Zip archives are read in place: nothing is unpacked to the disk, and names lead nowhere."""

import gzip
import shutil
import zipfile

import numpy as np
import pytest

from medseg import io
from medseg.core.errors import InputError, UsageError
from medseg.data.inputs import find_inputs
from medseg.io import archive
from medseg.io.archive import archive_of, first_bytes, members, opened
from tests.io.dicom_files import write_series

STORED = np.random.default_rng(0).integers(0, 3000, (5, 3, 4)).astype(np.uint16)


def zipped(path, names, method=zipfile.ZIP_DEFLATED):
    """An archive of (name, bytes)."""
    with zipfile.ZipFile(path, "w", method) as file:
        for name, content in names:
            file.writestr(name, content)
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


def test_an_archive_that_cannot_be_looked_into_is_left_to_who_says_why(tmp_path, series):
    whole = zipped(tmp_path / "a.zip", [("x.dcm", series[0].read_bytes())], zipfile.ZIP_STORED).read_bytes()
    secret = bytearray(whole)
    secret[6] |= 1
    secret[secret.index(b"PK\1\2") + 8] |= 1
    at = whole.index(b"PK\1\2")
    bomb = whole[: at + 24] + (0x7FFFFFFF).to_bytes(4, "little") + whole[at + 28 :]
    folder = tmp_path / "scans"
    folder.mkdir()
    for name, content, reason in (
        ("secret", secret, "is encrypted"),
        ("bomb", bomb, "no archive of scans"),
        ("cut", whole[:300], "table of contents"),
        ("words", b"no archive at all", "table of contents"),
    ):
        path = folder / f"{name}.zip"
        path.write_bytes(content)
        assert io.kind_of(path) == "dicom"
        with pytest.raises(InputError, match=reason):
            io.read(path)
    shutil.copytree(tmp_path / "series", folder / "ct")
    cases = find_inputs([folder]).cases
    assert sorted(case.images[0].name for case in cases) == ["bomb.zip", "ct", "cut.zip", "secret.zip", "words.zip"]
    assert find_inputs([folder / "bomb.zip"]).cases[0].images == (folder / "bomb.zip",)


@pytest.mark.parametrize("ending", [".dcm.gz", ".gz", ".IMA.gz", ".DCM.GZ"])
def test_a_series_of_gzipped_files_is_the_volume_of_its_folder(tmp_path, series, ending):
    for path in series:
        (tmp_path / "packed").mkdir(exist_ok=True)
        (tmp_path / "packed" / f"{path.stem}{ending}").write_bytes(gzip.compress(path.read_bytes()))
    assert io.kind_of(tmp_path / "packed") == io.kind_of(tmp_path / "packed" / f"001{ending}") == "dicom"
    np.testing.assert_array_equal(io.read(tmp_path / "packed").array, io.read(tmp_path / "series").array)
    names = [(path.name, path.read_bytes()) for path in (tmp_path / "packed").iterdir()]
    np.testing.assert_array_equal(io.read(zipped(tmp_path / "p.zip", names)).array, io.read(tmp_path / "series").array)
    one = tmp_path / "packed" / f"001{ending}"
    assert io.read(one).geometry.shape == (4, 3, 1)
    assert io.stem("a/001.dcm.gz") == "001"


def test_gzipped_files_are_bounded_and_damage_is_said(tmp_path, series, monkeypatch):
    path = tmp_path / "a" / "one.dcm.gz"
    path.parent.mkdir()
    whole = gzip.compress(series[0].read_bytes())
    path.write_bytes(whole[:-20])
    with pytest.raises(InputError, match="cut off: its compressed data end too early"):
        io.read(path)
    damaged = bytearray(whole)
    damaged[-8] ^= 1
    path.write_bytes(damaged)
    with pytest.raises(InputError, match="its compressed data are wrong"):
        io.read(path)
    write_series(path.parent, STORED)
    with pytest.raises(InputError, match="it may be a slice of the series beside it"):
        io.read(path.parent)
    path.write_bytes(gzip.compress(series[0].read_bytes() + bytes(1 << 25)))
    monkeypatch.setattr(archive, "_ALWAYS_ALLOWED_OF_ONE", 1 << 20)
    with pytest.raises(InputError, match="that is no scan"):
        opened(path)


def test_a_length_that_a_file_claims_takes_no_memory(tmp_path, series):
    """Under a limit of memory one such file ended the look at a folder."""
    path = tmp_path / "series" / "lying.dcm"
    content = series[0].read_bytes()
    path.write_bytes(content[:400] + b"\x09\x00\x10\x00OB\0\0\xf0\xff\xff\x7f" + bytes(300))

    with opened(path) as file:
        assert len(file.read(0x7FFFFFF0)) == path.stat().st_size
    with opened(path) as file:
        file.seek(100)
        assert len(file.read(0x7FFFFFF0)) == path.stat().st_size - 100
        assert file.read(1 << 21) == b""
    assert len(io.catalogue(tmp_path / "series").series) == 1
