"""A catalogue tells by headers alone which series and labels lie under a path, and which of them can be read."""

import shutil

import numpy as np
import pytest
from pydicom.dataset import Dataset
from pydicom.uid import RTStructureSetStorage, SegmentationStorage, generate_uid

from medseg import io
from medseg.core.errors import InputError, UsageError
from medseg.io import ReadOptions
from tests.io.dicom_files import write_series, write_slice

STORED = np.random.default_rng(0).integers(0, 3000, (5, 3, 4)).astype(np.uint16)


def without_pixels(k, slice_):
    del slice_.PixelData


def test_series_of_a_study_are_entries_with_what_chooses_them(tmp_path):
    first = write_series(tmp_path / "study" / "a", STORED, change=without_pixels)
    write_series(tmp_path / "study" / "b" / "c", STORED[:3], change=without_pixels, SeriesNumber=7, Modality="MR")
    found = io.catalogue(tmp_path / "study")
    assert [(e.number, e.modality, e.n_images, e.n_stacks, e.problem) for e in found.series] == [
        ("5", "CT", 5, 1, None),
        ("7", "MR", 3, 1, None),
    ]
    assert found.series[0].paths == tuple(first)
    assert found.series[0].patient == found.series[1].patient
    assert (found.objects, found.notes) == ((), ())
    for entry in found.series:
        grid, _ = io.read_geometry(tmp_path / "study", ReadOptions(series=entry.uid))
        assert grid.shape[2] == entry.n_images


def test_patients_are_told_apart_and_not_named(tmp_path):
    write_series(tmp_path / "study" / "a", STORED)
    write_series(tmp_path / "study" / "b", STORED, PatientID="4712")
    write_series(tmp_path / "study" / "c", STORED, PatientID="4711", PatientName="Doe^Jane")
    found = io.catalogue(tmp_path / "study")
    a, b, c = (entry.patient for entry in found.series)
    assert a == c != b
    assert not any(word in repr(found) for word in ("Doe", "4711", "4712"))


def test_a_series_that_cannot_be_read_says_why(tmp_path):
    write_series(tmp_path / "s" / "a", STORED)[2].unlink()
    write_series(tmp_path / "s" / "b", STORED, SeriesNumber=6, ImageType=["ORIGINAL", "PRIMARY", "LOCALIZER"])
    lacking, scouts = io.catalogue(tmp_path / "s").series
    assert "lacks 1 slice" in lacking.problem
    assert "5 localizer images" in scouts.problem
    with pytest.raises(InputError) as refusal:
        io.read(tmp_path / "s", ReadOptions(series=lacking.uid))
    assert str(refusal.value) == lacking.problem
    filled = io.catalogue(tmp_path / "s", ReadOptions(missing="fill"))
    assert filled.series[0].problem is None


def test_labels_are_entries_with_what_they_refer_to(tmp_path):
    images = write_series(tmp_path / "s", STORED)
    write_slice(segmentation("1.2.3", ["1.2.3.4", "1.2.3.5"], ["liver", "tumour"]), tmp_path / "s" / "seg.dcm")
    write_slice(structures("1.2.3", ["1.2.3.4"], ["GTV"]), tmp_path / "s" / "structures")
    found = io.catalogue(tmp_path / "s")
    assert [entry.paths for entry in found.series] == [tuple(images)]
    seg, rtstruct = found.objects
    assert (seg.kind, seg.names, seg.path.name) == ("seg", ("liver", "tumour"), "seg.dcm")
    assert (rtstruct.kind, rtstruct.names, rtstruct.path.name) == ("rtstruct", ("GTV",), "structures")
    assert seg.series == rtstruct.series == {"1.2.3"}
    assert seg.instances == {"1.2.3.4", "1.2.3.5"}
    assert rtstruct.instances == {"1.2.3.4"}
    assert seg.frame_of_reference == rtstruct.frame_of_reference == "1.2.9"
    assert found.notes == ()


def test_an_empty_folder_a_file_and_an_archive_have_catalogues_too(tmp_path):
    paths = write_series(tmp_path / "s", STORED)
    assert io.catalogue(paths[0]).series[0].n_images == 1
    shutil.make_archive(str(tmp_path / "packed"), "zip", tmp_path / "s")
    assert io.catalogue(tmp_path / "packed.zip").series[0].n_images == 5
    (tmp_path / "empty").mkdir()
    assert io.catalogue(tmp_path / "empty").series == ()
    with pytest.raises(UsageError, match="does not exist"):
        io.catalogue(tmp_path / "nowhere")


def items(*datasets):
    return list(datasets)


def having(**attributes):
    dataset = Dataset()
    for name, value in attributes.items():
        setattr(dataset, name, value)
    return dataset


def segmentation(series, instances, names):
    return having(
        SOPClassUID=SegmentationStorage,
        SOPInstanceUID=generate_uid(),
        Modality="SEG",
        PatientID="4711",
        FrameOfReferenceUID="1.2.9",
        Rows=3,
        Columns=4,
        ReferencedSeriesSequence=items(
            having(SeriesInstanceUID=series, ReferencedInstanceSequence=[references(uid) for uid in instances])
        ),
        SegmentSequence=[having(SegmentNumber=n + 1, SegmentLabel=name) for n, name in enumerate(names)],
    )


def references(uid):
    return having(ReferencedSOPInstanceUID=uid)


def structures(series, instances, names):
    of_series = having(SeriesInstanceUID=series, ContourImageSequence=[references(uid) for uid in instances])
    frame = having(
        FrameOfReferenceUID="1.2.9", RTReferencedStudySequence=items(having(RTReferencedSeriesSequence=[of_series]))
    )
    return having(
        SOPClassUID=RTStructureSetStorage,
        SOPInstanceUID=generate_uid(),
        Modality="RTSTRUCT",
        PatientID="4711",
        ReferencedFrameOfReferenceSequence=items(frame),
        StructureSetROISequence=[having(ROINumber=n, ROIName=name) for n, name in enumerate(names)],
    )


@pytest.mark.data
def test_a_study_of_three_patients_is_listed(shared_data):
    found = io.catalogue(shared_data / "dicom" / "other" / "dicomdir_study")
    regular = [entry for entry in found.series if entry.problem is None and entry.n_images > 1]
    assert [(entry.number, entry.n_images) for entry in regular] == [("5", 5)]
    assert found.notes == ("1 file of class Media Storage Directory was left aside.",)
    volume = io.read(shared_data / "dicom" / "other" / "dicomdir_study", ReadOptions(series=regular[0].uid))
    assert volume.geometry.shape == (16, 16, 5)
