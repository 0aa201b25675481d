"""The phantom as a DICOM series: at the place of its NIfTI, with the headers that a CT image must have."""

from pathlib import Path

import nibabel as nib
import numpy as np
import pydicom
import pytest
import SimpleITK

from medseg.io import read
from medseg.sample.phantom import SERIES_NUMBER, make_phantom
from medseg.sample.series import write_series

COMMITTED = Path(__file__).resolve().parents[2] / "sample_data"
SERIES = COMMITTED / "dicom" / f"phantom_{SERIES_NUMBER}"
NIFTI = COMMITTED / "imagesTs" / f"phantom_{SERIES_NUMBER}.nii.gz"

TYPE_1 = """
    SOPClassUID SOPInstanceUID StudyInstanceUID SeriesInstanceUID FrameOfReferenceUID Modality ImageType PixelSpacing
    ImageOrientationPatient ImagePositionPatient SamplesPerPixel PhotometricInterpretation Rows Columns BitsAllocated
    BitsStored HighBit PixelRepresentation RescaleIntercept RescaleSlope PixelData SpecificCharacterSet
"""
"""Attributes of the CT image (DICOM PS3.3 A.3) that must be there with a value."""

TYPE_2 = """
    PatientName PatientID PatientBirthDate PatientSex StudyDate StudyTime ReferringPhysicianName StudyID AccessionNumber
    SeriesNumber Manufacturer InstanceNumber PositionReferenceIndicator AcquisitionNumber SliceThickness KVP
"""
"""Attributes that must be there, with or without a value."""


@pytest.fixture(scope="module")
def slices():
    return [pydicom.dcmread(path) for path in sorted(SERIES.glob("*.dcm"))]


def test_every_slice_carries_what_the_standard_requires(slices):
    for dataset in slices:
        assert [name for name in TYPE_1.split() if not dataset.get(name) and dataset.get(name) != 0] == []
        assert [name for name in TYPE_2.split() if name not in dataset] == []
        assert len(dataset.PixelData) == 2 * dataset.Rows * dataset.Columns


def test_one_study_and_series_with_an_own_uid_for_every_slice(slices):
    assert len({dataset.SOPInstanceUID for dataset in slices}) == len(slices)
    assert len({(d.StudyInstanceUID, d.SeriesInstanceUID, d.FrameOfReferenceUID) for d in slices}) == 1
    assert all(dataset.file_meta.MediaStorageSOPInstanceUID == dataset.SOPInstanceUID for dataset in slices)
    assert [dataset.InstanceNumber for dataset in slices] == list(range(1, len(slices) + 1))
    assert [d.ImagePositionPatient[2] for d in slices] == sorted(d.ImagePositionPatient[2] for d in slices)[::-1]


def test_it_names_nobody(slices):
    assert all(str(dataset.PatientName).startswith("PHANTOM") for dataset in slices)
    assert all(dataset.PatientBirthDate == "" for dataset in slices)


def test_simpleitk_finds_the_same_voxels_at_the_same_place_as_in_the_nifti():
    reader = SimpleITK.ImageSeriesReader()
    reader.SetFileNames(reader.GetGDCMSeriesFileNames(str(SERIES)))
    image, nifti = reader.Execute(), nib.load(NIFTI)
    np.testing.assert_array_equal(SimpleITK.GetArrayFromImage(image).transpose(2, 1, 0), np.asarray(nifti.dataobj))
    for voxel in ((0, 0, 0), (5, 0, 0), (0, 7, 0), (0, 0, 11), (20, 30, 40)):
        lps = image.TransformIndexToPhysicalPoint(voxel)
        ras = nifti.affine @ (*voxel, 1)
        np.testing.assert_allclose((-lps[0], -lps[1], lps[2]), ras[:3], atol=1e-3)


def test_the_same_phantom_gives_the_same_bytes(tmp_path):
    write_series(make_phantom(SERIES_NUMBER), tmp_path, seed=0)
    made = sorted(tmp_path.iterdir())
    assert [path.name for path in made] == [path.name for path in sorted(SERIES.iterdir())]
    assert all(path.read_bytes() == (SERIES / path.name).read_bytes() for path in made)


def test_our_own_reader_finds_the_same_voxels_and_grid():
    series, nifti = read(SERIES), read(NIFTI)
    np.testing.assert_array_equal(series.array, nifti.array)
    assert series.geometry.same_as(nifti.geometry)
