"""DICOM series: slices go by their positions alone, and what cannot be placed without guessing is refused."""

import contextlib
import csv
import shutil

import numpy as np
import pytest
from hypothesis import Phase, given, settings
from hypothesis import strategies as st
from pydicom import dcmread
from pydicom.uid import ComprehensiveSRStorage, EnhancedMRImageStorage, SegmentationStorage, generate_uid

from medseg import io
from medseg.core.errors import InputError, MachineError
from medseg.io import ReadOptions
from tests.io.dicom_files import write_series, write_slice
from tests.strategies import rotations

STORED = np.random.default_rng(0).integers(0, 3000, (5, 3, 4)).astype(np.uint16)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("dicom")


@given(rotations(), st.booleans(), st.booleans(), st.tuples(*[st.floats(0.2, 5).map(lambda x: round(x, 3))] * 3))
def test_each_voxel_lies_where_its_slice_says(folder, turn, reverse, backwards, spacing):
    between_rows, between_columns, step_mm = spacing
    row, column = turn @ [1, 0, 0], turn @ [0, 1, 0]
    step = np.cross(row, column) * (-step_mm if backwards else step_mm)
    shutil.rmtree(folder / "s", ignore_errors=True)
    write_series(
        folder / "s", STORED, axes=(row, column), spacing=(between_rows, between_columns), step=step, reverse=reverse
    )
    volume = io.read(folder / "s")
    assert volume.array.shape == (1, 4, 3, 5)
    assert volume.array.dtype == np.int16
    for k, r, c in ((0, 0, 0), (1, 2, 3), (4, 1, 0)):
        lps = np.array([-10, 20, 30]) + k * step + c * between_columns * row + r * between_rows * column
        i, j, n = np.rint(volume.geometry.to_voxel(lps * [-1, -1, 1])).astype(int)
        np.testing.assert_allclose(volume.geometry.to_world([i, j, n]), lps * [-1, -1, 1], atol=1e-5)
        assert volume.array[0, i, j, n] == int(STORED[k, r, c]) - 1024


def test_geometry_is_read_without_pixels(tmp_path):
    write_series(tmp_path / "s", STORED, change=lambda k, s: s.__delattr__("PixelData"))
    grid, n_channels = io.read_geometry(tmp_path / "s")
    assert (grid.shape, n_channels) == ((4, 3, 5), 1)
    assert grid.spacing_mm == pytest.approx((0.6, 0.8, 2.5))
    with pytest.raises(InputError, match="has no pixels"):
        io.read(tmp_path / "s")


def test_no_name_of_a_patient_leaves_the_reader(tmp_path):
    write_series(tmp_path / "s", STORED)
    volume = io.read(tmp_path / "s")
    assert "Doe" not in repr(volume.meta)
    assert "4711" not in repr(volume.meta)
    assert volume.meta.header["modality"] == "CT"
    assert [frame.path.name for frame in volume.meta.header["frames"]] == [f"{k:03d}.dcm" for k in range(1, 6)]


# Values.


def test_each_slice_has_its_own_slope(tmp_path):
    def change(k, slice_):
        slice_.RescaleSlope, slice_.RescaleIntercept = f"{0.5 + k}", f"{k}"

    write_series(tmp_path / "s", STORED, change=change)
    expected = np.stack([slice_ * (0.5 + k) + k for k, slice_ in enumerate(STORED)])
    found = io.read(tmp_path / "s").array
    assert found.dtype == np.float32
    np.testing.assert_allclose(found[0], expected.transpose(2, 1, 0), rtol=1e-6)


def test_a_slope_of_zero_or_none_is_one(tmp_path):
    def change(k, slice_):
        slice_.RescaleSlope = "0"
        if k:
            del slice_.RescaleSlope, slice_.RescaleIntercept

    write_series(tmp_path / "s", STORED, change=change)
    found = io.read(tmp_path / "s").array[0]
    np.testing.assert_array_equal(found[..., 0].T, STORED[0].astype(int) - 1024)
    np.testing.assert_array_equal(found[..., 3].T, STORED[3])


def test_bits_above_those_stored_are_noise_and_the_highest_is_the_sign(tmp_path):
    values = np.random.default_rng(1).integers(-2048, 2048, STORED.shape)
    noise = np.random.default_rng(2).integers(0, 16, STORED.shape) << 12
    stored = ((values & 0x0FFF) | noise).astype(np.uint16)
    write_series(tmp_path / "s", stored, BitsStored=12, HighBit=11, PixelRepresentation=1, RescaleIntercept="0")
    np.testing.assert_array_equal(io.read(tmp_path / "s").array[0], values.transpose(2, 1, 0))
    write_series(tmp_path / "t", stored, BitsStored=12, HighBit=13)
    with pytest.raises(InputError, match=r"unusual place \(HighBit 13, BitsStored 12\)"):
        io.read(tmp_path / "t")


def test_padding_is_found_before_the_rescale_and_becomes_air_or_the_minimum(tmp_path):
    stored = STORED.copy()
    stored[:, 0, 0] = 63_536
    inside = stored != 63_536
    write_series(tmp_path / "ct", stored, PixelPaddingValue=63_536)
    ct = io.read(tmp_path / "ct")
    np.testing.assert_array_equal(ct.array[0].T[~inside], -1024)
    assert "5 padded voxels were set to -1024" in ct.meta.warnings[0]
    write_series(tmp_path / "mr", stored, PixelPaddingValue=63_536, Modality="MR", RescaleIntercept="0")
    mr = io.read(tmp_path / "mr").array[0].T
    np.testing.assert_array_equal(mr[~inside], stored[inside].min())
    np.testing.assert_array_equal(mr[inside], stored[inside])


def test_monochrome1_turns_pictures_without_a_scale_and_never_ct(tmp_path):
    write_series(tmp_path / "ct", STORED, PhotometricInterpretation="MONOCHROME1")
    np.testing.assert_array_equal(io.read(tmp_path / "ct").array[0].T, STORED.astype(int) - 1024)
    write_series(tmp_path / "xa", STORED, PhotometricInterpretation="MONOCHROME1", Modality="XA")
    turned = io.read(tmp_path / "xa").array[0].T.astype(int)
    plain = STORED.astype(int) - 1024
    np.testing.assert_array_equal(turned, plain.max() + plain.min() - plain)


def test_loss_is_told(tmp_path):
    write_series(tmp_path / "s", STORED, LossyImageCompression="01", LossyImageCompressionRatio="12")
    assert "5 slices were compressed with loss (ratio 12)" in io.read(tmp_path / "s").meta.warnings[0]


def test_a_cut_file_is_refused_with_both_numbers(tmp_path):
    path = write_series(tmp_path / "s", STORED)[2]
    path.write_bytes(path.read_bytes()[:-7])
    with pytest.raises(InputError, match=r"003\.dcm is cut off: 17 bytes of pixels, 24 expected"):
        io.read(tmp_path / "s")


# Order and regularity.


def test_a_missing_slice_is_refused_with_its_place(tmp_path):
    write_series(tmp_path / "s", STORED)[2].unlink()
    with pytest.raises(InputError, match=r"Series 5 lacks 1 slice \(between 32\.5 and 37\.5 mm"):
        io.read_geometry(tmp_path / "s")


def test_one_missing_slice_of_many_is_found(tmp_path):
    """It hardly moves the mean step; its own gap is twice the others."""
    write_series(tmp_path / "s", np.zeros((31, 1, 1), np.uint16))[15].unlink()
    with pytest.raises(InputError, match="lacks 1 slice "):
        io.read_geometry(tmp_path / "s")


def test_missing_end_slices_leave_a_regular_volume(tmp_path):
    paths = write_series(tmp_path / "s", STORED)
    paths[0].unlink()
    paths[4].unlink()
    np.testing.assert_array_equal(io.read(tmp_path / "s").array[0].T, STORED[1:4].astype(int) - 1024)


def move(k_moved, by):
    def change(k, slice_):
        if k == k_moved:
            slice_.ImagePositionPatient = [float(x) + dx for x, dx in zip(slice_.ImagePositionPatient, by, strict=True)]

    return change


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        (move(2, (0, 0, 0.9)), r"uneven slice distances \(1\.6 to 3\.4 mm\)"),
        (move(2, (0.5, 0, 0)), r"do not lie on one straight line \(off by 0\.5 mm\)"),
        (move(2, (0, 0, -2.5)), "1 position of series 5 holds 2 images"),
    ],
)
def test_a_slice_out_of_its_place_is_refused(tmp_path, change, sentence):
    write_series(tmp_path / "s", STORED, change=change)
    with pytest.raises(InputError, match=sentence):
        io.read_geometry(tmp_path / "s")


def test_a_slow_drift_is_refused(tmp_path):
    """Each gap is within 1 % of the median, yet in the middle the slices lie a fifth of a step off their places."""

    def change(k, slice_):
        drift_mm = 0.024 * min(k, 40 - k)
        slice_.ImagePositionPatient = [0, 0, f"{2.5 * k + drift_mm:.4f}"]

    write_series(tmp_path / "s", np.zeros((41, 1, 1), np.uint16), change=change)
    with pytest.raises(InputError, match=r"uneven slice distances \(2\.48 to 2\.52 mm\)"):
        io.read_geometry(tmp_path / "s")


def test_jitter_of_hundredths_is_no_unevenness(tmp_path):
    write_series(tmp_path / "s", STORED, change=move(2, (0, 0, 0.01)))
    assert io.read_geometry(tmp_path / "s")[0].spacing_mm[2] == pytest.approx(2.5)


@pytest.mark.parametrize("shift_mm", [0.7, -0.7])
def test_a_tilted_gantry_gives_a_sheared_grid_and_a_note(tmp_path, shift_mm):
    write_series(tmp_path / "s", STORED, step=(0, shift_mm, 2.5))
    volume = io.read(tmp_path / "s")
    assert not volume.geometry.is_orthogonal
    np.testing.assert_allclose(volume.geometry.affine[:3, 2], [0, -shift_mm, 2.5], atol=1e-9)
    np.testing.assert_array_equal(volume.array[0].T, STORED.astype(int) - 1024)
    assert "tilted by 15.6°" in volume.meta.warnings[0]


def test_slices_that_run_sideways_are_no_volume(tmp_path):
    write_series(tmp_path / "s", STORED, step=(0, 3, 2.5))
    with pytest.raises(InputError, match="stacked 50° off their normal"):
        io.read_geometry(tmp_path / "s")


def test_an_exact_copy_is_dropped_and_a_second_time_point_refused(tmp_path):
    paths = write_series(tmp_path / "s", STORED)
    shutil.copy(paths[1], tmp_path / "s" / "copy.dcm")
    copied = io.read(tmp_path / "s")
    np.testing.assert_array_equal(copied.array[0].T, STORED.astype(int) - 1024)
    assert "1 exact copy of slices was left aside" in copied.meta.warnings[0]
    other = dcmread(paths[1])
    other.SOPInstanceUID = generate_uid()
    other.EchoTime = "30"
    write_slice(other, tmp_path / "s" / "copy.dcm")
    with pytest.raises(InputError, match="1 position of series 5 holds 2 images, differing in EchoTime"):
        io.read(tmp_path / "s")


def test_a_single_slice_is_as_thick_as_it_says(tmp_path):
    path = write_series(tmp_path / "s", STORED)[2]
    volume = io.read(path)
    assert volume.array.shape == (1, 4, 3, 1)
    assert volume.geometry.spacing_mm == pytest.approx((0.6, 0.8, 9))


# What is no regular series.


def blank(keyword):
    return lambda k, slice_: slice_.__delattr__(keyword)


@pytest.mark.parametrize("keyword", ["PixelSpacing", "ImageOrientationPatient", "ImagePositionPatient"])
def test_an_image_without_a_place_is_refused_by_what_it_lacks(tmp_path, keyword):
    write_series(tmp_path / "s", STORED, change=blank(keyword))
    with pytest.raises(InputError, match=f"has no {keyword}, so its place in the patient is unknown"):
        io.read_geometry(tmp_path / "s")


@pytest.mark.parametrize(
    ("attributes", "sentence"),
    [
        ({"axes": ((1, 0, 0), (0.1, 0.995, 0))}, r"not at right angles .*\(dot product 0\.1,"),
        ({"axes": ((1, 0, 0), (0, 0.9, 0))}, r"lengths 1 and 0\.9"),
        ({"SOPClassUID": EnhancedMRImageStorage}, "without functional groups"),
        ({"ImageType": ["ORIGINAL", "PRIMARY", "LOCALIZER"]}, "5 localizer images .* and no volume"),
        ({"PhotometricInterpretation": "PALETTE COLOR"}, "is in colour"),
        ({"SOPClassUID": SegmentationStorage}, r"No DICOM image .* 5 files were looked at \(5 × Segmentation\)"),
        ({"SOPClassUID": ComprehensiveSRStorage}, "No DICOM image"),
    ],
)
def test_what_is_no_regular_series_is_refused_by_name(tmp_path, attributes, sentence):
    write_series(tmp_path / "s", STORED, **attributes)
    for read in (io.read, io.read_geometry):
        with pytest.raises(InputError, match=sentence):
            read(tmp_path / "s")


def test_a_segmentation_file_is_called_by_its_name(tmp_path):
    path = write_series(tmp_path / "s", STORED, SOPClassUID=SegmentationStorage)[0]
    with pytest.raises(InputError, match="is a Segmentation, not an image series"):
        io.read(path)


def test_several_series_are_listed_and_one_can_be_chosen(tmp_path):
    write_series(tmp_path / "s" / "a", STORED)
    write_series(tmp_path / "s" / "b", STORED[:, :2], SeriesNumber=7)
    with pytest.raises(InputError, match=r"2 image series .*series 5: 5 CT images of 4 × 3.*--read series=1[.]2"):
        io.read(tmp_path / "s")
    chosen = io.read(tmp_path / "s", ReadOptions(series="7"))
    assert chosen.geometry.shape == (4, 2, 5)
    uid = dcmread(tmp_path / "s" / "a" / "001.dcm").SeriesInstanceUID
    assert io.read_geometry(tmp_path / "s", ReadOptions(series=uid))[0].shape == (4, 3, 5)
    with pytest.raises(InputError, match="holds no series 8"):
        io.read(tmp_path / "s", ReadOptions(series="8"))


def test_scouts_beside_a_stack_are_left_aside_with_a_note(tmp_path):
    def change(k, slice_):
        if k == 4:
            slice_.ImageOrientationPatient = ["1", "0", "0", "0", "0", "-1"]
        if k == 3:
            slice_.ImageType = ["ORIGINAL", "PRIMARY", "LOCALIZER"]

    write_series(tmp_path / "s", np.concatenate([STORED, STORED[:1]]), change=change)
    with contextlib.suppress(FileNotFoundError):
        (tmp_path / "s" / "006.dcm").unlink()
    with pytest.raises(
        InputError, match="2 orientations of slices, of 3, 1 images"
    ):  # three slices are no more than the stray one
        io.read(tmp_path / "s")
    write_series(
        tmp_path / "t", np.concatenate([STORED, STORED]), change=lambda k, s: change(k - 5, s) if k > 7 else None
    )
    volume = io.read(tmp_path / "t")
    assert volume.geometry.shape == (4, 3, 8)
    assert "1 localizer image" in volume.meta.warnings[0]
    assert "1 image of another orientation" in volume.meta.warnings[1]


def test_two_stacks_in_one_series_are_refused_with_what_differs(tmp_path):
    def change(k, slice_):
        if k >= 5:
            slice_.PixelSpacing = ["1", "1"]

    write_series(tmp_path / "s", np.concatenate([STORED, STORED]), change=change)
    with pytest.raises(InputError, match=r"Series 5 .* 2 different stacks \(they differ in PixelSpacing\)"):
        io.read(tmp_path / "s")


def test_files_that_are_no_dicom_are_counted(tmp_path):
    write_series(tmp_path / "s", STORED)
    (tmp_path / "s" / "README.txt").write_text("notes")
    (tmp_path / "s" / ".hidden").write_bytes(b"\0\1")
    assert "2 files without DICOM" in io.read(tmp_path / "s").meta.warnings[0]


def test_a_file_without_its_head_is_read(tmp_path):
    whole = write_series(tmp_path / "s", STORED)[0]
    content = whole.read_bytes()
    headless = tmp_path / "headless"
    headless.write_bytes(content[content.index(b"\x08\x00\x08\x00CS") :])
    np.testing.assert_array_equal(io.read(headless).array, io.read(whole).array)


@settings(max_examples=60, phases=[Phase.explicit, Phase.reuse, Phase.generate])
@given(st.data())
def test_a_damaged_file_is_read_or_refused_but_never_a_defect(folder, data):
    if not (folder / "whole").exists():
        write_series(folder / "whole", STORED[:1])
    content = bytearray((folder / "whole" / "001.dcm").read_bytes())
    for _ in range(data.draw(st.integers(1, 3))):
        content[data.draw(st.integers(0, len(content) - 1))] = data.draw(st.integers(0, 255))
    path = folder / "damaged.dcm"
    path.write_bytes(content[: data.draw(st.integers(1, len(content)))])
    with contextlib.suppress(InputError, MachineError):
        io.read(path)


# The corpus of real files.


def same_in_the_world(volume, reference):
    """Largest distance of corners (mm, in the plane if there is one slice) and largest difference of values."""
    turns = [thing.geometry.to_canonical for thing in (volume, reference)]
    grids = [thing.geometry.reorient(turn) for thing, turn in zip((volume, reference), turns, strict=True)]
    arrays = [turn.apply(thing.array) for thing, turn in zip((volume, reference), turns, strict=True)]
    assert arrays[0].shape == arrays[1].shape
    return grids[0].distance_mm(grids[1]), float(np.abs(arrays[0].astype(float) - arrays[1]).max())


LOSSY = {"syntax/ct_j2k_lossy": 4, "syntax/ct_jpeg_baseline_8bit": 70, "syntax/ct_jpeg_extended_12bit": 8}
ALSO_ACCEPTED = {"ct/philips_tilt_plus16"}
"""Read although refusing is right too: the reference holds the sheared affine."""

MUST_READ = {
    *(
        "ct/philips_axial_5mm",
        "ct/philips_tilt_plus16",
        "ct/study_folder_mixed",
        "ct/oblique_fractional_slope",
        "ct/ibsi_orientation_phantom",
        "syntax/mr_none",
    ),
    *("mr/ge_sag_oblique_signed", "mr/hitachi_double_oblique", "mr/per_slice_slope_nonsquare"),
    *("derived/missing_end_slices", "derived/duplicate_slice", "derived/unrelated_files"),
    *("rtstruct/sts/STS_002/CT/image", "rtstruct/sts/STS_002/MR_T1/image", "rtstruct/sts/STS_002/PET/image"),
    *("rtstruct/sts/STS_003/CT/image", "rtstruct/sts/STS_003/MR_T1/image", "rtstruct/sts/STS_003/PET/image"),
    *("rtstruct/rtutils_two_slices/image", "seg/dcmqi_ct3/image", "seg/dcmqi_sparse/image"),
    *("seg/dcmqi_unaligned/image", "seg/highdicom_ct2/image"),
}
"""Plain series of one file a slice, uncompressed: these are read, not refused."""


def corpus(folder):
    with (folder / "dicom" / "index.csv").open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


@pytest.mark.data
def test_each_series_of_the_corpus_is_right_or_refused(shared_data):
    read = set()
    for row in corpus(shared_data):
        path = shared_data / "dicom" / row["path"]
        try:
            volume = io.read(path, ReadOptions(pet="raw"))  # the references of PET are rescaled and no more
        except InputError:
            continue
        read.add(row["path"])
        assert not row["expected"].startswith(("refuse", "mask", "label")) or row["path"] in ALSO_ACCEPTED, row["path"]
        i, j, k = volume.geometry.shape
        if row["expected"].startswith("volume"):
            assert f"({i},{j},{k})" in row["expected"], row["path"]
        if row["reference"]:
            reference = io.read(shared_data / "dicom" / row["reference"])
            distance_mm, difference = same_in_the_world(volume, reference)
            assert distance_mm < 0.01, row["path"]
            assert difference <= LOSSY.get(row["path"], 1e-3), row["path"]
    assert read >= MUST_READ


@pytest.mark.data
def test_the_one_volume_of_a_mixed_study_can_be_chosen(shared_data):
    folder = shared_data / "dicom" / "ct" / "study_folder_mixed"
    volume = io.read(folder, ReadOptions(series="201"))
    distance_mm, difference = same_in_the_world(volume, io.read(f"{folder}.nii.gz"))
    assert distance_mm < 1e-3
    assert difference == 0
