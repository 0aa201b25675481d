"""The boundaries of other libraries agree with those libraries, where they are installed, and with known answers."""

import warnings

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from scipy import ndimage

from medseg.core.geometry import Geometry
from medseg.metrics import surface_distances
from medseg.metrics.conventions import BOUNDARIES, surfels_of, voxels_of

SPACING = (0.7, 1.1, 2.5)


def blobs(seed, share, flat):
    """A mask of grown specks that may touch every side of its array."""
    generator = np.random.default_rng(seed)
    mask = generator.random((9, 8, 1) if flat else (9, 8, 7)) < share
    return ndimage.binary_dilation(mask) if generator.random() < 0.7 else mask


def both(seeds, share, flat=False):
    masks = [blobs(seed, share, flat) for seed in seeds]
    assume(all(mask.any() for mask in masks))
    return masks


def distances(of, reference, predicted):
    grid = Geometry.from_spacing(reference.shape, SPACING)
    return surface_distances(of(reference, grid), of(predicted, grid))


seeds = st.tuples(st.integers(0, 10**6), st.integers(0, 10**6))
shares = st.sampled_from([0.005, 0.03, 0.3, 0.7])


@pytest.fixture(scope="module")
def deepmind():
    """DeepMind's package; the release of 2018 asks numpy and scipy for names that are gone."""
    with pytest.MonkeyPatch.context() as patch, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        patch.setattr(np, "Inf", np.inf, raising=False)
        patch.setattr(np, "NaN", np.nan, raising=False)
        yield pytest.importorskip("surface_distance", reason="the library surface-distance is not installed")


@settings(max_examples=40, deadline=None)
@given(seeds, shares, st.booleans())
def test_surfels_are_deepminds(deepmind, seeds, share, flat):
    reference, predicted = both(seeds, share, flat)
    cut = (slice(None),) * 2 + (0,) if flat else ...
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        theirs = deepmind.compute_surface_distances(reference[cut], predicted[cut], SPACING[: 2 if flat else 3])
    ours = distances(surfels_of, reference, predicted)
    for q in (95, 100):
        assert ours.percentile(q) == pytest.approx(deepmind.compute_robust_hausdorff(theirs, q), abs=1e-4)
    for tolerance in (0.5, 1.05, 2.6):
        surface_dice = deepmind.compute_surface_dice_at_tolerance(theirs, tolerance)
        assert ours.nsd(tolerance) == pytest.approx(surface_dice, abs=1e-4)
    assert ours.masd_mm == pytest.approx(np.mean(deepmind.compute_average_surface_distance(theirs)), abs=1e-4)


@pytest.mark.filterwarnings("ignore:monai.*deprecated:FutureWarning")
@settings(max_examples=30, deadline=None)
@given(seeds, shares, st.booleans())
def test_voxels_are_monais(seeds, share, flat):
    torch, metrics = pytest.importorskip("torch"), pytest.importorskip("monai.metrics")
    reference, predicted = both(seeds, share, flat)
    shape = reference.shape[: 2 if flat else 3]
    one_hot = [torch.as_tensor(mask.reshape(1, 1, *shape)) for mask in (predicted, reference)]
    spacing = list(SPACING[: len(shape)])
    ours = distances(voxels_of, reference, predicted)
    for q in (95, 100):
        hd = metrics.compute_hausdorff_distance(*one_hot, include_background=True, percentile=q, spacing=spacing)
        assert ours.percentile(q) == pytest.approx(float(hd), abs=1e-4)
    assd = metrics.compute_average_surface_distance(*one_hot, include_background=True, symmetric=True, spacing=spacing)
    assert ours.assd_mm == pytest.approx(float(assd), abs=1e-4)
    nsd = metrics.compute_surface_dice(*one_hot, class_thresholds=[1.05], include_background=True, spacing=spacing)
    assert ours.nsd(1.05) == pytest.approx(float(nsd), abs=1e-4)


@settings(max_examples=40, deadline=None)
@given(seeds, shares)
def test_voxels_are_medpys(seeds, share):
    """By the formulas of MedPy's medpy.metric.binary, whose licence keeps the library itself out of the tests."""
    reference, predicted = both(seeds, share)
    borders = [
        mask ^ ndimage.binary_erosion(mask, ndimage.generate_binary_structure(3, 1)) for mask in (predicted, reference)
    ]
    one_way = [ndimage.distance_transform_edt(~to, sampling=SPACING)[of] for of, to in (borders, reversed(borders))]
    ours = distances(voxels_of, reference, predicted)
    assert ours.hd95_mm(pooled=True) == pytest.approx(np.percentile(np.hstack(one_way), 95), abs=1e-6)
    assert ours.hd_mm == pytest.approx(max(each.max() for each in one_way))
    assert ours.masd_mm == pytest.approx(np.mean([each.mean() for each in one_way]))


def test_the_corners_of_a_voxel_have_the_area_of_eight_small_triangles():
    mask = np.zeros((3, 3, 3), bool)
    mask[1, 1, 1] = True
    found = surfels_of(mask, Geometry.from_spacing((3, 3, 3)))
    assert len(found) == 8
    assert found.weights == pytest.approx(np.full(8, np.sqrt(3) / 8))
    assert sorted({float(x) for x in found.points_mm[:, 0]}) == [0.5, 1.5]


def test_the_voxels_of_a_cube_but_its_core_are_its_boundary():
    mask = np.ones((5, 5, 5), bool)
    assert len(voxels_of(mask, Geometry.from_spacing((5, 5, 5)))) == 125 - 27


def test_all_kinds_find_a_plate_moved_by_one_slice_one_slice_away():
    reference, predicted = np.zeros((2, 8, 8, 8), bool)
    reference[:, :, 3], predicted[:, :, 4] = True, True
    for of in BOUNDARIES.values():
        assert distances(of, reference, predicted).hd95_mm() == pytest.approx(2.5)


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 10**6), shares, st.sampled_from(sorted(BOUNDARIES)))
def test_slabs_of_a_mask_give_the_boundary_of_the_whole(seed, share, name):
    import medseg.metrics.boundary as module

    mask = blobs(seed, share, flat=False)
    grid = Geometry.from_spacing(mask.shape, SPACING)
    whole = BOUNDARIES[name](mask, grid)
    before, module._SLAB_VOXELS = module._SLAB_VOXELS, 2 * 8 * 7
    try:
        by_slabs = BOUNDARIES[name](mask, grid)
    finally:
        module._SLAB_VOXELS = before
    assert np.array_equal(np.sort(whole.keys), np.sort(by_slabs.keys))
    assert np.unique(whole.keys).size == whole.keys.size
    assert by_slabs.weights.sum() == pytest.approx(whole.weights.sum())


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 10**6), st.sampled_from(sorted(BOUNDARIES)))
def test_what_touches_a_voxel_to_ignore_is_no_boundary(seed, name):
    mask = blobs(seed, 0.05, flat=False)
    ignored = np.zeros(mask.shape, bool)
    ignored[5:] = True
    grid = Geometry.from_spacing(mask.shape)
    found = BOUNDARIES[name](mask, grid, ignored=ignored)
    # As if the array ended there, less the elements at its end.
    cut = BOUNDARIES[name](mask[:5], Geometry.from_spacing((5, *mask.shape[1:])))
    kept = cut.points_mm[:, 0] < (4.25 if name != "voxels" else 5)
    if name == "voxels":
        kept &= np.isin(np.arange(len(cut)), np.flatnonzero([
            any(not mask[tuple(p)] for p in neighbours(point, mask.shape)) or on_border(point, mask.shape)
            for point in cut.points_mm.astype(int)
        ]))  # fmt: skip
    assert len(found) == kept.sum()


def neighbours(point, shape):
    for axis in range(3):
        for step in (-1, 1):
            place = point.copy()
            place[axis] += step
            if 0 <= place[axis] < shape[axis] and place[0] < 5:
                yield place


def on_border(point, shape):
    return point[0] == 0 or any(point[a] in (0, shape[a] - 1) for a in (1, 2))
