"""Label maps → RTSTRUCT: contours on the planes of the images, read back by a brute oracle of the test's own."""

import numpy as np
import pydicom
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from medseg import io
from medseg.core.errors import InputError
from medseg.core.geometry import Geometry
from medseg.core.labels import Labels
from medseg.core.volume import LabelMap, Meta
from medseg.io.dicom.derived import as_dicom_number
from tests.io.frames_in_memory import RAS_LPS, images_on, series_grids

PRODUCER = io.Producer("kidneys", "sha256:0123456789abcdef0123")


def write(label_map, path, **images):
    source = images_on(label_map.geometry, **images)
    notes = io.write_dicom(label_map, path, "rtstruct", source=source, producer=PRODUCER)
    return pydicom.dcmread(path), notes


def painted(dataset, number, grid):
    """The mask of a structure: even-odd at voxel centres, point by point, in the planes that the points lie in."""
    mask = np.zeros(grid.shape, bool)
    to_voxel = np.linalg.inv(grid.affine)
    (outline,) = [item for item in dataset.ROIContourSequence if item.ReferencedROINumber == number]
    for contour in outline.get("ContourSequence", []):
        points = np.array(contour.ContourData, float).reshape(-1, 3) @ RAS_LPS
        voxels = points @ to_voxel[:3, :3].T + to_voxel[:3, 3]
        k = int(np.rint(voxels[0, 2]))
        assert np.abs(voxels[:, 2] - k).max() < 1e-5
        for i in range(grid.shape[0]):
            for j in range(grid.shape[1]):
                mask[i, j, k] ^= _is_inside(voxels[:, :2], i, j)
    return mask


def _is_inside(polygon, i, j):
    inside = False
    for (i1, j1), (i2, j2) in zip(polygon, np.roll(polygon, -1, axis=0), strict=True):
        if (j1 > j) != (j2 > j) and i < i1 + (j - j1) * (i2 - i1) / (j2 - j1):
            inside = not inside
    return inside


@settings(max_examples=30)
@given(grid=series_grids(), seed=st.integers(0, 10**6), share=st.floats(0, 1))
def test_contours_give_the_mask_back_on_any_grid(tmp_path_factory, grid, seed, share):
    path = tmp_path_factory.getbasetemp() / "any.dcm"
    rng = np.random.default_rng(seed)
    array = np.where(rng.random(grid.shape) < share, rng.integers(1, 4, grid.shape), 0).astype(np.uint8)
    labels = Labels({"a": (1,), "b": (2,), "both": (2, 3), "none": (9,)})
    dataset, notes = write(LabelMap(array, grid, labels), path)
    assert notes == ()
    for number, name in enumerate(labels.names, start=1):
        np.testing.assert_array_equal(painted(dataset, number, grid), labels.mask(array, name))


@pytest.fixture
def small(tmp_path):
    grid = Geometry.from_spacing((6, 5, 4), (0.9, 0.7, 2.0), (10, -20, 30))
    array = np.zeros(grid.shape, np.uint8)
    array[1:4, 1:4, 1:3] = 1
    array[4, 3, 3] = 2
    return LabelMap(array, grid, Labels({"left kidney": (1,), "GTV 1": (2,), "spleen": (3,)}))


def test_a_structure_set_says_whose_it_is_what_it_lies_on_and_who_made_it(small, tmp_path):
    dataset, _ = write(small, tmp_path / "rt.dcm")
    assert (dataset.PatientName, dataset.PatientID) == ("Doe^Jane", "4711")
    assert (dataset.Modality, dataset.StructureSetLabel, dataset.ApprovalStatus) == ("RTSTRUCT", "MEDSEG", "UNAPPROVED")
    assert (dataset.StudyInstanceUID, dataset.FrameOfReferenceUID) == ("1.2.1", "1.2.3")
    assert dataset.SpecificCharacterSet == "ISO_IR 192"
    (reference,) = dataset.ReferencedFrameOfReferenceSequence
    (series,) = reference.RTReferencedStudySequence[0].RTReferencedSeriesSequence
    assert series.SeriesInstanceUID == "1.2.2"
    assert [item.ReferencedSOPInstanceUID for item in series.ContourImageSequence] == [
        f"1.2.4.{k}" for k in (1, 2, 3, 4)
    ]
    assert [roi.ROIName for roi in dataset.StructureSetROISequence] == ["left kidney", "GTV 1", "spleen"]
    assert {roi.ROIGenerationAlgorithm for roi in dataset.StructureSetROISequence} == {"AUTOMATIC"}
    kinds = [item.RTROIInterpretedType for item in dataset.RTROIObservationsSequence]
    assert kinds == ["ORGAN", "GTV", "ORGAN"]
    assert dataset.RTROIObservationsSequence[0].RTROIIdentificationCodeSequence[0].CodeValue == "64033007"
    assert dataset.ROIContourSequence[0].ROIDisplayColor == [185, 102, 83]


def test_each_contour_names_the_image_of_its_plane(small, tmp_path):
    dataset, _ = write(small, tmp_path / "rt.dcm")
    contours = dataset.ROIContourSequence[0].ContourSequence
    assert [c.ContourImageSequence[0].ReferencedSOPInstanceUID for c in contours] == ["1.2.4.2", "1.2.4.3"]
    assert [c.ContourGeometricType for c in contours] == ["CLOSED_PLANAR"] * 2
    assert all(c.NumberOfContourPoints * 3 == len(c.ContourData) for c in contours)
    assert {float(z) for z in contours[0].ContourData[2::3]} == {32.0}


def test_an_empty_label_is_a_structure_without_contours(small, tmp_path):
    dataset, _ = write(small, tmp_path / "rt.dcm")
    assert "ContourSequence" not in dataset.ROIContourSequence[2]
    nothing = LabelMap(np.zeros_like(small.array), small.geometry, small.labels)
    dataset, _ = write(nothing, tmp_path / "none.dcm")
    assert len(dataset.StructureSetROISequence) == 3
    assert not any("ContourSequence" in item for item in dataset.ROIContourSequence)


def test_slices_without_an_image_are_told_and_have_no_contour(small, tmp_path):
    dataset, (note,) = write(small, tmp_path / "rt.dcm", missing=(2,))
    assert "1 of 4 slices have no image (they were interpolated) and so no contour" in note
    assert len(dataset.ROIContourSequence[0].ContourSequence) == 1


def test_points_of_large_organs_are_no_longer_than_the_standard_allows(tmp_path):
    grid = Geometry.from_spacing((400, 400, 1), (1 / 3, 1 / 7, 1.1), (-1234.56789, 987.654321, 0))
    i, j, _ = np.indices(grid.shape) - 200
    array = (i**2 + j**2 < 190**2) & ((i % 9 > 0) | (j % 9 > 0))
    dataset, _ = write(LabelMap(array, grid, Labels({"sieve": (1,)})), tmp_path / "rt.dcm")
    longest = max(dataset.ROIContourSequence[0].ContourSequence, key=lambda c: len(c.ContourData))
    assert len(longest.ContourData) * 10 > 65_536  # more than an explicit representation could hold
    written = (tmp_path / "rt.dcm").read_bytes()
    assert all(len(number) <= 16 for number in map(str, longest.ContourData))
    assert written.count(b"CLOSED_PLANAR") == len(dataset.ROIContourSequence[0].ContourSequence)


@given(st.floats(-1e8, 1e8))
def test_numbers_keep_ten_decimals_in_sixteen_characters(number):
    written = as_dicom_number(number)
    assert len(written) <= 16
    assert float(written) == pytest.approx(number, rel=1e-13, abs=1e-10)


def test_names_become_unique_and_short_enough(tmp_path):
    grid = Geometry.from_spacing((2, 2, 1))
    names = {"x" * 70 + "1": (1,), "x" * 70 + "2": (2,), "a\\b": (3,), "a_b": (4,)}
    array = np.array([1, 2, 3, 4], np.uint8).reshape(grid.shape)
    dataset, _ = write(LabelMap(array, grid, Labels(names)), tmp_path / "rt.dcm")
    assert [roi.ROIName for roi in dataset.StructureSetROISequence] == ["x" * 64, "x" * 62 + " 2", "a_b", "a_b 2"]


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({"SOPInstanceUID": ""}, "has no SOPInstanceUID, so an RTSTRUCT cannot refer to it"),
        ({"Rows": 9}, r"has the grid \(6, 5, 4\), but an RTSTRUCT needs that of its images, \(6, 9, 4\)"),
        ({"ImagePositionPatient": ["1", "2", "3"]}, "mm off the images that an RTSTRUCT is to lie on"),
    ],
)
def test_images_that_do_not_fit_are_refused_and_nothing_is_left(small, tmp_path, change, sentence):
    with pytest.raises(InputError, match=sentence):
        write(small, tmp_path / "out" / "rt.dcm", **change)
    assert list((tmp_path / "out").iterdir()) == []


def test_a_map_of_another_file_is_refused(small, tmp_path):
    with pytest.raises(InputError, match="an RTSTRUCT lies on a DICOM series, and this comes from nifti"):
        io.write_dicom(small, tmp_path / "rt.dcm", "rtstruct", source=Meta("nifti"), producer=PRODUCER)


def test_a_value_that_no_label_declares_is_refused(small, tmp_path):
    array = small.array.copy()
    array[0, 0, 0] = 7
    with pytest.raises(InputError, match="the value 7 in 1 voxels; no label declares it"):
        write(LabelMap(array, small.geometry, small.labels), tmp_path / "rt.dcm")
