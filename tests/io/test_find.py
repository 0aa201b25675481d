"""DICOM files are found whatever their names are, and what is left aside is counted; a broken one is not overlooked."""

import numpy as np
import pytest
from pydicom.uid import BasicTextSRStorage, SegmentationStorage

from medseg import io
from medseg.core.errors import InputError
from medseg.io.dicom.find import Frame, find_images, look, numbers, text
from tests.io.dicom_files import write_series

STORED = np.random.default_rng(0).integers(0, 3000, (5, 3, 4)).astype(np.uint16)


def test_files_are_found_at_any_depth_and_under_any_name(tmp_path):
    for n, path in enumerate(write_series(tmp_path / "s", STORED)):
        target = tmp_path / "s" / ("/".join("abcde"[:n])) / ["IM", "x.ima", "y.txt", "1.2.840", "ü ñ.DCM"][n]
        target.parent.mkdir(parents=True, exist_ok=True)
        path.rename(target)
    assert len(find_images(tmp_path / "s").images) == 5
    np.testing.assert_array_equal(io.read(tmp_path / "s").array[0].T, STORED.astype(int) - 1024)


def test_what_is_left_aside_is_counted_by_kind(tmp_path):
    write_series(tmp_path / "s", STORED)
    write_series(tmp_path / "s" / "seg", STORED[:2], SOPClassUID=SegmentationStorage)
    write_series(tmp_path / "s" / "report", STORED[:1], SOPClassUID=BasicTextSRStorage)
    (tmp_path / "s" / "empty").touch()
    (tmp_path / "s" / "nowhere").symlink_to(tmp_path / "gone")
    found = look(tmp_path / "s")
    assert (len(found.images), len(found.objects), found.n_unknown) == (5, 3, 1)
    assert set(found.notes) == {
        "1 file of class Basic Text SR was left aside.",
        "1 file without DICOM in it was left aside.",
    }


@pytest.mark.parametrize("end", [133, 150, 200, 260, 330, 400, 500, 600])
def test_a_slice_at_an_end_whose_header_breaks_off_is_missed(tmp_path, end):
    """Without it the rest is a regular volume, one slice shorter."""
    path = write_series(tmp_path / "s", STORED)[4]
    path.write_bytes(path.read_bytes()[:end])
    with pytest.raises(InputError, match=r"005\.dcm is cut off or damaged: its header breaks off"):
        io.read(tmp_path / "s")
    (tmp_path / "s" / "elsewhere").mkdir()
    path.rename(tmp_path / "s" / "elsewhere" / "005.dcm")
    volume = io.read(tmp_path / "s")
    assert volume.geometry.shape == (4, 3, 4)
    assert volume.meta.warnings == ("1 file with a damaged header (005.dcm) was left aside.",)


def test_two_bytes_that_look_like_dicom_are_not(tmp_path):
    write_series(tmp_path / "s", STORED)
    (tmp_path / "s" / "data.bin").write_bytes(b"\x08\x00\x08\x00CS" + bytes(range(250)))
    assert look(tmp_path / "s").n_unknown == 1


def test_texts_are_those_that_pydicom_converts(tmp_path):
    def change(k, slice_):
        slice_.SliceLocation, slice_.AcquisitionTime, slice_.InstanceNumber = " 12.50 ", "120000.10", 3
        slice_.ImageComments, slice_.PatientAge = "words", "050Y"

    frame = look(write_series(tmp_path / "s", STORED, change=change)[0]).images[0]
    assert isinstance(frame, Frame)
    assert text(frame.header, "ImageType") == "ORIGINAL\\PRIMARY\\AXIAL"
    assert [text(frame.header, key) for key in ("SliceLocation", "InstanceNumber", "Rows")] == ["12.50", "3", "3"]
    assert [text(frame.header, key) for key in ("ImageComments", "PatientAge", "EchoTime")] == ["words", "050Y", ""]
    assert numbers(frame.header, "PixelSpacing", 2) == (0.8, 0.6)
    assert numbers(frame.header, "PixelSpacing", 3) is None
    assert numbers(frame.header, "ImageType", 3) is None
    for element in list(frame.header):
        converted = element.value if isinstance(element.value, str) else None
        if converted is not None:
            assert text(frame.header, element.keyword) == converted.strip()
