"""Label maps → DICOM SEG: what the file says, frame by frame, looked at with pydicom alone."""

import numpy as np
import pydicom
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydicom.dataset import Dataset
from pydicom.uid import MRImageStorage

from medseg import io
from medseg.core.errors import InputError, MachineError
from medseg.core.geometry import Geometry
from medseg.core.labels import Labels
from medseg.core.volume import LabelMap, Meta
from medseg.io.codes import MEANINGS, meaning_of
from tests.io.frames_in_memory import RAS_LPS, images_on, series_grids

PRODUCER = io.Producer("kidneys", "sha256:0123456789abcdef0123")


def write(label_map, path, seg_type="binary", **images):
    source = images_on(label_map.geometry, **images)
    notes = io.write_dicom(label_map, path, "dicom-seg", source=source, producer=PRODUCER, seg_type=seg_type)
    return pydicom.dcmread(path), notes


def placed(dataset, number, grid):
    """The mask of a segment: every frame where its own position says, bits taken apart by hand."""
    n = dataset.Rows * dataset.Columns
    bits = np.unpackbits(np.frombuffer(dataset.PixelData, np.uint8), bitorder="little")
    mask = np.zeros(grid.shape, bool)
    for index, frame in enumerate(dataset.PerFrameFunctionalGroupsSequence):
        groups = {**_flat(dataset.SharedFunctionalGroupsSequence[0]), **_flat(frame)}
        if groups["ReferencedSegmentNumber"] == number:
            position = RAS_LPS @ np.array(groups["ImagePositionPatient"], float)
            i, j, k = grid.to_voxel(position)
            assert max(abs(i), abs(j), abs(k - np.rint(k))) < 1e-4
            plane = bits[index * n : (index + 1) * n].reshape(dataset.Rows, dataset.Columns)
            mask[:, :, int(np.rint(k))] = plane.T
    return mask


def _flat(groups):
    return {element.keyword: element.value for group in groups for element in group.value[0] if group.VR == "SQ"}


# highdicom packs frames of fewer than eight pixels wrongly (found out in reading back); no image is so small.
@settings(max_examples=20)
@given(grid=series_grids(smallest=3), seed=st.integers(0, 10**6), share=st.floats(0, 1), overlap=st.booleans())
def test_segments_lie_where_the_label_map_has_them_on_any_grid(tmp_path_factory, grid, seed, share, overlap):
    path = tmp_path_factory.getbasetemp() / "any_seg.dcm"
    rng = np.random.default_rng(seed)
    array = np.where(rng.random(grid.shape) < share, rng.integers(1, 4, grid.shape), 0).astype(np.uint8)
    labels = Labels({"a": (1,), "b": (2, 3), "none": (9,), **({"c": (3,)} if overlap else {})})
    if not overlap:
        labels = Labels({"a": (1,), "b": (2,), "c": (3,), "none": (9,)})
    dataset, notes = write(LabelMap(array, grid, labels), path)
    assert notes == ()
    for number, name in enumerate(labels.names, start=1):
        np.testing.assert_array_equal(placed(dataset, number, grid), labels.mask(array, name))


@pytest.fixture
def small():
    grid = Geometry.from_spacing((6, 5, 4), (0.9, 0.7, 2.0), (10, -20, 30))
    array = np.zeros(grid.shape, np.uint8)
    array[1:4, 1:4, 1:3] = 4
    array[4, 3, 3] = 7
    return LabelMap(array, grid, Labels({"left kidney": (4,), "tumour": (7,), "spleen": (9,)}))


def test_a_segmentation_says_whose_it_is_what_it_lies_on_and_who_made_it(small, tmp_path):
    dataset, _ = write(small, tmp_path / "seg.dcm")
    assert (dataset.PatientName, dataset.PatientID, dataset.StudyInstanceUID) == ("Doe^Jane", "4711", "1.2.1")
    assert (dataset.ContentLabel, dataset.SegmentationType, dataset.SegmentsOverlap) == ("MEDSEG", "BINARY", "NO")
    assert (dataset.SeriesNumber, dataset.SeriesDescription) == (701, "medseg kidneys")
    assert dataset.SpecificCharacterSet == "ISO_IR 192"
    (series,) = dataset.ReferencedSeriesSequence
    assert series.SeriesInstanceUID == "1.2.2"
    instances = [item.ReferencedSOPInstanceUID for item in series.ReferencedInstanceSequence]
    assert instances == ["1.2.4.1", "1.2.4.2", "1.2.4.3", "1.2.4.4"]
    assert any(item.Manufacturer == "medseg" for item in dataset.ContributingEquipmentSequence)
    source = [f.DerivationImageSequence[0].SourceImageSequence[0] for f in dataset.PerFrameFunctionalGroupsSequence]
    assert sorted(item.ReferencedSOPInstanceUID for item in source) == ["1.2.4.2", "1.2.4.3", "1.2.4.4"]


def test_segments_have_names_codes_colours_and_an_algorithm(small, tmp_path):
    dataset, _ = write(small, tmp_path / "seg.dcm")
    kidney, tumour, spleen = dataset.SegmentSequence
    assert [s.SegmentNumber for s in dataset.SegmentSequence] == [1, 2, 3]
    assert (kidney.SegmentLabel, kidney.SegmentAlgorithmType, kidney.SegmentAlgorithmName) == (
        *("left kidney", "AUTOMATIC", "kidneys"),
    )
    kind = kidney.SegmentedPropertyTypeCodeSequence[0]
    assert (kind.CodeValue, kind.CodingSchemeDesignator, kind.CodeMeaning) == ("64033007", "SCT", "Kidney")
    assert kind.SegmentedPropertyTypeModifierCodeSequence[0].CodeMeaning == "Left"
    assert tumour.SegmentedPropertyCategoryCodeSequence[0].CodeValue == "49755003"
    assert spleen.SegmentedPropertyTypeCodeSequence[0].CodeValue == "78961009"
    # RGB 185 102 83 is L* 51.4, a* 31.9, b* 25.9 (D65), scaled to 16 bits as PS3.3 C.10.7.1.1 has it.
    lightness, a, b = kidney.RecommendedDisplayCIELabValue
    assert lightness / 655.35 == pytest.approx(51.4, abs=1.0)
    assert a / 65535 * 255 - 128 == pytest.approx(31.9, abs=1.5)
    assert b / 65535 * 255 - 128 == pytest.approx(25.9, abs=1.5)
    assert len({s.TrackingUID for s in dataset.SegmentSequence}) == 3


@pytest.mark.parametrize("form", io.DICOM_FORMS)
def test_a_file_that_a_disk_spoils_is_found_by_reading_it_back(small, tmp_path, monkeypatch, form):
    save, spoilt = Dataset.save_as, {"dicom-seg": (b"\x0e", b"\x0f"), "rtstruct": (b"\\-0.55\\", b"\\-2.75\\")}

    def spoil(dataset, path, **options):
        save(dataset, path, **options)
        content = path.read_bytes()
        old, new = spoilt[form]
        head, _, tail = content.rpartition(old)
        assert head
        path.write_bytes(head + new + tail)

    monkeypatch.setattr(Dataset, "save_as", spoil)
    grid = Geometry.from_spacing((8, 5, 2), (0.1, 1.1, 2.0), (0, 0, 0))
    array = np.zeros(grid.shape, np.uint8)
    array[1:4, 1:4, 1] = 1
    label_map = LabelMap(array, grid, Labels({"a": (1,)}))
    source = images_on(grid)
    with pytest.raises(MachineError, match=r"a\.dcm did not read back as it was written \(.+\), so it was not kept"):
        io.write_dicom(label_map, tmp_path / "a.dcm", form, source=source, producer=PRODUCER)
    assert list(tmp_path.iterdir()) == []


def test_nothing_is_logged_of_the_patient_or_an_empty_result(small, tmp_path, caplog):
    nothing = LabelMap(np.zeros_like(small.array), small.geometry, small.labels)
    write(nothing, tmp_path / "seg.dcm", PatientName="Jane Doe")
    assert caplog.records == []


def test_an_empty_answer_is_an_answer(small, tmp_path):
    nothing = LabelMap(np.zeros_like(small.array), small.geometry, small.labels)
    for seg_type in ("binary", "labelmap"):
        dataset, _ = write(nothing, tmp_path / "seg.dcm", seg_type)
        named = [s.SegmentLabel for s in dataset.SegmentSequence if s.SegmentNumber > 0]
        assert named == ["left kidney", "tumour", "spleen"]
        back = io.read_labels(tmp_path / "seg.dcm", image=small.geometry)
        assert not back.array.any()
        assert set(back.labels.names) == set(small.labels.names)


def test_the_same_says_the_same_uids_and_another_answer_is_another_instance(small, tmp_path):
    first, _ = write(small, tmp_path / "a.dcm")
    again, _ = write(small, tmp_path / "b.dcm")
    other, _ = write(LabelMap(np.roll(small.array, 1, 0), small.geometry, small.labels), tmp_path / "c.dcm")
    assert (first.SeriesInstanceUID, first.SOPInstanceUID) == (again.SeriesInstanceUID, again.SOPInstanceUID)
    assert first.SeriesInstanceUID == other.SeriesInstanceUID
    assert first.SOPInstanceUID != other.SOPInstanceUID


def test_a_label_map_seg_holds_the_map_compressed_whatever_its_size(tmp_path):
    # An odd number of pixels ends the process in GDCM's encoder.
    grid = Geometry.from_spacing((161, 143, 3))
    array = np.random.default_rng(0).integers(0, 3, grid.shape).astype(np.uint8)
    dataset, _ = write(LabelMap(array, grid, Labels({"a": (1,), "b": (2,)})), tmp_path / "seg.dcm", "labelmap")
    assert dataset.SegmentationType == "LABELMAP"
    assert dataset.file_meta.TransferSyntaxUID.name == "RLE Lossless"


def test_a_label_map_seg_refuses_regions_that_overlap(small, tmp_path):
    nested = LabelMap(small.array, small.geometry, Labels({"all": (4, 7), "tumour": (7,)}))
    with pytest.raises(InputError, match="all and tumour overlap, and a label map SEG holds one segment a voxel"):
        write(nested, tmp_path / "seg.dcm", "labelmap")
    dataset, _ = write(nested, tmp_path / "seg.dcm")
    assert dataset.SegmentsOverlap == "YES"


def test_slices_without_an_image_are_told_and_have_no_frame(small, tmp_path):
    dataset, (note,) = write(small, tmp_path / "seg.dcm", missing=(1,))
    assert "1 of 4 slices have no image" in note
    assert dataset.NumberOfFrames == 2


def test_series_without_a_single_image_are_refused(small, tmp_path):
    with pytest.raises(InputError, match="All slices were interpolated"):
        write(small, tmp_path / "seg.dcm", missing=(0, 1, 2, 3))


def test_names_in_any_script_are_kept(small, tmp_path):
    array = np.minimum(small.array, 1)
    dataset, _ = write(
        LabelMap(array, small.geometry, Labels({"左腎": (1,)})), tmp_path / "seg.dcm", PatientName="Müller^Jürg"
    )
    assert dataset.SegmentSequence[0].SegmentLabel == "左腎"
    assert dataset.PatientName == "Müller^Jürg"
    assert "Jürg".encode() in (tmp_path / "seg.dcm").read_bytes()


def test_what_breaks_the_grammar_of_the_images_is_left_out(small, tmp_path):
    odd = {
        "PatientBirthDate": "01.02.1970",
        "StudyID": "far too long for a short string",
        "PatientIdentityRemoved": "YES",
    }
    with pytest.warns(UserWarning, match="Invalid value|exceeds"):
        source = images_on(small.geometry, **odd)
    io.write_dicom(small, tmp_path / "seg.dcm", "dicom-seg", source=source, producer=PRODUCER)
    dataset = pydicom.dcmread(tmp_path / "seg.dcm")
    assert (dataset.PatientBirthDate, dataset.StudyID) == ("", "")
    assert "PatientIdentityRemoved" not in dataset


def test_frames_of_one_file_are_referred_to_by_their_numbers(small, tmp_path):
    enhanced = "1.2.840.10008.5.1.4.1.1.2.1"
    meta = images_on(small.geometry, SOPClassUID=enhanced, SOPInstanceUID="1.2.9")
    frames = [type(f)(f.path, f.header, index=3 - k) for k, f in enumerate(meta.header["frames"])]
    source = Meta("dicom", header={"frames": tuple(frames)})
    for form in io.DICOM_FORMS:
        io.write_dicom(small, tmp_path / f"{form}.dcm", form, source=source, producer=PRODUCER)
    seg = pydicom.dcmread(tmp_path / "dicom-seg.dcm")
    items = [f.DerivationImageSequence[0].SourceImageSequence[0] for f in seg.PerFrameFunctionalGroupsSequence]
    said = sorted((i.ReferencedSOPClassUID, i.ReferencedSOPInstanceUID, i.ReferencedFrameNumber) for i in items)
    assert said == [(enhanced, "1.2.9", number) for number in (1, 2, 3)]
    assert len(seg.ReferencedSeriesSequence[0].ReferencedInstanceSequence) == 1
    rtstruct = pydicom.dcmread(tmp_path / "rtstruct.dcm")
    assert rtstruct.ROIContourSequence[0].ContourSequence[0].ContourImageSequence[0].ReferencedFrameNumber == 3


def test_tiles_of_a_mosaic_are_no_frames_to_dicom(small, tmp_path):
    meta = images_on(small.geometry, SOPClassUID=MRImageStorage, Modality="MR", SOPInstanceUID="1.2.9")
    frames = tuple(type(f)(f.path, f.header, index=k) for k, f in enumerate(meta.header["frames"]))
    io.write_dicom(
        small, tmp_path / "seg.dcm", "dicom-seg", source=Meta("dicom", header={"frames": frames}), producer=PRODUCER
    )
    dataset = pydicom.dcmread(tmp_path / "seg.dcm")
    item = dataset.PerFrameFunctionalGroupsSequence[0].DerivationImageSequence[0].SourceImageSequence[0]
    assert "ReferencedFrameNumber" not in item


def test_codes_that_a_label_map_knows_go_before_its_names(small, tmp_path):
    meta = Meta(header={MEANINGS: {"spleen": meaning_of("liver")}})
    dataset, _ = write(LabelMap(small.array, small.geometry, small.labels, meta), tmp_path / "seg.dcm")
    assert dataset.SegmentSequence[2].SegmentedPropertyTypeCodeSequence[0].CodeMeaning == "Liver"
    assert dataset.SegmentSequence[2].SegmentLabel == "spleen"


@pytest.mark.parametrize("form", ["dicom-seg", "rtstruct"])
@pytest.mark.parametrize("limit", [0, 100, 1_500])
def test_a_full_disk_leaves_no_object(tmp_path, form, limit):
    """The limit on the size of files stands for the disk; pydicom meets it while it writes."""
    resource = pytest.importorskip("resource")
    grid = Geometry.from_spacing((12, 11, 4))
    label_map = LabelMap(np.ones(grid.shape, np.uint8), grid, Labels({"organ": (1,)}))
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (limit, hard))
    try:
        with pytest.raises(MachineError, match=r"a\.dcm could not be written") as caught:
            io.write_dicom(label_map, tmp_path / "a.dcm", form, source=images_on(grid), producer=PRODUCER)
        assert isinstance(caught.value.__cause__, OSError)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert list(tmp_path.iterdir()) == []
