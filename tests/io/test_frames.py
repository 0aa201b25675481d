"""Multi-frame objects: each frame becomes an image of its own, as if it were a file, and lies where its groups say."""

import contextlib
import shutil
import tracemalloc

import numpy as np
import pytest
from hypothesis import Phase, given, settings
from hypothesis import strategies as st
from pydicom import dcmread
from pydicom.dataset import Dataset
from pydicom.sequence import Sequence
from pydicom.uid import (
    CTImageStorage,
    EnhancedCTImageStorage,
    EnhancedPETImageStorage,
    LegacyConvertedEnhancedMRImageStorage,
    MultiFrameGrayscaleWordSecondaryCaptureImageStorage,
    NuclearMedicineImageStorage,
    RLELossless,
    VLWholeSlideMicroscopyImageStorage,
)

from medseg import io
from medseg.core.errors import InputError, MachineError
from medseg.io import ReadOptions
from medseg.io.dicom.find import find_images, numbers, text
from medseg.io.dicom.frames import split, split_all
from tests.io.dicom_files import AXES, write_series
from tests.io.enhanced_files import group, groups_of, write_enhanced
from tests.strategies import rotations

RANDOM = np.random.default_rng(0)
STORED = RANDOM.integers(0, 3000, (6, 3, 4)).astype(np.uint16)
ORIGIN = np.array([-10.0, 20.0, 30.0])
LPS_RAS = np.array([-1, -1, 1])


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("enhanced")


def frames_of(path):
    return split_all(find_images(path).images, ReadOptions())


def headers_of(path):
    return [frame.header for frame in frames_of(path)]


def stacked(n, step=(0.0, 0.0, 2.5)):
    """Positions of n slices one above the other."""
    return [ORIGIN + np.multiply(step, k) for k in range(n)]


def assert_lies(volume, values, position, axes, spacing):
    """Each pixel (rows, columns) of a slice is in the volume at its place in the patient."""
    rows, columns = np.indices(values.shape).reshape(2, -1)
    between_rows, between_columns = spacing
    lps = position + columns[:, None] * between_columns * np.array(axes[0])
    lps = lps + rows[:, None] * between_rows * np.array(axes[1])
    exact = volume.geometry.to_voxel(lps * LPS_RAS)
    voxels = np.rint(exact).astype(int)
    np.testing.assert_allclose(exact, voxels, atol=1e-3)
    np.testing.assert_allclose(volume.array[0][tuple(voxels.T)], values.reshape(-1), rtol=1e-6)


@settings(max_examples=30)
@given(st.data())
def test_each_voxel_of_any_enhanced_object_lies_where_its_frame_says(folder, data):
    n_slices, n_times, n_stacks = (data.draw(st.integers(*ends)) for ends in ((2, 5), (1, 3), (1, 2)))
    axes = data.draw(rotations())[:2]
    normal = np.cross(*axes)
    spacing = data.draw(st.tuples(*[st.floats(0.2, 5).map(lambda x: round(x, 3))] * 2))
    steps = data.draw(st.lists(st.sampled_from([-3.0, 0.7, 2.5]), min_size=n_stacks, max_size=n_stacks))
    described = [
        (stack, time, ORIGIN + 200 * stack * axes[0] + k * steps[stack] * normal)
        for stack in range(n_stacks)
        for time in range(n_times)
        for k in range(n_slices)
    ]
    described = data.draw(st.permutations(described))
    stored = RANDOM.integers(0, 4000, (len(described), 3, 4)).astype(np.uint16)
    scales = [data.draw(st.sampled_from([(1, 0), (2, -4096), (0.5, 7), (1.2798, 0)])) for _ in described]
    per_frame = [
        groups_of(place, axes=axes, spacing=spacing, slope=slope, intercept=intercept, stack=str(stack), time=time + 1)
        for (stack, time, place), (slope, intercept) in zip(described, scales, strict=True)
    ]
    shutil.rmtree(folder / "any", ignore_errors=True)
    path = write_enhanced(folder / "any" / "image", stored, per_frame)
    for chosen in {(stack, time) for stack, time, _ in described}:
        select = f"StackID={chosen[0]},TemporalPositionIdentifier={chosen[1] + 1}"
        volume = io.read(path, ReadOptions(select=select))
        assert volume.geometry.shape == (4, 3, n_slices)
        for values, (stack, time, place), (slope, intercept) in zip(stored, described, scales, strict=True):
            if (stack, time) == chosen:
                assert_lies(volume, values * float(slope) + intercept, place, axes, spacing)


def test_several_stacks_or_times_are_refused_with_what_chooses_one(tmp_path):
    per_frame = [groups_of(place, time=time) for place in stacked(3) for time in (1, 2)]
    write_enhanced(tmp_path / "times" / "a", STORED, per_frame)
    with pytest.raises(InputError, match="2 images each.*--read select=TemporalPositionIdentifier=1"):
        io.read(tmp_path / "times")
    per_frame = [groups_of(place + 100 * (stack == "2"), stack=stack) for place in stacked(3) for stack in "12"]
    write_enhanced(tmp_path / "stacks" / "a", STORED, per_frame)
    with pytest.raises(InputError, match="StackID.*--read select=StackID=1"):
        io.read(tmp_path / "stacks")


def test_a_header_of_a_frame_is_that_of_a_single_image(tmp_path):
    content = group(
        FrameAcquisitionDateTime="20180526152518.620000+0100", TemporalPositionIndex=3, FrameAcquisitionNumber=8
    )
    direction = Dataset()
    direction.DiffusionGradientOrientation = [0.0, 1.0, 0.0]
    more = {
        "FrameContentSequence": content,
        "MREchoSequence": group(EffectiveEchoTime=23.05562400817871),
        "MRDiffusionSequence": group(DiffusionBValue=1300.0, DiffusionGradientDirectionSequence=Sequence([direction])),
        "MRModifierSequence": group(InversionTimes=900.0),
        "CardiacSynchronizationSequence": group(NominalCardiacTriggerDelayTime=120.5),
        "MRImageFrameTypeSequence": group(FrameType=["ORIGINAL", "PRIMARY", "T1", "P"], ComplexImageComponent="PHASE"),
    }
    per_frame = [groups_of(place, slope=2, intercept=-4096, **more) for place in stacked(2)]
    write_enhanced(tmp_path / "a", STORED[:2], per_frame)
    header = headers_of(tmp_path / "a")[1]
    assert {key: text(header, key) for key in EXPECTED} == EXPECTED
    assert numbers(header, "ImagePositionPatient", 3) == (-10.0, 20.0, 32.5)
    assert numbers(header, "DiffusionGradientOrientation", 3) == (0.0, 1.0, 0.0)
    assert "EchoTime" in header
    assert "NumberOfFrames" not in header
    assert header.get("PatientID") == "4711"
    assert header.get("KVP") is None
    assert [element.tag for element in header] == sorted(element.tag for element in header)


EXPECTED = {
    "ImageType": "ORIGINAL\\PRIMARY\\T1\\P",
    "ComplexImageComponent": "PHASE",
    "EchoTime": "23.05562401",
    "InversionTime": "900",
    "TriggerTime": "120.5",
    "TemporalPositionIdentifier": "3",
    "AcquisitionNumber": "8",
    "AcquisitionDateTime": "20180526152518.620000+0100",
    "AcquisitionDate": "20180526",
    "AcquisitionTime": "152518.620000",
    "DiffusionBValue": "1300.0",
    "RescaleSlope": "2",
    "RescaleIntercept": "-4096",
    "PixelSpacing": "0.8\\0.6",
    "Modality": "MR",
    "NumberOfFrames": "",
}


def test_what_a_frame_says_counts_before_what_all_say(tmp_path):
    shared = groups_of(ORIGIN, slope=3, intercept=5, spacing=(2, 2), PlanePositionSequence=None)
    per_frame = [{"PlanePositionSequence": groups_of(place)["PlanePositionSequence"]} for place in stacked(3)]
    per_frame[1]["PixelValueTransformationSequence"] = group(RescaleSlope="7", RescaleIntercept="0")
    write_enhanced(tmp_path / "a", STORED[:3], per_frame, shared=shared, RescaleSlope="9", PixelSpacing=["9", "9"])
    volume = io.read(tmp_path / "a")
    assert volume.geometry.spacing_mm == pytest.approx((2, 2, 2.5))
    for k, (slope, intercept) in enumerate(((3, 5), (7, 0), (3, 5))):
        np.testing.assert_allclose(volume.array[0, :, :, k].T, STORED[k] * float(slope) + intercept)


def test_groups_about_other_things_and_of_vendors_do_not_count(tmp_path):
    def vendors(image):
        for item in image.PerFrameFunctionalGroupsSequence:
            inner = Dataset()
            inner.ImagePositionPatient = ["1", "2", "3"]
            item.private_block(0x2005, "Philips MR Imaging DD 005", create=True).add_new(0x0F, "SQ", Sequence([inner]))

    other = group(ReferencedSOPInstanceUID="1.2.3", SOPInstanceUID="1.2.3", ImagePositionPatient=["7", "7", "7"])
    per_frame = [groups_of(place, ReferencedImageSequence=other) for place in stacked(2)]
    path = write_enhanced(tmp_path / "a", STORED[:2], per_frame, change=vendors)
    header = headers_of(path)[0]
    assert numbers(header, "ImagePositionPatient", 3) == tuple(ORIGIN)
    assert text(header, "ReferencedSOPInstanceUID") == ""
    assert text(header, "SOPInstanceUID") == text(find_images(path).images[0].header, "SOPInstanceUID")


def test_what_a_converter_left_over_is_told_of_its_frame_and_never_instead_of_the_file(tmp_path):
    def left_over(n):
        item = group(InstanceNumber=n + 40, EchoTime="11", SOPInstanceUID="1.2.3", Rows=99, PixelSpacing=["9", "9"])
        item[0].private_block(0x0019, "SIEMENS MR HEADER", create=True).add_new(0x0C, "IS", "1000")
        return item

    per_frame = [
        groups_of(place, UnassignedPerFrameConvertedAttributesSequence=left_over(n), PixelMeasuresSequence=None)
        for n, place in enumerate(stacked(2))
    ]
    left_over_of_all = group(ProtocolName="t1", EchoTime="12")
    path = write_enhanced(
        *(tmp_path / "a", STORED[:2], per_frame),
        shared={
            "UnassignedSharedConvertedAttributesSequence": left_over_of_all,
            "PixelMeasuresSequence": groups_of(ORIGIN)["PixelMeasuresSequence"],
        },
        SOPClassUID=LegacyConvertedEnhancedMRImageStorage,
    )
    header = headers_of(path)[1]
    wanted = {"InstanceNumber": "41", "EchoTime": "11", "ProtocolName": "t1", "Rows": "3", "PixelSpacing": "0.8\\0.6"}
    assert {key: text(header, key) for key in wanted} == wanted
    assert text(header, "SOPInstanceUID") != "1.2.3"
    assert header[0x0019, 0x100C].value == 1000


@pytest.mark.parametrize("storage", [EnhancedCTImageStorage, EnhancedPETImageStorage])
def test_enhanced_ct_and_pet_are_read_alike(tmp_path, storage):
    per_frame = [groups_of(place, slope=k + 1, MRImageFrameTypeSequence=None) for k, place in enumerate(stacked(3))]
    write_enhanced(tmp_path / "a", STORED[:3], per_frame, SOPClassUID=storage)
    volume = io.read(tmp_path / "a")
    for k in range(3):
        np.testing.assert_allclose(volume.array[0, :, :, k].T, STORED[k] * float(k + 1))


def test_frames_of_a_compressed_file_are_decoded_each_with_its_slope(tmp_path):
    per_frame = [groups_of(place, slope=k + 1) for k, place in enumerate(stacked(6))]
    path = write_enhanced(tmp_path / "a", STORED, per_frame)
    plain = io.read(path).array
    image = dcmread(path)
    image.compress(RLELossless)
    image.save_as(path)
    np.testing.assert_array_equal(io.read(path).array, plain)


def test_a_dimension_that_no_attribute_names_tells_volumes_apart(tmp_path):
    def dimensions(image):
        pointers = [0x00209056, 0x00209057, 0x20051011]
        image.DimensionIndexSequence = Sequence([Dataset() for _ in pointers])
        for item, pointer in zip(image.DimensionIndexSequence, pointers, strict=True):
            item.DimensionIndexPointer = pointer

    per_frame = [
        groups_of(place, FrameContentSequence=group(StackID="1", DimensionIndexValues=[1, k + 1, kind]))
        for k, place in enumerate(stacked(3))
        for kind in (2, 5)
    ]
    path = write_enhanced(tmp_path / "a", STORED, per_frame, change=dimensions)
    with pytest.raises(InputError, match="select=DimensionIndexValues=2"):
        io.read(path)
    volume = io.read(path, ReadOptions(select="DimensionIndexValues=5"))
    np.testing.assert_array_equal(volume.array[0, :, :, 1].T, STORED[3])


# What is not there, or not as promised.


def test_another_number_of_frames_than_promised_is_refused(tmp_path):
    path = write_enhanced(tmp_path / "a", STORED, [groups_of(place) for place in stacked(5)])
    with pytest.raises(InputError, match="promises 6 frames and describes 5"):
        io.read(path)


def test_an_enhanced_object_without_groups_has_no_positions(tmp_path):
    def bare(image):
        del image.PerFrameFunctionalGroupsSequence, image.SharedFunctionalGroupsSequence

    path = write_enhanced(tmp_path / "a", STORED, [groups_of(place) for place in stacked(6)], change=bare)
    with pytest.raises(InputError, match="no slice positions in the file"):
        io.read(path)


def test_pictures_of_tiles_are_no_slices(tmp_path):
    mosaic = group(FrameType=["ORIGINAL", "PRIMARY", "M", "MOSAIC"])
    per_frame = [groups_of(place, MRImageFrameTypeSequence=mosaic) for place in stacked(6)]
    with pytest.raises(InputError, match="mosaics"):
        io.read(write_enhanced(tmp_path / "a" / "a", STORED, per_frame))
    whole_slide = {"SOPClassUID": VLWholeSlideMicroscopyImageStorage, "DimensionOrganizationType": "TILED_FULL"}
    with pytest.raises(InputError, match="tiles of a large picture.*Whole Slide"):
        io.read(write_enhanced(tmp_path / "b" / "b", STORED, [], **whole_slide))


def test_a_film_is_no_volume_and_a_single_image_may_count_itself(tmp_path):
    film = {"NumberOfFrames": 4, "SOPClassUID": MultiFrameGrayscaleWordSecondaryCaptureImageStorage}
    write_series(tmp_path / "film", STORED[:1], **film)
    with pytest.raises(InputError, match=r"holds 4 pictures \(Multi-frame Grayscale Word"):
        io.read(tmp_path / "film")
    write_series(tmp_path / "single", STORED, NumberOfFrames=1)
    assert io.read(tmp_path / "single").geometry.shape == (4, 3, 6)
    images = find_images(tmp_path / "single").images
    assert split_all(images, ReadOptions()) == images


def test_parts_of_one_object_are_joined_and_none_may_be_missing(tmp_path):
    for part in range(3):
        per_frame = [groups_of(place) for place in stacked(6)[2 * part : 2 * part + 2]]
        number = {"InConcatenationNumber": part + 1, "InConcatenationTotalNumber": 3, "ConcatenationUID": "1.2.3.4"}
        write_enhanced(tmp_path / f"{part}", STORED[2 * part : 2 * part + 2], per_frame, **number)
    np.testing.assert_array_equal(io.read(tmp_path).array[0].T, STORED)
    kept = (tmp_path / "1").read_bytes()
    (tmp_path / "1").unlink()
    with pytest.raises(InputError, match="one of 3 parts of an object .* part 2 is missing"):
        io.read(tmp_path)
    (tmp_path / "1").write_bytes(kept)
    (tmp_path / "2").unlink()
    with pytest.raises(InputError, match="part 3 is missing"):
        io.read(tmp_path)


def test_a_folder_may_hold_the_same_object_twice(tmp_path):
    path = write_enhanced(tmp_path / "s" / "a", STORED, [groups_of(place) for place in stacked(6)])
    shutil.copy(path, tmp_path / "s" / "b")
    volume = io.read(tmp_path / "s")
    np.testing.assert_array_equal(volume.array[0].T, STORED)
    assert "6 exact copies" in " ".join(volume.meta.warnings)


@settings(max_examples=60, phases=[Phase.explicit, Phase.reuse, Phase.generate])
@given(st.data())
def test_a_damaged_object_is_read_or_refused_but_never_a_defect(folder, data):
    whole = folder / "whole"
    if not whole.exists():
        write_enhanced(whole, STORED[:3], [groups_of(place) for place in stacked(3)])
    content = bytearray(whole.read_bytes())
    for _ in range(data.draw(st.integers(1, 3))):
        content[data.draw(st.integers(0, len(content) - 1))] = data.draw(st.integers(0, 255))
    path = folder / "damaged"
    path.write_bytes(content[: data.draw(st.integers(1, len(content)))])
    with contextlib.suppress(InputError, MachineError):
        io.read(path)


def test_headers_of_many_frames_share_what_is_common(tmp_path):
    n_frames = 200
    per_frame = [groups_of(place) for place in stacked(n_frames)]
    path = write_enhanced(tmp_path / "a", np.zeros((n_frames, 2, 2), np.uint16), per_frame, TextValue="x" * 100_000)
    tracemalloc.start()
    frames = split(find_images(path).images[0], ReadOptions())
    held_bytes, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert text(frames[-1].header, "TextValue") == "x" * 100_000
    assert held_bytes < 6_000 * n_frames


# Nuclear medicine.


def tomogram(path, *, step, order=(1, 2, 3, 4, 5, 6), kind="RECON TOMO", change=lambda image: None):
    """A file of slices that tells the place of the first alone."""

    def bend(_, image):
        image.PixelData = STORED.tobytes()
        image.NumberOfFrames, image.SliceVector, image.SpacingBetweenSlices = 6, list(order), step
        image.ImageType, image.Modality = ["ORIGINAL", "PRIMARY", kind, "EMISSION"], "NM"
        detector = Dataset()
        detector.ImagePositionPatient, detector.ImageOrientationPatient = (
            image.ImagePositionPatient,
            image.ImageOrientationPatient,
        )
        image.DetectorInformationSequence = Sequence([detector])
        del image.ImagePositionPatient, image.ImageOrientationPatient, image.RescaleIntercept
        change(image)

    write_series(path, STORED[:1], SOPClassUID=NuclearMedicineImageStorage, change=bend)
    return path


@pytest.mark.parametrize("step", [4.5, -4.5])
def test_slices_of_a_tomogram_lie_to_the_side_that_the_sign_says(tmp_path, step):
    order = (3, 1, 2, 6, 5, 4)
    volume = io.read(tomogram(tmp_path, step=str(step), order=order))
    assert volume.geometry.spacing_mm == pytest.approx((0.6, 0.8, 4.5))
    for number, values in zip(order, STORED, strict=True):
        assert_lies(volume, values, ORIGIN + np.array([0, 0, (number - 1) * step]), AXES, (0.8, 0.6))


def test_nuclear_studies_that_hold_more_than_slices_are_refused(tmp_path):
    with pytest.raises(InputError, match="EnergyWindowVector"):
        io.read(
            tomogram(tmp_path / "a", step="4", change=lambda i: setattr(i, "EnergyWindowVector", [1, 1, 1, 2, 2, 2]))
        )
    with pytest.raises(InputError, match="SliceVector"):
        io.read(tomogram(tmp_path / "b", step="4", order=(1, 1, 2, 2, 3, 3)))
    with pytest.raises(InputError, match="SpacingBetweenSlices"):
        io.read(tomogram(tmp_path / "c", step="0"))
    with pytest.raises(InputError, match="0 detectors"):
        io.read(tomogram(tmp_path / "d", step="4", change=lambda i: delattr(i, "DetectorInformationSequence")))
    with pytest.raises(InputError, match="6 pictures"):
        io.read(tomogram(tmp_path / "e", step="4", kind="STATIC"))


# Real files.


@pytest.mark.data
@pytest.mark.parametrize(
    "name",
    [
        *("siemens_enh_two_echoes", "siemens_enh_fmri_4files", "philips_enh_fieldmap", "philips_enh_fmri_4d"),
        "philips_enh_dti",
    ],
)
def test_each_volume_of_a_real_4d_object_is_chosen_by_its_value(shared_data, name):
    folder = shared_data / "dicom" / "mr" / name
    with pytest.raises(InputError) as refused:
        io.read(folder)
    values = str(refused.value).split("(", 1)[1].split(")")[0].split("; ")
    reference = io.read(folder.parent / f"{name}.nii.gz", ReadOptions(channels="last"))
    assert len(values) == reference.array.shape[0]
    found = set()
    for value in values:
        volume = io.read(folder, ReadOptions(select=value))
        found.add(channel_of(volume, reference))
    assert found == set(range(len(values)))


def channel_of(volume, reference):
    """The one volume of a 4-D reference that has the same values at the same places."""
    points = volume.geometry.to_world(np.indices(volume.geometry.shape).reshape(3, -1).T)
    exact = reference.geometry.to_voxel(points)
    voxels = np.rint(exact).astype(int)
    np.testing.assert_allclose(exact, voxels, atol=2e-3)
    there = reference.array[(slice(None), *voxels.T)]
    alike = np.abs(there - volume.array.reshape(1, -1)).max(axis=1) < 1e-3
    assert alike.sum() == 1
    return int(np.argmax(alike))


@pytest.mark.data
@pytest.mark.parametrize(
    "path",
    [
        *("ct/enhanced_ct_reversed", "ct/legacy_multiframe_ct", "mr/siemens_enh_phase", "mr/siemens_enh_anat"),
        *("mr/philips_enh_anat", "mr/philips_enh_with_raw_object"),
    ],
)
def test_real_enhanced_objects_are_volumes(shared_data, path):
    volume = io.read(shared_data / "dicom" / path)
    assert channel_of(volume, io.read(shared_data / "dicom" / f"{path}.nii.gz")) == 0


@pytest.mark.parametrize(
    ("axes", "rising", "falling"),
    [
        (((1, 0, 0), (0, 1, 0)), "head", "feet"),
        (((1, 0, 0), (0, 0, -1)), "back", "front"),
        (((0, 1, 0), (0, 0, -1)), "right", "left"),
    ],
)
@pytest.mark.parametrize("shared", [False, True])
def test_frames_with_one_position_lie_where_the_user_says(tmp_path, axes, rising, falling, shared):
    """A dental cone-beam CT: everything is said of the first frame, and on which side the others lie of none."""
    stored = np.arange(4 * 3 * 5).reshape(4, 3, 5).astype(np.uint16)
    path = tmp_path / "s" / "all.dcm"
    groups = groups_of((5, 6, 7), axes=axes, spacing=(0.4, 0.3))
    groups["PixelMeasuresSequence"][0].SpacingBetweenSlices = "0.5"

    def flatten(image):
        del image.PerFrameFunctionalGroupsSequence
        if not shared:
            del image.SharedFunctionalGroupsSequence
            image.SOPClassUID = CTImageStorage
            image.ImagePositionPatient, image.PixelSpacing = [5, 6, 7], [0.4, 0.3]
            image.ImageOrientationPatient = [*axes[0], *axes[1]]
            image.SpacingBetweenSlices = "0.5"

    write_enhanced(path, stored, [], shared=groups if shared else None, change=flatten, NumberOfFrames=4)
    with pytest.raises(InputError, match=rf"towards the {rising} \(--read frames=rising\) or the {falling} \("):
        io.read(tmp_path / "s")
    for frames, order in (("rising", slice(None)), ("falling", slice(None, None, -1))):
        volume = io.read(tmp_path / "s", ReadOptions(frames=frames))
        np.testing.assert_array_equal(volume.array[0].T, stored[order])
        assert volume.geometry.spacing_mm == pytest.approx((0.3, 0.4, 0.5))
        first = volume.geometry.to_voxel(np.array([-5.0, -6.0, 7.0]))
        np.testing.assert_allclose(first, (0, 0, 0 if frames == "rising" else 3), atol=1e-6)
    assert io.catalogue(tmp_path / "s", ReadOptions(frames="rising")).series[0].problem is None
