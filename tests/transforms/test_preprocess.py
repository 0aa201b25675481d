"""Preprocessing whole volumes: any orientation, anisotropy and channel count comes to one plan grid."""

import tracemalloc

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from medseg.core.errors import InputError
from medseg.core.geometry import Geometry
from medseg.core.volume import Meta, Volume
from medseg.io import read, read_labels
from medseg.transforms import plan_grid, preprocess, preprocess_labels
from medseg.transforms.intensity import normalise
from medseg.transforms.preprocess import preprocess_bytes
from medseg.transforms.preprocessing import ChannelNormalisation, Preprocessing
from tests.strategies import ORIENTATIONS, geometries, label_maps

ZSCORE = ChannelNormalisation(scheme="zscore")
NONE = ChannelNormalisation(scheme="none")


def how(spacing_mm=(None, None, None), normalisation=(NONE,), thick_axis=None):
    return Preprocessing(spacing_mm=spacing_mm, thick_axis=thick_axis, normalisation=normalisation)


def noise(shape, seed=0):
    return np.random.default_rng(seed).standard_normal(shape).astype(np.float32)


class TestPlanGrid:
    @given(geometries(largest=12), st.tuples(*[st.floats(0.4, 5)] * 3))
    def test_it_has_canonical_axes_the_planned_spacing_and_the_same_extent(self, native, spacing_mm):
        way = plan_grid(native, how(spacing_mm))
        assert way.grid.orientation == "RAS"
        assert way.canonical.same_as(native.reorient(way.reorientation))
        for n, real, planned in zip(way.grid.shape, way.grid.spacing_mm, spacing_mm, strict=True):
            assert n == 1 or abs(real / planned - 1) <= 0.5 / (n - 0.5)
        edges = [np.array([[-0.5] * 3, np.array(g.shape) - 0.5]) for g in (way.canonical, way.grid)]
        np.testing.assert_allclose(way.canonical.to_world(edges[0]), way.grid.to_world(edges[1]), atol=1e-6)

    @given(geometries(largest=12), st.floats(0.4, 5))
    def test_an_axis_without_a_planned_spacing_keeps_its_voxels(self, native, spacing_mm):
        way = plan_grid(native, how((spacing_mm, None, None)))
        assert way.grid.shape[1:] == way.canonical.shape[1:]
        np.testing.assert_allclose(way.grid.spacing_mm[1:], way.canonical.spacing_mm[1:], rtol=1e-12)


class TestImages:
    @given(geometries(largest=6))
    def test_without_a_planned_spacing_voxels_only_change_their_order(self, native):
        volume = Volume(noise((2, *native.shape)), native)
        prepared = preprocess(volume, how(normalisation=(NONE, NONE)))
        np.testing.assert_array_equal(prepared.reorientation.inverse.apply(prepared.array), volume.array)
        assert prepared.grid.same_as(prepared.canonical)
        assert prepared.native == native

    @pytest.mark.parametrize("orientation", ORIENTATIONS)
    def test_all_48_orientations_of_one_volume_are_prepared_alike(self, orientation):
        canonical = Geometry.from_spacing((7, 5, 6), (0.8, 1.3, 2.0), (10, -20, 30))
        image = noise((1, *canonical.shape))
        planned = how((1.0, 1.0, 1.6), (ZSCORE,))
        expected = preprocess(Volume(image, canonical), planned)
        turned = Volume(orientation.apply(image), canonical.reorient(orientation))
        prepared = preprocess(turned, planned)
        assert prepared.grid.same_as(expected.grid)
        np.testing.assert_allclose(prepared.array, expected.array, atol=1e-6)

    def test_statistics_are_those_of_the_native_voxels(self):
        volume = Volume(noise((1, 12, 12, 12)) * 30 + 200, Geometry.from_spacing((12, 12, 12)))
        prepared = preprocess(volume, how((2, 2, 2), (ZSCORE,)))
        unplanned = preprocess(volume, how((2, 2, 2), (NONE,)))
        expected = (unplanned.array - volume.array.mean()) / volume.array.std()
        np.testing.assert_allclose(prepared.array, expected, atol=1e-3)
        assert prepared.array.std() < 0.8

    def test_outliers_are_clipped_before_the_spline_could_ring_at_them(self):
        array = np.zeros((1, 20, 8, 8), np.float32)
        array[0, 10] = 30_000
        ct = ChannelNormalisation(scheme="ct", low=-100, high=200, mean=0, sd=100)
        prepared = preprocess(Volume(array, Geometry.from_spacing((20, 8, 8))), how((0.8, 1, 1), (ct,)))
        assert prepared.array.min() >= 0
        assert prepared.array.max() <= 2
        far = prepared.array[0, [0, 1, 2, -3, -2, -1]]
        assert np.abs(far).max() < 1e-3

    def test_the_volume_is_left_as_it_is_and_the_result_is_plain_float32(self):
        array = np.random.default_rng(0).integers(-1000, 1000, (1, 6, 5, 4)).astype(np.int16)
        volume = Volume(array.copy(), Geometry.from_spacing((6, 5, 4)).flip(0))
        for spacing_mm in ((None, None, None), (0.7, 2.0, 1.0)):
            prepared = preprocess(volume, how(spacing_mm, (ZSCORE,)))
            assert prepared.array.dtype == np.float32
            assert prepared.array.flags.c_contiguous
            assert prepared.array.flags.writeable
            np.testing.assert_array_equal(volume.array, array)

    def test_the_same_volume_gives_the_same_bits(self):
        volume = Volume(noise((2, 9, 8, 7)), Geometry.from_spacing((9, 8, 7), (1, 1.5, 3)))
        planned = how((1.2, 1.2, 3.5), (ZSCORE, NONE), thick_axis=2)
        np.testing.assert_array_equal(preprocess(volume, planned).array, preprocess(volume, planned).array)

    def test_a_picture_without_a_place_keeps_its_pixels_and_axes(self):
        picture = Volume(
            np.arange(3 * 5 * 4, dtype=np.uint8).reshape(3, 5, 4, 1),
            Geometry((5, 4, 1), np.eye(4)),
            Meta(kind="png", placed=False),
        )
        rescale = ChannelNormalisation(scheme="rescale", low=0, high=255)
        prepared = preprocess(picture, how(normalisation=(rescale,) * 3))
        np.testing.assert_allclose(prepared.array, picture.array / 255, rtol=1e-6)
        assert prepared.grid == picture.geometry

    def test_a_missing_channel_is_counted(self):
        volume = Volume(noise((1, 3, 3, 3)), Geometry.from_spacing((3, 3, 3)))
        with pytest.raises(InputError, match="The image has 1 channels, but 2 are planned for"):
            preprocess(volume, how(normalisation=(NONE, NONE)))


class TestLabels:
    @given(label_maps(largest=6))
    def test_without_a_planned_spacing_voxels_only_change_their_order(self, label_map):
        result = preprocess_labels(label_map.array, label_map.geometry, how(), 6)
        np.testing.assert_array_equal(label_map.geometry.to_canonical.inverse.apply(result), label_map.array)

    @settings(max_examples=30)
    @given(geometries(smallest=4, largest=10), st.tuples(*[st.floats(0.6, 4)] * 3), st.sampled_from([0, 1, 2]))
    def test_labels_and_image_come_to_one_grid_voxel_by_voxel(self, native, spacing_mm, axis):
        # Half of the volume is a structure, and the image is its mask: where the image is sure, the label agrees.
        mask = np.zeros(native.shape, np.uint8)
        np.moveaxis(mask, axis, 0)[native.shape[axis] // 2 :] = 1
        planned = how(spacing_mm)
        classes = preprocess_labels(mask, native, planned, 2)
        image = preprocess(Volume(mask[None].astype(np.float32), native), planned).array[0]
        sure = np.abs(image - 0.5) > 0.15
        assert classes.dtype == mask.dtype
        np.testing.assert_array_equal(classes[sure], image[sure] > 0.5)

    def test_a_block_lands_where_the_world_says(self):
        native = Geometry.from_spacing((20, 20, 10), (1, 1, 2), (-10, 5, 7)).flip(1).permute((2, 0, 1))
        classes = np.zeros(native.shape, np.uint8)
        classes[3:7, 4:12, 6:14] = 1
        planned = how((0.5, 0.5, 0.5))
        grid = plan_grid(native, planned).grid
        result = preprocess_labels(classes, native, planned, 2)
        centres = grid.to_world(np.argwhere(result))
        source = native.to_voxel(centres)
        assert (source > [2.4, 3.4, 5.4]).all()
        assert (source < [6.6, 11.6, 13.6]).all()
        # As many mm³ as before, but for the rounded corners.
        np.testing.assert_allclose(result.sum() * 0.125, classes.sum() * 2, rtol=0.04)

    def test_a_label_map_of_another_grid_is_refused_with_both_shapes(self):
        with pytest.raises(InputError, match=r"shape \(3, 3, 3\) does not fit a grid of \(4, 3, 3\)"):
            preprocess_labels(np.zeros((3, 3, 3), np.uint8), Geometry.from_spacing((4, 3, 3)), how(), 2)


def test_slices_of_a_thick_axis_are_taken_as_they_are_in_image_and_labels_alike():
    native = Geometry.from_spacing((8, 8, 4), (1, 1, 4)).permute((2, 0, 1))
    image = np.broadcast_to(np.array([5.0, -1, 3, 8], np.float32)[None, :, None, None], (1, *native.shape))
    classes = np.broadcast_to(np.array([0, 1, 0, 2], np.uint8)[:, None, None], native.shape)
    planned = how((0.8, 0.8, 2.5), thick_axis=2)
    prepared = preprocess(Volume(image, native), planned)
    moved = preprocess_labels(classes, native, planned, 3)
    assert prepared.grid.shape == (10, 10, 6)
    nearest = [0, 1, 1, 2, 3, 3]
    np.testing.assert_allclose(prepared.array[0], np.broadcast_to(image[0, nearest, 0, 0], (10, 10, 6)), atol=1e-5)
    np.testing.assert_array_equal(moved, np.broadcast_to(classes[nearest, 0, 0], (10, 10, 6)))


@pytest.mark.data
def test_a_real_hippocampus_keeps_its_volume_on_a_finer_grid(shared_data):
    name = sorted(path.name for path in (shared_data / "hippocampus" / "imagesTr").glob("hippocampus_*.nii.gz"))[0]
    volume = read(shared_data / "hippocampus" / "imagesTr" / name)
    label_map = read_labels(shared_data / "hippocampus" / "labelsTr" / name)
    planned = how((0.7, 0.7, 0.7), (ZSCORE,) * volume.n_channels)
    prepared = preprocess(volume, planned)
    classes = preprocess_labels(label_map.array, label_map.geometry, planned, 3)
    assert classes.shape == prepared.grid.shape
    for value in (1, 2):
        before = (label_map.array == value).sum() * label_map.geometry.voxel_volume_ml
        np.testing.assert_allclose((classes == value).sum() * prepared.grid.voxel_volume_ml, before, rtol=0.03)
    # The structure is seen at the same place: its mean intensity hardly moves.
    native = normalise(volume.array, planned.normalisation)[0][label_map.array > 0].mean()
    assert abs(prepared.array[0][classes > 0].mean() - native) < 0.05


def leaning(grid, by):
    affine = grid.affine.copy()
    affine[1, 2] += by * grid.spacing_mm[2]
    return Geometry(grid.shape, affine)


MIDDLING = Geometry.from_spacing((60, 60, 60), (2, 2, 2))


@pytest.mark.parametrize(
    ("native", "spacing_mm", "n_channels"),
    [
        (MIDDLING, (2.0, 2.0, 2.0), 1),
        (MIDDLING, (1.0, 1.0, 1.0), 1),
        (MIDDLING, (1.0, 1.0, 1.0), 3),
        (MIDDLING, (8.0, 8.0, 8.0), 2),
        (Geometry.from_spacing((20, 20, 20), (8, 8, 8)), (1.0, 1.0, 1.0), 1),
        (Geometry.from_spacing((200, 200, 6), (1, 1, 5)), (1.0, 1.0, 1.0), 1),
        (leaning(MIDDLING, 0.3), (1.0, 1.0, 1.0), 1),
    ],
)
def test_the_memory_that_preprocessing_takes_is_known_from_the_header(native, spacing_mm, n_channels):
    """Within a fifth below what numpy asks for at most, and never twice as much."""
    planned = how(spacing_mm, (ZSCORE,) * n_channels)
    volume = Volume(noise((n_channels, *native.shape)), native)
    preprocess(volume, planned)  # what is imported on the way is not counted
    tracemalloc.start()
    preprocess(volume, planned)
    _, most = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert 0.8 * most <= preprocess_bytes(plan_grid(native, planned), n_channels) <= 2 * most
