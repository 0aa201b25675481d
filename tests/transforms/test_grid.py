"""Resampling: the half-voxel rule, exact cases, and agreement with scipy, SimpleITK and brute force."""

import subprocess
import sys

import numpy as np
import pytest
import SimpleITK
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as npst
from scipy import ndimage

from medseg.core.errors import InputError
from medseg.core.geometry import Geometry
from medseg.transforms.grid import (
    IGNORED,
    AxisWeights,
    axis_weights,
    nearest_weights,
    resample_axis,
    resample_classes,
    resample_image,
    resample_linear,
)
from tests.strategies import geometries, label_arrays, shapes

SIZES = st.integers(1, 14)


def noise(*shape, seed=0):
    return np.random.default_rng(seed).standard_normal(shape).astype(np.float32)


def old_indices(old_shape, new_shape):
    """Where new centres lie in the old array, (3, *new_shape): the rule written down a second time."""
    axes = [
        np.clip((np.arange(new) + 0.5) * old / new - 0.5, 0, old - 1)
        for old, new in zip(old_shape, new_shape, strict=True)
    ]
    return np.stack(np.meshgrid(*axes, indexing="ij"))


class TestAxisWeights:
    def test_three_voxels_to_two_by_hand(self):
        index0, index1, weight = axis_weights(3, 2)
        assert index0.tolist() == [0, 1]
        assert index1.tolist() == [1, 2]
        assert weight.tolist() == [0.25, 0.75]

    @given(SIZES, SIZES)
    def test_they_stay_inside_and_never_step_back(self, n_old, n_new):
        index0, index1, weight = axis_weights(n_old, n_new)
        assert len(index0) == len(index1) == len(weight) == n_new
        assert index0.min() >= 0
        assert index1.max() < n_old
        assert (np.diff(index0) >= 0).all()
        assert (index1 - index0 <= 1).all()
        assert ((weight >= 0) & (weight < 1)).all()

    @given(SIZES, SIZES)
    def test_both_ends_are_treated_alike(self, n_old, n_new):
        index0, _, weight = axis_weights(n_old, n_new)
        position = index0 + weight
        np.testing.assert_allclose(position, n_old - 1 - position[::-1], atol=1e-5)

    @given(geometries(smallest=1, largest=12), st.tuples(*[st.floats(0.3, 8)] * 3))
    def test_new_voxels_are_where_the_resampled_geometry_says(self, native, spacing_mm):
        grid = native.resampled(spacing_mm)
        for axis in range(3):
            index0, _, weight = axis_weights(native.shape[axis], grid.shape[axis])
            line = np.zeros((grid.shape[axis], 3))
            line[:, axis] = np.arange(grid.shape[axis])
            through_the_world = native.to_voxel(grid.to_world(line))[:, axis]
            expected = np.clip(through_the_world, 0, native.shape[axis] - 1)
            np.testing.assert_allclose(index0 + weight, expected, atol=1e-4)

    @given(SIZES, SIZES)
    def test_the_nearest_voxel_is_no_further_than_half_a_voxel(self, n_old, n_new):
        index = nearest_weights(n_old, n_new).index0
        position = (np.arange(n_new) + 0.5) * n_old / n_new - 0.5
        assert (np.abs(index - position) <= 0.5 + 1e-9).all()
        assert index.min() >= 0
        assert index.max() < n_old


class TestImages:
    @given(npst.arrays(np.float32, (2, 4, 3, 5), elements=st.floats(-1e6, 1e6, width=32)))
    def test_a_grid_resampled_to_itself_is_itself_to_the_bit(self, image):
        result = resample_image(image, image.shape[1:])
        np.testing.assert_array_equal(result, image)
        assert not np.shares_memory(result, image)

    @given(shapes(1, 7), shapes(1, 12), st.floats(-2e6, 2e6, width=32))
    def test_a_constant_stays_that_constant(self, old_shape, new_shape, value):
        result = resample_image(np.full((1, *old_shape), value, np.float32), new_shape)
        np.testing.assert_array_equal(result, np.full((1, *new_shape), value, np.float32))

    @given(npst.arrays(np.float32, (2, 5, 4, 3), elements=st.floats(-100, 100, width=32)), shapes(1, 9))
    def test_each_channel_stays_within_its_range(self, image, new_shape):
        result = resample_image(image, new_shape)
        for channel, source in zip(result, image, strict=True):
            assert source.min() <= channel.min()
            assert channel.max() <= source.max()

    @given(shapes(2, 9), shapes(2, 12), st.sampled_from([None, 0, 1, 2]))
    def test_flipping_before_and_after_is_the_same(self, old_shape, new_shape, nearest_axis):
        image = noise(1, *old_shape)
        for axis in (1, 2, 3):
            if axis - 1 == nearest_axis:
                continue  # half-way between two slices there is no symmetric choice
            flipped = resample_image(np.flip(image, axis), new_shape, nearest_axis)
            np.testing.assert_allclose(
                np.flip(flipped, axis), resample_image(image, new_shape, nearest_axis), atol=2e-5
            )

    def test_a_ramp_is_resampled_exactly_away_from_the_border(self):
        image = np.broadcast_to(np.arange(60, dtype=np.float32)[:, None, None], (1, 60, 3, 3))
        result = resample_image(image, (77, 3, 3))[0, :, 1, 1]
        expected = (np.arange(77) + 0.5) * 60 / 77 - 0.5
        # The spline's mirror at the border bends the ramp; that dies away by a factor of 3.7 a voxel.
        np.testing.assert_allclose(result[15:-15], expected[15:-15], atol=2e-5)

    @given(geometries(smallest=10, largest=16, smallest_mm=1, largest_mm=3), st.tuples(*[st.floats(0.9, 3.2)] * 3))
    def test_a_smooth_function_of_the_world_is_the_same_on_both_grids(self, native, spacing_mm):
        centre = native.to_world((np.array(native.shape) - 1) / 2)
        radius_mm = np.linalg.norm(native.affine[:3, :3] @ np.array(native.shape)) / 2

        def sample(grid):
            points = grid.to_world(np.moveaxis(np.indices(grid.shape), 0, -1))
            return np.exp(-(np.linalg.norm(points - centre, axis=-1) ** 2) / radius_mm**2).astype(np.float32)

        grid = native.resampled(np.clip(spacing_mm, np.array(native.spacing_mm) / 2, np.array(native.spacing_mm) * 1.4))
        error = np.abs(resample_image(sample(native)[None], grid.shape)[0] - sample(grid))
        # Half a voxel off would be 0.05; beyond the outermost centres nothing is known.
        assert error[2:-2, 2:-2, 2:-2].max() < 0.015
        assert error.max() < 0.06

    @pytest.mark.parametrize("new_shape", [(17, 30, 9), (12, 31, 14), (40, 19, 11), (20, 13, 2)])
    def test_it_is_the_spline_that_scipy_evaluates(self, new_shape):
        image = noise(1, 18, 25, 10)
        smoothed = image[0].astype(np.float64)
        for axis, (old, new) in enumerate(zip(smoothed.shape, new_shape, strict=True)):
            if old / new > 1.5:
                smoothed = ndimage.gaussian_filter1d(smoothed, (old / new - 1) / 3, axis, mode="mirror")
        expected = ndimage.map_coordinates(smoothed, old_indices(image.shape[1:], new_shape), order=3, mode="mirror")
        expected = np.clip(expected, image.min(), image.max())
        np.testing.assert_allclose(resample_image(image, new_shape)[0], expected, atol=5e-6)

    def test_shrinking_agrees_with_scipy_zoom_in_grid_mode(self):
        image = noise(1, 24, 20, 15)
        factors = [n / m for n, m in zip((20, 15, 12), image.shape[1:], strict=True)]
        expected = ndimage.zoom(image[0], factors, order=3, mode="mirror", grid_mode=True)
        expected = np.clip(expected, image.min(), image.max())
        np.testing.assert_allclose(resample_image(image, (20, 15, 12))[0], expected, atol=5e-6)

    def test_it_agrees_with_simpleitk_on_the_resampled_geometry(self):
        native = Geometry.from_spacing((26, 22, 18), (0.8, 1.0, 1.7), (5, -3, 40))
        grid = native.resampled((1.0, 0.9, 1.4))
        image = noise(1, *native.shape)

        def itk(geometry, array):
            result = SimpleITK.GetImageFromArray(array.T)
            result.SetSpacing(geometry.spacing_mm)
            result.SetOrigin(geometry.affine[:3, 3].tolist())
            return result

        like = itk(grid, np.zeros(grid.shape, np.float32))
        expected = SimpleITK.GetArrayFromImage(
            SimpleITK.Resample(itk(native, image[0]), like, SimpleITK.Transform(), SimpleITK.sitkBSpline)
        ).T
        inside = (slice(2, -2),) * 3
        result = resample_image(image, grid.shape)[0]
        np.testing.assert_allclose(result[inside], np.clip(expected, image.min(), image.max())[inside], atol=1e-4)

    def test_stripes_finer_than_the_new_voxels_become_their_mean(self):
        image = np.broadcast_to((np.arange(48) % 2).astype(np.float32)[:, None, None], (1, 48, 4, 4))
        result = resample_image(image, (9, 4, 4))
        assert np.abs(result - 0.5)[:, 1:-1].max() < 0.02

    def test_along_the_thick_axis_every_slice_is_one_that_was_there(self):
        image = noise(1, 6, 5, 4)
        result = resample_image(image, (6, 5, 11), nearest_axis=2)
        nearest = [0, 0, 0, 1, 1, 2, 2, 2, 3, 3, 3]
        np.testing.assert_array_equal(result, image[..., nearest])

    def test_a_single_slice_can_only_be_repeated(self):
        image = noise(1, 4, 4, 1)
        np.testing.assert_array_equal(resample_image(image, (4, 4, 3)), np.repeat(image, 3, axis=3))

    def test_whole_numbers_and_foreign_memory_layouts_are_welcome(self):
        image = (noise(7, 6, 5, 1) * 1000).astype(np.int16).T
        result = resample_image(image, (4, 6, 9))
        assert result.dtype == np.float32
        assert result.flags.c_contiguous
        np.testing.assert_array_equal(result, resample_image(image.astype(np.float32).copy(), (4, 6, 9)))


class TestProbabilities:
    def test_two_voxels_to_four_by_hand(self):
        result = resample_linear(np.array([0.0, 1.0]).reshape(2, 1, 1), (4, 1, 1))
        assert result.ravel().tolist() == [0, 0.25, 0.75, 1]

    @given(shapes(1, 7), shapes(1, 9))
    def test_it_is_the_trilinear_interpolation_of_scipy(self, old_shape, new_shape):
        array = noise(2, *old_shape)
        result = resample_linear(array, new_shape)
        for channel, source in zip(result, array, strict=True):
            expected = ndimage.map_coordinates(source, old_indices(old_shape, new_shape), order=1, mode="nearest")
            np.testing.assert_allclose(channel, expected, atol=1e-5)

    @given(shapes(1, 7), shapes(1, 9))
    def test_what_sums_to_one_still_does(self, old_shape, new_shape):
        probabilities = np.exp(noise(3, *old_shape))
        probabilities /= probabilities.sum(0)
        result = resample_linear(probabilities, new_shape)
        np.testing.assert_allclose(result.sum(0), 1, atol=1e-5)
        assert result.min() >= 0

    @given(shapes(1, 6), st.floats(-1, 1, width=32))
    def test_a_constant_stays_exactly_that_constant(self, new_shape, value):
        np.testing.assert_array_equal(resample_linear(np.full((3, 4, 5), value), new_shape), np.float32(value))

    def test_slabs_along_an_axis_make_up_the_whole(self):
        array = noise(2, 9, 5, 4)
        whole = resample_linear(array, (14, 7, 6))
        weights = axis_weights(9, 14)
        for start in range(0, 14, 3):
            rows = AxisWeights(*(vector[start : start + 3] for vector in weights))
            first, last = int(rows.index0[0]), int(rows.index1[-1]) + 1
            local = AxisWeights(rows.index0 - first, rows.index1 - first, rows.weight)
            slab = resample_linear(resample_axis(array[:, first:last], 1, local), (len(rows.weight), 7, 6))
            np.testing.assert_allclose(slab, whole[:, start : start + 3], atol=1e-6)

    def test_the_source_is_left_as_it_is(self):
        array = noise(1, 4, 4, 4)
        before = array.copy()
        result = resample_linear(array, (4, 4, 4))
        result += 1
        resample_linear(array, (6, 3, 4))
        np.testing.assert_array_equal(array, before)


def shares_by_brute_force(classes, new_shape, values):
    """The one-hot masks of all values, whole and in float64, interpolated by scipy: (len(values), *new_shape)."""
    where = old_indices(classes.shape, new_shape)
    return np.stack(
        [ndimage.map_coordinates((classes == v).astype(np.float64), where, order=1, mode="nearest") for v in values]
    )


class TestClasses:
    @given(st.data(), shapes(1, 8), shapes(1, 11))
    def test_each_voxel_goes_to_the_largest_share_of_a_full_one_hot(self, data, old_shape, new_shape):
        values = (0, 1, 2, 5, IGNORED)
        classes = data.draw(label_arrays(old_shape, values))
        shares = shares_by_brute_force(classes, new_shape, values)
        # argmax takes the first of equals, which is the lower class; rounding makes equals differ by 1e-16.
        expected = np.array(values)[np.argmax(shares.round(5), axis=0)]
        np.testing.assert_array_equal(resample_classes(classes, new_shape, 6), expected)

    @given(st.data(), shapes(1, 6))
    def test_a_label_map_resampled_to_its_own_grid_is_itself(self, data, shape):
        classes = data.draw(label_arrays(shape))
        result = resample_classes(classes, shape, 6)
        np.testing.assert_array_equal(result, classes)
        assert not np.shares_memory(result, classes)

    @given(st.data(), shapes(1, 4), st.tuples(*[st.integers(1, 5)] * 3))
    def test_what_was_repeated_voxel_by_voxel_comes_back_as_it_was(self, data, shape, times):
        classes = data.draw(label_arrays(shape, (0, 1, 2, 5, IGNORED)))
        repeated = classes
        for axis, n in enumerate(times):
            repeated = np.repeat(repeated, n, axis=axis)
        np.testing.assert_array_equal(resample_classes(repeated, shape, 6), classes)

    @pytest.mark.parametrize(
        ("before", "after"), [([0, 1], 0), ([1, 0], 0), ([2, 1], 1), ([1, 2], 1), ([IGNORED, 3], 3)]
    )
    def test_of_equal_shares_the_lower_class_has_the_voxel(self, before, after):
        classes = np.array(before, np.uint8).reshape(2, 1, 1)
        assert resample_classes(classes, (1, 1, 1), 4).item() == after

    def test_ignored_voxels_stay_where_they_prevail_and_nowhere_else(self):
        classes = np.array([1, 1, 1, IGNORED, IGNORED, IGNORED], np.uint8).reshape(6, 1, 1)
        assert resample_classes(classes, (12, 1, 1), 2).ravel().tolist() == [1] * 6 + [IGNORED] * 6
        assert resample_classes(classes, (4, 1, 1), 2).ravel().tolist() == [1, 1, IGNORED, IGNORED]

    def test_a_ball_keeps_its_outline_better_than_by_the_nearest_voxel(self):
        def ball(n):
            place = (np.indices((n, n, n)) + 0.5) / n - 0.5
            return ((place - 0.017) ** 2).sum(0) < 0.33**2

        def dice(a, b):
            return 2 * (a & b).sum() / (a.sum() + b.sum())

        for n_old, n_new in ((40, 20), (20, 27), (20, 40)):
            classes = ball(n_old).astype(np.uint8)
            linear = resample_classes(classes, (n_new,) * 3, 2) == 1
            index = nearest_weights(n_old, n_new).index0
            nearest = classes[np.ix_(index, index, index)] == 1
            assert dice(linear, ball(n_new)) > dice(nearest, ball(n_new))
            assert dice(linear, ball(n_new)) > 0.94

    def test_along_the_thick_axis_slices_are_not_mixed(self):
        classes = np.zeros((4, 4, 2), np.uint8)
        classes[..., 1] = 1
        result = resample_classes(classes, (8, 8, 6), 2, nearest_axis=2)
        assert result[0, 0].tolist() == [0, 0, 0, 1, 1, 1]

    def test_hundreds_of_classes_keep_their_type(self):
        classes = np.arange(512, dtype=np.int32).reshape(8, 8, 8) % 300
        result = resample_classes(np.repeat(classes, 2, axis=0), (8, 8, 8), 300)
        assert result.dtype == np.int32
        np.testing.assert_array_equal(result, classes)

    @pytest.mark.parametrize("value", [7, -1])
    def test_a_value_that_is_no_class_is_named(self, value):
        classes = np.zeros((3, 3, 3), np.int16)
        classes[1, 1, 1] = value
        with pytest.raises(InputError, match=rf"A map of 4 classes holds the value {value}; class indices are 0…3"):
            resample_classes(classes, (3, 3, 3), 4)


def test_the_package_is_imported_without_torch_and_scipy():
    code = "import sys, medseg.transforms; print([m for m in ('torch', 'monai', 'scipy') if m in sys.modules])"
    answer = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert answer.stdout.strip() == "[]"
