"""Kinds of image: by name, and DICOM by looking."""

import pytest

from medseg.core.errors import UsageError
from medseg.io import kind_of, stem, suffix_for
from medseg.io.kinds import WRITABLE


@pytest.mark.parametrize(
    ("name", "kind", "bare"),
    [
        ("a.nii.gz", "nifti", "a"),
        ("a.b.NII.GZ", "nifti", "a.b"),
        ("a.nii", "nifti", "a"),
        ("a.mha", "mha", "a"),
        ("a.mhd", "mha", "a"),
        ("a.nrrd", "nrrd", "a"),
        ("a.seg.nrrd", "nrrd", "a"),
        ("a.png", "png", "a"),
        ("a.TIF", "tiff", "a"),
        ("a.jpeg", "jpeg", "a"),
        ("a.bmp", "bmp", "a"),
        ("a.GIF", "gif", "a"),
        ("a.dcm", "dicom", "a"),
        ("a.txt", None, "a.txt"),
        ("a.gz", None, "a.gz"),
        ("liver 1.2", None, "liver 1.2"),
    ],
)
def test_a_name_tells_kind_and_stem(name, kind, bare):
    assert kind_of(name) == kind
    assert stem(f"folder.nii/{name}") == bare


def test_dicom_without_a_suffix_is_known_by_looking(tmp_path):
    (tmp_path / "IM0001").write_bytes(bytes(128) + b"DICM" + bytes(20))
    (tmp_path / "1.2.840.113").write_bytes(b"\x08\x00\x05\x00CS\x0a\x00ISO_IR 100")
    (tmp_path / "notes").write_bytes(b"liver, spleen and so on, for longer than a preamble" * 4)
    assert kind_of(tmp_path / "IM0001") == "dicom"
    assert kind_of(tmp_path / "1.2.840.113") == "dicom"
    assert kind_of(tmp_path / "notes") is None


def test_a_folder_is_dicom_if_it_holds_some_at_any_depth(tmp_path):
    (tmp_path / "a" / "b").mkdir(parents=True)
    (tmp_path / "mask.nii.gz").write_bytes(bytes(128) + b"DICM")
    (tmp_path / ".hidden").write_bytes(bytes(128) + b"DICM")
    assert kind_of(tmp_path) is None
    (tmp_path / "a" / "b" / "IM1").write_bytes(bytes(128) + b"DICM")
    assert kind_of(tmp_path) == "dicom"


def test_what_stands_for_an_input_can_be_written():
    for kind in ("nifti", "mha", "nrrd", "png", "tiff", "jpeg", "bmp", "gif", "dicom"):
        assert suffix_for(kind) in WRITABLE
    assert suffix_for("nifti") == ".nii.gz"
    with pytest.raises(UsageError, match="'webp' is no kind"):
        suffix_for("webp")
