"""Figures of labels in their boxes are those of whole masks, ignored voxels left out."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import ndimage

from medseg.core.geometry import Geometry
from medseg.core.volume import LabelMap
from medseg.evaluate.catalogue import METRICS, metric_of
from medseg.evaluate.engine import Engine, Probabilities
from medseg.metrics import surface_distances
from medseg.metrics.bands import boundary_iou
from medseg.metrics.calibration import near, reliability, scores
from medseg.metrics.conventions import BOUNDARIES
from medseg.metrics.lesions import BRATS_2023, detection, lesion_wise, lesions_of, panoptic_quality
from medseg.metrics.skeleton import centreline

BEYOND = tuple(metric for metric in METRICS.values() if metric.needs != "counts")
IGNORE = 9


def drawn(seed, flat=False, with_ignored=False):
    """Two label maps of the values 1 and 2 in a few bodies, perhaps with voxels to ignore in the first."""
    generator = np.random.default_rng(seed)
    shape = (14, 12, 1) if flat else (14, 12, 9)
    grid = Geometry.from_spacing(shape, (1.0, 1.2, 2.0))
    maps = []
    for _ in range(2):
        noise = ndimage.gaussian_filter(generator.random(shape), [1.2 if n > 1 else 0 for n in shape])
        maps.append(np.digitize(noise, np.quantile(noise, [0.7, 0.85])).astype(np.uint8))
    if with_ignored:
        maps[0][generator.random(shape) < 0.05] = IGNORE
    return grid, *maps


def engine(grid, reference, predicted, metrics=BEYOND, **more):
    return Engine(LabelMap(reference, grid), LabelMap(predicted, grid), metrics, IGNORE, **more)


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 10**6), st.booleans(), st.booleans(), st.sampled_from([(1,), (2,), (1, 2)]))
def test_figures_are_those_of_the_whole_masks(seed, flat, with_ignored, values):
    grid, reference, predicted = drawn(seed, flat, with_ignored)
    judged = reference != IGNORE
    r, p = (np.isin(each, values) & judged for each in (reference, predicted))
    found = engine(grid, reference, predicted).figures("it", values, 1.5)
    if not (r.any() and p.any()):
        return
    lesions = lesions_of(r), lesions_of(p)
    wanted = {
        "lesion_f1": detection(*lesions).f1,
        "pq": panoptic_quality(*lesions).quality,
        "lesion_dice_brats2023_met": lesion_wise(r, p, grid, BRATS_2023["met"]).dice,
        "lesion_hd95_brats2023_gli_mm": lesion_wise(r, p, grid, BRATS_2023["gli"]).hd95_mm,
        "boundary_iou": boundary_iou(r, p, grid, 1.5),
    }
    if not with_ignored:
        wanted["hd95_mm"] = surface_distances(*(BOUNDARIES["faces"](mask, grid) for mask in (r, p))).hd95_mm()
        wanted["cldice"] = centreline(r, p, grid).dice
    for name, value in wanted.items():
        assert found[name] == pytest.approx(value, nan_ok=True), name


def test_each_kind_of_boundary_has_its_own_figures():
    grid, reference, predicted = drawn(3)
    metrics = [metric_of(name) for name in ("hd95_mm", "hd95_surfels_mm", "nsd_voxels", "hd80_pooled_voxels_mm")]
    found = engine(grid, reference, predicted, metrics).figures("it", (1,), 1.0)
    for name, kind in (("hd95_mm", "faces"), ("hd95_surfels_mm", "surfels")):
        distances = surface_distances(*(BOUNDARIES[kind](each == 1, grid) for each in (reference, predicted)))
        assert found[name] == distances.hd95_mm()
    voxels = surface_distances(*(BOUNDARIES["voxels"](each == 1, grid) for each in (reference, predicted)))
    assert found["nsd_voxels"] == voxels.nsd(1.0)
    assert found["hd80_pooled_voxels_mm"] == voxels.percentile(80, pooled=True)


def test_a_body_in_one_slice_of_a_volume_is_no_picture():
    grid = Geometry.from_spacing((8, 8, 5), (1, 1, 3))
    reference, predicted = np.zeros((2, *grid.shape), np.uint8)
    reference[2:6, 2:6, 2], predicted[2:6, 2:6, 2] = 1, 1
    predicted[2, 2, 2] = 0
    found = engine(grid, reference, predicted).figures("it", (1,), 0.4)
    # Thick voxels: at 0.4 mm only what touches the outside is near it, and here that is every voxel.
    assert found["boundary_iou"] == pytest.approx(15 / 16)


@settings(max_examples=20, deadline=None)
@given(st.integers(0, 10**6), st.booleans())
def test_calibration_is_of_the_label_against_the_rest_near_both_masks(seed, with_ignored):
    grid, reference, predicted = drawn(seed, with_ignored=with_ignored)
    said = np.random.default_rng(seed).dirichlet(np.ones(3), grid.shape).transpose(3, 0, 1, 2)
    tool = engine(grid, reference, predicted, probabilities=Probabilities(said, (0, 1, 2)))
    found = tool.figures("it", (1,), 1.0)
    judged = reference != IGNORE
    r, p = (each == 1 for each in (reference, predicted))
    domain = near(r & judged, p & judged, grid) & judged
    two = np.stack([1 - said[1], said[1]])
    assert found["brier"] == pytest.approx(scores(two, r.astype(int), domain).brier)
    assert found["nll"] == pytest.approx(scores(two, r.astype(int), domain).nll)
    assert found["ece"] == pytest.approx(reliability(two, r.astype(int), 1, domain).ece)
    assert sum(tool.curves["it"].counts) == domain.sum()


def test_a_label_that_nobody_has_is_calibrated_over_the_whole_image():
    grid, reference, predicted = drawn(1)
    said = np.zeros((3, *grid.shape))
    said[0] = 1
    tool = engine(grid, reference, predicted, probabilities=Probabilities(said, (0, 1, 7)))
    assert tool.figures("it", (7,), 1.0) == {"brier": 0.0, "nll": 0.0, "ece": 0.0}
    assert sum(tool.curves["it"].counts) == reference.size
