"""DICOM SEG → label map: what highdicom writes comes back voxel for voxel, however its frames lie; dcmqi agrees."""

import csv
import os
import shutil
import subprocess
import sys
from pathlib import Path

import highdicom as hd
import nibabel as nib
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as npst
from pydicom import dcmread

from medseg import io
from medseg.core.errors import InputError
from medseg.io import ReadOptions
from tests.io.dicom_files import AXES, write_series
from tests.io.label_files import rotation_axes, write_seg
from tests.strategies import ORIENTATIONS, rotations

DCMQI = shutil.which("segimage2itkimage", path=os.pathsep.join([str(Path(sys.executable).parent), *os.get_exec_path()]))
"""dcmqi's reader of segmentations, beside the interpreter or on the path."""

SHAPE = (7, 5, 4)
"""Columns, rows, slices: 35 bits a frame, so that frames begin inside bytes."""


def series_of(folder, *, axes=AXES, spacing=(0.8, 0.6), step=(0.0, 0.0, 2.5), n_slices=SHAPE[2], **more):
    stored = np.zeros((n_slices, SHAPE[1], SHAPE[0]), np.int16)
    return write_series(folder / "image", stored, axes=axes, spacing=spacing, step=step, **more)


def as_frames(masks):
    """Masks (i, j, k) of segments → (slices, rows, columns, segments)."""
    return np.stack([mask.transpose(2, 1, 0) for mask in masks], axis=-1).astype(np.uint8)


def masks_in(label_map):
    return [label_map.labels.mask(label_map.array, name) for name in label_map.labels.names]


@settings(max_examples=10)
@given(rotations(), st.tuples(*[st.floats(0.3, 4)] * 3), st.data())
def test_segments_come_back_voxel_for_voxel_on_any_grid(tmp_path_factory, rotation, spacing, data):
    folder = tmp_path_factory.mktemp("seg")
    row, column, normal = rotation_axes(rotation)
    step = np.multiply(normal, round(spacing[2], 3))
    backwards = data.draw(st.booleans())
    series = series_of(
        folder, axes=(row, column), spacing=np.round(spacing[:2], 3), step=step, reverse=data.draw(st.booleans())
    )
    masks = data.draw(st.lists(npst.arrays(bool, SHAPE), min_size=1, max_size=3))
    kind = data.draw(st.sampled_from(["BINARY", "FRACTIONAL"]))
    frames = as_frames(masks)
    if kind == "FRACTIONAL":
        frames = frames.astype(np.float32)
    order = slice(None, None, -1) if backwards else slice(None)
    path = write_seg(folder / "seg.dcm", series[order], frames[order], kind, omit_empty_frames=data.draw(st.booleans()))
    label_map = io.read_labels(path)
    assert label_map.geometry == io.read_geometry(folder / "image")[0]
    assert len(label_map.labels.names) == len(masks)
    for found, mask in zip(masks_in(label_map), masks, strict=True):
        np.testing.assert_array_equal(found, mask)


@settings(max_examples=10)
@given(npst.arrays(np.uint8, SHAPE, elements=st.integers(0, 3)), st.booleans())
def test_a_label_map_segmentation_comes_back(tmp_path_factory, labels, omit):
    folder = tmp_path_factory.mktemp("seg")
    series = series_of(folder)
    names = ["a", "b", "c"]
    path = write_seg(
        folder / "seg.dcm",
        series,
        as_frames([labels == n for n in (1, 2, 3)]),
        "LABELMAP",
        labels=names,
        omit_empty_frames=omit,
    )
    label_map = io.read_labels(path)
    assert label_map.labels.to_json() == {"a": 1, "b": 2, "c": 3}
    np.testing.assert_array_equal(label_map.array, labels)


@settings(max_examples=12)
@given(st.sampled_from(ORIENTATIONS), npst.arrays(bool, SHAPE))
def test_frames_may_be_flipped_and_turned_against_the_image(tmp_path_factory, way, mask):
    """A segmentation in another plane of the same voxels: sagittal frames on an axial series, and so on."""
    folder = tmp_path_factory.mktemp("seg")
    series = series_of(folder)
    grid = io.read_geometry(folder / "image")[0]
    turned, moved = grid.reorient(way), way.apply(mask)
    # highdicom counts (slices, rows, columns) in LPS.
    affine = np.diag([-1.0, -1.0, 1.0, 1.0]) @ turned.affine
    affine[:, :3] = affine[:, [2, 1, 0]]
    volume = hd.Volume(
        moved.transpose(2, 1, 0).astype(np.uint8),
        affine,
        "PATIENT",
        frame_of_reference_uid=dcmread(series[0]).FrameOfReferenceUID,
    )
    path = write_seg(folder / "seg.dcm", series, volume)
    np.testing.assert_array_equal(io.read_labels(path).array, mask)


@pytest.fixture
def series(tmp_path):
    """The files of a series in `image/`."""
    return series_of(tmp_path)


MASK = np.zeros(SHAPE, bool)
MASK[1:4, 2:5, 1:3] = True


def seg_of(tmp_path, masks=(MASK,), kind="BINARY", **more):
    return write_seg(tmp_path / "seg.dcm", sorted((tmp_path / "image").iterdir()), as_frames(masks), kind, **more)


def test_a_slice_without_a_frame_is_empty_and_so_is_a_segment_without_one(tmp_path, series):
    path = seg_of(tmp_path, [MASK, np.zeros(SHAPE, bool)], labels=["liver", "tumour"])
    assert len(dcmread(path).PerFrameFunctionalGroupsSequence) == 2
    label_map = io.read_labels(path)
    assert label_map.labels.to_json() == {"liver": 1, "tumour": 2}
    np.testing.assert_array_equal(label_map.array, MASK)


def test_overlapping_segments_share_a_value_or_are_settled_by_order(tmp_path, series):
    path = seg_of(tmp_path, [np.ones(SHAPE, bool), MASK], labels=["body", "liver"])
    assert io.read_labels(path).labels.to_json() == {"body": [1, 3], "liver": 3}
    with pytest.raises(InputError, match="'body' and 'liver' overlap in 18 voxels; --read overlaps=body,liver"):
        io.read_labels(path, ReadOptions(overlaps="refuse"))
    ordered = io.read_labels(path, ReadOptions(overlaps="Liver"))
    assert ordered.labels.to_json() == {"body": 1, "liver": 2}
    np.testing.assert_array_equal(ordered.array, np.where(MASK, 2, 1))


@pytest.mark.parametrize(("fraction", "n"), [(0.2, 54), (0.5, 36), (1.0, 18)])
def test_of_a_fractional_segment_those_voxels_are_taken_that_reach_the_fraction(tmp_path, series, fraction, n):
    shares = np.zeros(SHAPE, np.float32)
    shares[MASK], shares[:3, :3, 0], shares[:3, :3, 3] = 1.0, 0.5, 0.5
    shares[4:, :3, :2] = 0.25
    path = write_seg(tmp_path / "seg.dcm", series, shares.transpose(2, 1, 0)[..., None], "FRACTIONAL")
    label_map = io.read_labels(path, ReadOptions(fraction=fraction))
    assert np.count_nonzero(label_map.array) == n
    assert f"The segments are probabilities; voxels from {fraction:g} on belong to them (--read fraction=…)." in (
        label_map.meta.warnings
    )


def test_a_padding_value_of_a_label_map_is_no_segment(tmp_path, series):
    def pad(dataset):
        pixels = np.frombuffer(dataset.PixelData, np.uint8)
        dataset.PixelData = np.where(pixels == 0, 9, pixels).astype(np.uint8).tobytes()
        dataset.PixelPaddingValue = 9

    label_map = io.read_labels(seg_of(tmp_path, kind="LABELMAP", change=pad))
    np.testing.assert_array_equal(label_map.array, MASK)


def test_a_value_that_no_segment_declares_is_refused(tmp_path, series):
    def strange(dataset):
        dataset.PixelData = dataset.PixelData.replace(b"\x01", b"\x07")

    with pytest.raises(InputError, match="voxels of segment 7 .* which it does not declare"):
        io.read_labels(seg_of(tmp_path, kind="LABELMAP", change=strange))


def test_a_frame_where_the_series_has_no_slice_is_refused_with_its_place(tmp_path, series):
    path = seg_of(tmp_path)
    series[-1].unlink()
    series[2].unlink()
    with pytest.raises(InputError, match=r"Segment 1 \(structure 1\) .* frame at 35.00 mm where series 5 has no slice"):
        io.read_labels(path)


def test_an_empty_frame_beyond_the_series_matters_to_nobody(tmp_path, series):
    path = seg_of(tmp_path, omit_empty_frames=False)
    series[-1].unlink()
    np.testing.assert_array_equal(io.read_labels(path).array, MASK[..., :3])


def test_of_a_part_of_a_series_a_segmentation_may_reach_beyond(tmp_path, series):
    path = seg_of(tmp_path)
    series[2].unlink()
    label_map = io.read_labels(path, ReadOptions(missing="largest-run"))
    np.testing.assert_array_equal(label_map.array, MASK[..., :2])
    assert "1 frames beyond the slices that were taken are left out." in label_map.meta.warnings


def test_a_segmentation_on_other_pixels_is_refused_with_both_grids(tmp_path, series):
    def larger(dataset):
        dataset.SharedFunctionalGroupsSequence[0].PixelMeasuresSequence[0].PixelSpacing = [1, 1]

    path = seg_of(tmp_path, change=larger)
    with pytest.raises(InputError, match=r"its pixels: 1 × 1 mm; the grid: 0.6 × 0.8 × 2.5 mm"):
        io.read_labels(path)


def test_a_frame_that_says_nothing_of_its_place_is_refused(tmp_path, series):
    def without(dataset):
        del dataset.PerFrameFunctionalGroupsSequence[1].PlanePositionSequence

    with pytest.raises(InputError, match="Frame 2 of .* has no position"):
        io.read_labels(seg_of(tmp_path, change=without))


def test_other_frames_than_promised_are_refused(tmp_path, series):
    def fewer(dataset):
        del dataset.PerFrameFunctionalGroupsSequence[1]

    with pytest.raises(InputError, match="promises 2 frames and describes 1"):
        io.read_labels(seg_of(tmp_path, change=fewer))


def test_a_file_that_is_cut_off_is_refused(tmp_path, series):
    path = seg_of(tmp_path)
    path.write_bytes(path.read_bytes()[:-6])
    with pytest.raises(InputError, match=r"cut off: \d+ bytes of pixels, 9 expected"):
        io.read_labels(path)


def test_segments_of_one_name_and_meaning_are_one_structure(tmp_path, series):
    label_map = io.read_labels(seg_of(tmp_path, [MASK, np.roll(MASK, 2, axis=0)], labels=["Lesion", "lesion"]))
    assert label_map.labels.to_json() == {"Lesion": 1}
    np.testing.assert_array_equal(label_map.array, MASK | np.roll(MASK, 2, axis=0))
    assert "2 segments called Lesion are one structure." in label_map.meta.warnings


def test_segments_of_one_name_on_two_sides_are_told_apart(tmp_path, series):
    def sided(dataset):
        for segment, side in zip(dataset.SegmentSequence, ("Left", "Right"), strict=True):
            code = hd.sr.CodedConcept(side[0], "99TEST", side)
            segment.SegmentedPropertyTypeCodeSequence[0].SegmentedPropertyTypeModifierCodeSequence = [code]

    label_map = io.read_labels(
        seg_of(tmp_path, [MASK, np.roll(MASK, 3, axis=0)], labels=["Kidney", "Kidney"], change=sided)
    )
    assert label_map.labels.to_json() == {"Kidney (left)": 1, "Kidney (right)": 2}
    assert label_map.meta.header["codes"]["Kidney (right)"].side.meaning == "Right"
    assert label_map.meta.header["codes"]["Kidney (right)"].kind.value == "10200004"


def test_segments_of_one_name_and_two_meanings_are_refused(tmp_path, series):
    def other(dataset):
        dataset.SegmentSequence[1].SegmentedPropertyTypeCodeSequence[0].CodeValue = "78961009"

    with pytest.raises(InputError, match=r"two segments called a with different codes \(numbers 1 and 2\)"):
        io.read_labels(seg_of(tmp_path, [MASK, MASK], labels=["a", "a"], change=other))


def test_an_orphan_is_refused_or_read_on_the_grid_of_its_frames(tmp_path, series):
    path = seg_of(tmp_path)
    grid = io.read_geometry(tmp_path / "image")[0]
    shutil.rmtree(tmp_path / "image")
    with pytest.raises(InputError, match="--read orphan=own-grid reads it on a grid of its own"):
        io.read_labels(path)
    label_map = io.read_labels(path, ReadOptions(orphan="own-grid"))
    assert label_map.geometry.same_as(grid.crop((0, 0, 1), (7, 5, 3)))
    np.testing.assert_array_equal(label_map.array, MASK[..., 1:3])
    assert any("read on the grid that its frames span" in note for note in label_map.meta.warnings)


def test_a_grid_may_stand_for_the_images(tmp_path, series):
    path = seg_of(tmp_path)
    grid = io.read_geometry(tmp_path / "image")[0]
    shutil.rmtree(tmp_path / "image")
    for way in ORIENTATIONS[::7]:
        np.testing.assert_array_equal(io.read_labels(path, image=grid.reorient(way)).array, way.apply(MASK))


def test_nothing_of_the_patient_is_kept(tmp_path, series):
    label_map = io.read_labels(seg_of(tmp_path))
    assert "Doe" not in repr(label_map.meta)
    assert "4711" not in repr(label_map.meta)


def in_world_order(label_map, name=None):
    """The mask of a structure (of all) with axes closest to RAS, and its grid."""
    way = label_map.geometry.to_canonical
    array = label_map.array > 0 if name is None else label_map.labels.mask(label_map.array, name)
    return way.apply(array), label_map.geometry.reorient(way)


def test_real_segmentations_come_out_as_published_voxel_for_voxel(shared_data):
    with (shared_data / "dicom" / "index.csv").open() as file:
        rows = [row for row in csv.DictReader(file) if row["modality"] == "SEG" and row["reference"]]
    assert len(rows) == 15
    for row in rows:
        label_map = io.read_labels(shared_data / "dicom" / row["path"])
        published = row["reference"].split(" ... ")[0]
        for n, name in enumerate(label_map.labels.names, start=1):
            stored = nib.load(shared_data / "dicom" / published.replace("_seg1", f"_seg{n}"))
            expected = nib.as_closest_canonical(stored)
            mask, grid = in_world_order(label_map, name)
            np.testing.assert_allclose(grid.affine, expected.affine, atol=1e-3, err_msg=row["path"])
            np.testing.assert_array_equal(mask, np.asarray(expected.dataobj) >= 0.5, err_msg=row["path"])


def test_a_real_orphan_is_refused_or_read_on_its_own_grid(shared_data):
    path = shared_data / "dicom/seg/orphan/seg.dcm"
    with pytest.raises(InputError, match="was drawn on are not there"):
        io.read_labels(path)
    assert io.read_labels(path, ReadOptions(orphan="own-grid")).geometry.shape == (128, 128, 13)


@pytest.mark.skipif(DCMQI is None, reason="dcmqi is not installed")
def test_dcmqi_reads_the_same_voxels_at_the_same_places(tmp_path, series):
    masks = [MASK, np.random.default_rng(1).random(SHAPE) < 0.5]
    path = seg_of(tmp_path, masks)
    command = [DCMQI, "-t", "nii", "--outputDirectory", tmp_path, "--inputDICOM", path]
    subprocess.run(list(map(str, command)), check=True, capture_output=True)
    label_map = io.read_labels(path)
    for n, mask in enumerate(masks_in(label_map), start=1):
        theirs = nib.load(tmp_path / f"{n}.nii.gz")
        # dcmqi gives the box of slices that have frames.
        there = theirs.affine @ np.column_stack([np.argwhere(np.asarray(theirs.dataobj) > 0), np.ones(mask.sum())]).T
        ours = label_map.geometry.to_world(np.argwhere(mask))
        np.testing.assert_allclose(
            sorted(map(tuple, there[:3].T.round(3))), sorted(map(tuple, ours.round(3))), atol=2e-3
        )
