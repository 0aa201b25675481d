"""Formats that medseg does not read: each has a name, and a way to become readable."""

import re

import pytest

from medseg import io
from medseg.core.errors import InputError
from medseg.io.foreign import foreign_suffix, format_name, is_sidecar, why_unread


@pytest.mark.parametrize(
    ("name", "suffix", "told"),
    [
        ("t1.mnc", ".mnc", "is MINC, which medseg does not read; convert it to NIfTI"),
        ("T1.PAR", ".PAR", "is Philips PAR/REC, which medseg does not read; convert it to NIfTI"),
        ("t1+orig.BRIK.gz", ".BRIK.gz", "is AFNI, which medseg does not read; convert it to NIfTI"),
        ("slide.svs", ".svs", "is Aperio SVS, which medseg does not read; convert it to TIFF"),
        ("scan.tar.gz", ".tar.gz", "is an archive (tar), which medseg does not read; unpack it"),
        ("photo.webp", ".webp", "is WebP, which medseg does not read; convert it to PNG"),
    ],
)
def test_a_format_is_refused_by_its_name_and_the_remedy_fits(tmp_path, name, suffix, told):
    path = tmp_path / name
    path.write_bytes(b"x" * 400)
    assert foreign_suffix(path) == suffix
    assert why_unread(path) == told
    with pytest.raises(InputError, match=re.escape(told)):
        io.read(path)


def test_what_has_no_name_is_told_what_is_read():
    assert format_name("scan.xyz") is None
    assert why_unread("scan.xyz").startswith("is no scan that medseg reads (.nii.gz, .nii,")
    assert why_unread("scan.xyz", with_kinds=False) == "is no scan that medseg reads"


def test_notes_tables_and_transforms_are_no_images():
    for name in ("README", "LICENSE", "sub-01.json", "dwi.bval", "to_mni.xfm", "a.TXT", "lesion.stl"):
        assert is_sidecar(name)
    for name in ("t1.mnc", "t1.xyz", "IM0001", "t1.nii.gz"):
        assert not is_sidecar(name)


def test_no_suffix_is_both_read_and_foreign():
    from medseg.io.foreign import _FORMATS, _SIDECARS

    assert not set(_FORMATS) & _SIDECARS
