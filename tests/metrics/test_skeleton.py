"""clDice: known answers, the bodies that thinning deletes, and agreement with the plain formula."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import ndimage
from skimage.morphology import skeletonize

from medseg.core.geometry import Geometry
from medseg.metrics.skeleton import centreline, skeleton


def tube(shape, width, length, at=(6, 6, 3)):
    mask = np.zeros(shape, bool)
    mask[at[0] : at[0] + width, at[1] : at[1] + width, at[2] : at[2] + length] = True
    return mask


@pytest.mark.parametrize("width", [1, 2, 3, 4, 5, 6])
def test_every_bar_has_a_skeleton_and_itself_as_a_perfect_prediction(width):
    mask = tube((16, 16, 40), width, 34)
    found = skeleton(mask)
    assert found.any()
    assert not (found & ~mask).any()
    # A course and not a point: nearly as long as the bar.
    assert np.ptp(np.argwhere(found)[:, 2]) >= 34 - 2 * width
    assert centreline(mask, mask, Geometry.from_spacing(mask.shape)).dice == 1


def test_a_thinner_tube_on_the_same_course_is_perfect_and_half_of_one_is_not():
    grid = Geometry.from_spacing((16, 16, 40))
    thick, thin, half = tube(grid.shape, 5, 33), tube(grid.shape, 3, 31, (7, 7, 4)), tube(grid.shape, 5, 17)
    assert centreline(thick, thin, grid).dice == 1
    found = centreline(thick, half, grid)
    assert found.precision == 1
    assert found.sensitivity == pytest.approx(0.5, abs=0.05)


def test_a_false_branch_lowers_precision_alone():
    grid = Geometry.from_spacing((30, 16, 40))
    reference = tube(grid.shape, 3, 33)
    predicted = reference.copy()
    predicted[9:28, 6:9, 15:18] = True
    found = centreline(reference, predicted, grid)
    assert found.sensitivity == 1
    assert found.precision < 0.75


def test_thick_slices_are_brought_to_an_isotropic_grid():
    # A tube along i through a stack of 3 mm slices: one slice thick, three voxels wide.
    grid = Geometry.from_spacing((30, 12, 7), (1, 1, 3))
    mask = np.zeros(grid.shape, bool)
    mask[3:27, 5:8, 3] = True
    assert centreline(mask, mask, grid).dice == 1


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 10**6), st.booleans())
def test_on_an_isotropic_grid_it_is_the_plain_formula(seed, flat):
    generator = np.random.default_rng(seed)
    shape = (20, 18, 1) if flat else (14, 13, 12)
    noise = ndimage.gaussian_filter(generator.random((2, *shape)), (0, 2, 2, 0 if flat else 2))
    reference, predicted = (each > np.quantile(each, 0.8) for each in noise)
    skeletons = [skeletonize(m[..., 0])[..., None] if flat else skeletonize(m) > 0 for m in (reference, predicted)]
    # Where thinning deletes a component the formula has no answer.
    for mask, thin in zip((reference, predicted), skeletons, strict=True):
        components, n = ndimage.label(mask, np.ones((3, 3, 3)))
        if np.unique(components[thin]).size < n:
            return
    found = centreline(reference, predicted, Geometry.from_spacing(shape))
    assert found.sensitivity == pytest.approx((skeletons[0] & predicted).sum() / skeletons[0].sum())
    assert found.precision == pytest.approx((skeletons[1] & reference).sum() / skeletons[1].sum())


def test_an_empty_mask_has_no_course():
    grid = Geometry.from_spacing((16, 16, 40))
    assert np.isnan(centreline(np.zeros(grid.shape, bool), tube(grid.shape, 3, 20), grid).dice)
