"""Boundary IoU: by brute force on any grid, and by hand."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import ndimage

from medseg.core.geometry import Geometry
from medseg.metrics import boundary_of, iou
from medseg.metrics.bands import band_of, boundary_iou

SHEARED = np.array([[0.8, 0.0, 0.3, 0], [0, 1.1, 0.4, 0], [0, 0, 2.5, 0], [0, 0, 0, 1]])


def blob(seed, shape):
    generator = np.random.default_rng(seed)
    noise = ndimage.gaussian_filter(generator.random(shape), [1.2 if n > 1 else 0 for n in shape])
    return noise > np.quantile(noise, 0.6)


def brute_band(mask, grid, tolerance_mm):
    faces = boundary_of(mask, grid).points_mm
    centres = grid.to_world(np.argwhere(mask))
    near = np.linalg.norm(centres[:, None] - faces[None], axis=-1).min(axis=1) <= tolerance_mm + 1e-6
    band = np.zeros_like(mask)
    band[mask] = near
    structure = ndimage.generate_binary_structure(3, 1)
    if mask.shape[2] == 1:
        structure[:, :, [0, 2]] = False
        return band | (mask & ~ndimage.binary_erosion(mask, structure))
    return band | (mask & ~ndimage.binary_erosion(mask, structure))


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 10**6), st.sampled_from([0.1, 0.7, 1.5, 3.0]), st.booleans(), st.booleans())
def test_a_band_is_what_brute_force_finds(seed, tolerance_mm, sheared, flat):
    shape = (9, 8, 1) if flat else (9, 8, 6)
    affine = SHEARED if sheared else np.diag([0.8, 1.1, 2.5, 1])
    grid = Geometry(shape, affine)
    mask = blob(seed, shape)
    assert np.array_equal(band_of(mask, grid, tolerance_mm), brute_band(mask, grid, tolerance_mm))


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 10**6), st.sampled_from([0.7, 1.5]))
def test_boundary_iou_is_the_iou_of_the_bands(seed, tolerance_mm):
    grid = Geometry.from_spacing((9, 8, 6), (0.8, 1.1, 2.5))
    reference, predicted = blob(seed, grid.shape), blob(seed + 1, grid.shape)
    bands = [brute_band(mask, grid, tolerance_mm) for mask in (reference, predicted)]
    expected = (bands[0] & bands[1]).sum() / (bands[0] | bands[1]).sum()
    assert boundary_iou(reference, predicted, grid, tolerance_mm) == pytest.approx(expected)


def test_with_a_wide_band_it_is_the_iou():
    grid = Geometry.from_spacing((9, 8, 6))
    reference, predicted = blob(1, grid.shape), blob(2, grid.shape)
    assert boundary_iou(reference, predicted, grid, 100) == pytest.approx(iou(predicted, reference))


def test_the_shell_of_a_cube_by_hand():
    grid = Geometry.from_spacing((12, 12, 12))
    reference, predicted = np.zeros((2, 12, 12, 12), bool)
    reference[1:11, 1:11, 1:11] = predicted[1:11, 1:11, 1:10] = True
    # Shells of one voxel have 10³ − 8³ = 488 and 10·10·9 − 8·8·7 = 452 voxels. Both have the layer k = 1 (100), seven
    # rings of 36, and of k = 9 the reference's ring (36).
    in_both = 100 + 7 * 36 + 36
    assert boundary_iou(reference, predicted, grid, 0.6) == pytest.approx(in_both / (488 + 452 - in_both))


def test_empty_masks():
    grid = Geometry.from_spacing((9, 8, 6))
    nothing, some = np.zeros(grid.shape, bool), blob(1, grid.shape)
    assert boundary_iou(nothing, some, grid, 1) == 0
    assert np.isnan(boundary_iou(nothing, nothing, grid, 1))
