"""Which images are one volume: what lies beside it is named, and of several volumes none is taken unasked."""

import numpy as np
import pytest
from pydicom.uid import SecondaryCaptureImageStorage

from medseg import io
from medseg.core.errors import InputError
from medseg.io import ReadOptions
from tests.io.dicom_files import write_series

STORED = np.random.default_rng(0).integers(0, 3000, (5, 3, 4)).astype(np.uint16)


def without_place(k, slice_):
    for keyword in ("ImagePositionPatient", "ImageOrientationPatient", "PixelSpacing"):
        delattr(slice_, keyword)


def test_the_one_volume_of_a_study_is_taken_and_the_rest_named(tmp_path):
    write_series(tmp_path / "s" / "volume", STORED)
    write_series(tmp_path / "s" / "single", STORED[:1], SeriesNumber=6)
    write_series(tmp_path / "s" / "scout", STORED[:2], SeriesNumber=1, ImageType=["ORIGINAL", "PRIMARY", "LOCALIZER"])
    report = {"SeriesNumber": 9, "SOPClassUID": SecondaryCaptureImageStorage}
    write_series(tmp_path / "s" / "report", STORED[:2], change=without_place, **report)
    volume = io.read(tmp_path / "s")
    np.testing.assert_array_equal(volume.array[0].T, STORED.astype(int) - 1024)
    scouts, others = volume.meta.warnings
    assert scouts == "2 localizer images were left aside."
    assert others.startswith("Series 5 is the only volume; left aside: series 9: 2 CT images of 4 × 3")
    assert "series 6: 1 CT image of 4 × 3" in others


def test_two_volumes_are_a_list_with_the_words_that_choose(tmp_path):
    write_series(tmp_path / "s" / "ct", STORED)
    write_series(tmp_path / "s" / "mr", STORED[:2], SeriesNumber=6, Modality="MR")
    with pytest.raises(InputError, match=r"2 image series .* --read series=[0-9.]+ or --read modality=CT\.$"):
        io.read(tmp_path / "s")
    assert io.read(tmp_path / "s", ReadOptions(modality="CT")).geometry.shape == (4, 3, 5)
    assert io.read(tmp_path / "s", ReadOptions(modality="MR")).geometry.shape == (4, 3, 2)
    with pytest.raises(InputError, match=r"no images of modality PT; there are CT, MR\."):
        io.read(tmp_path / "s", ReadOptions(modality="PT"))
    with pytest.raises(InputError, match=r"no series 5\. There are: series 6: 2 MR images"):
        io.read(tmp_path / "s", ReadOptions(modality="MR", series="5"))


def test_a_number_that_two_series_have_chooses_neither(tmp_path):
    write_series(tmp_path / "s" / "a", STORED)
    write_series(tmp_path / "s" / "b", STORED)
    with pytest.raises(InputError, match="holds 2 image series"):
        io.read(tmp_path / "s", ReadOptions(series="5"))


def test_one_series_of_two_patients_is_no_volume(tmp_path):
    """Anonymised twice with the same UIDs: positions interleave as if they were one scan."""
    write_series(tmp_path / "s", STORED, change=lambda k, s: setattr(s, "PatientID", f"{k % 2}"))
    with pytest.raises(
        InputError, match=r"2 different stacks \(they differ in PatientID\), of 3, 2 images; put the files"
    ):
        io.read(tmp_path / "s")


def test_a_stray_image_without_an_orientation_is_not_another_orientation(tmp_path):
    def change(k, slice_):
        if k == 4:
            del slice_.ImageOrientationPatient

    write_series(tmp_path / "s", STORED, change=change)
    with pytest.raises(InputError, match="2 orientations of slices, of 4, 1 images"):
        io.read(tmp_path / "s")


def test_many_series_are_counted_and_a_few_listed(tmp_path):
    for n in range(10):
        write_series(tmp_path / "s" / f"{n}", STORED[: 3 if n == 4 else 2, :1, :1], SeriesNumber=n)
    with pytest.raises(InputError, match=r"holds 10 image series .*series 7: 2 CT images.*; and 2 more\)") as refusal:
        io.read(tmp_path / "s")
    chosen = io.read(tmp_path / "s", ReadOptions(series=str(refusal.value).rpartition("=")[2].rstrip(".")))
    assert chosen.geometry.shape == (1, 1, 3)


def test_text_in_place_of_a_number_is_not_repeated(tmp_path):
    write_series(tmp_path / "s", STORED, change=lambda k, s: s.__setattr__("SeriesNumber", None))[2].unlink()
    with pytest.raises(InputError, match=r"Series …[0-9.]{8} lacks 1 slice"):
        io.read(tmp_path / "s")


def test_files_that_name_no_series_belong_together_by_folder(tmp_path):
    """Two halves of one space, of two people perhaps."""
    blank = {"SeriesInstanceUID": "", "FrameOfReferenceUID": ""}
    write_series(tmp_path / "s" / "a", STORED, **blank)
    write_series(tmp_path / "s" / "b", STORED, origin=(-10, 20, 42.5), **blank)
    with pytest.raises(InputError, match=r"2 different stacks \(they differ in their folders\)"):
        io.read(tmp_path / "s")
    assert io.read(tmp_path / "s" / "b").geometry.shape == (4, 3, 5)


PLANES = {"axial": (1, 0, 0, 0, 1, 0), "coronal": (1, 0, 0, 0, 0, -1), "sagittal": (0, 1, 0, 0, 0, -1)}


def write_survey(folder, counts, *, step_mm=25.0, thickness=15, planes=tuple(PLANES), **more):
    """Images in several planes as one series; one number in `counts` for each plane."""
    for plane, n in zip(planes, counts, strict=True):
        axes = np.reshape(PLANES[plane], (2, 3)).astype(float)
        normal = np.cross(*axes)
        write_series(
            folder / plane,
            np.resize(STORED, (n, 3, 4)),
            axes=axes,
            step=normal * step_mm,
            SliceThickness=thickness,
            **{"SeriesInstanceUID": "1.2.3", "FrameOfReferenceUID": "1.2.4", "StudyInstanceUID": "1.2.5", **more},
        )


@pytest.mark.parametrize(
    ("counts", "more"),
    [
        ((3, 5, 3), {}),
        ((1, 1, 4), {}),
        ((2, 9, 4), {}),
        ((12, 3, 1), {}),
        ((4, 3), {"planes": ("coronal", "axial")}),
        ((5, 3, 3), {"step_mm": 12.0, "thickness": 10}),  # hardly sparse: three planes of few images
        ((5, 3, 3), {"step_mm": 12.0, "thickness": None}),
        ((6, 1), {"planes": ("axial", "sagittal"), "step_mm": 9.0, "thickness": 9, "ProtocolName": "3-Plane Loc"}),
        ((7, 7, 7), {}),
        ((3, 3, 3), {"SeriesDescription": "SURVEY"}),
    ],
)
def test_a_survey_in_several_planes_is_no_volume_until_one_plane_is_taken(tmp_path, counts, more):
    write_survey(tmp_path / "s", counts, **more)
    with pytest.raises(InputError, match=r"mm apart\): it is a survey \(scout\) and no volume") as refusal:
        io.read(tmp_path / "s")
    option = str(refusal.value).rpartition("--read select=")[2].rstrip(".")
    assert io.read(tmp_path / "s", ReadOptions(select=option)).geometry.shape[2] == max(counts)
    (entry,) = io.catalogue(tmp_path / "s").series
    assert entry.is_scout


@pytest.mark.parametrize(
    ("counts", "more"),
    [
        ((20, 1), {"planes": ("axial", "sagittal"), "step_mm": 5.0, "thickness": 5}),
        ((30, 1, 1), {"step_mm": 10.0, "thickness": 1}),  # thin slices with gaps, and its two scouts
        ((4, 1), {"planes": ("coronal", "axial"), "step_mm": 4.0, "thickness": 3}),
        ((13, 2, 2), {"step_mm": 3.0, "thickness": 3}),
    ],
)
def test_a_volume_with_a_few_images_in_another_plane_stays_a_volume(tmp_path, counts, more):
    write_survey(tmp_path / "s", counts, **more)
    volume = io.read(tmp_path / "s")
    assert volume.geometry.shape[2] == counts[0]
    assert "of another orientation in series 5" in volume.meta.warnings[0]
    assert not io.catalogue(tmp_path / "s").series[0].is_scout


def test_a_survey_beside_a_volume_is_left_aside_by_name(tmp_path):
    write_survey(tmp_path / "s" / "survey", (3, 5, 3), SeriesNumber=1)
    write_series(tmp_path / "s" / "volume", STORED)
    volume = io.read(tmp_path / "s")
    np.testing.assert_array_equal(volume.array[0].T, STORED.astype(int) - 1024)
    assert volume.meta.warnings == ("11 images of a survey (scout), series 1, were left aside.",)
    with pytest.raises(InputError, match="survey"):
        io.read(tmp_path / "s", ReadOptions(series="1"))


def test_cosines_that_differ_as_those_of_one_stack_may_are_selected_together(tmp_path):
    def change(k, slice_):
        slice_.ImageOrientationPatient = ["1", f"{0.0002 * k:.4f}", "0", "0", "1", "0"]

    write_series(tmp_path / "s", STORED, change=change)
    select = ReadOptions(select="ImageOrientationPatient=1/0/0/0/1/0")
    assert io.read(tmp_path / "s", select).geometry.shape[2] == len(STORED)
