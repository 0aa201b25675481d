"""Distances between boundaries: brute force, answers worked out by hand, closed forms, invariances."""

import json
from math import isnan, sqrt
from pathlib import Path

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from medseg.core.errors import InputError
from medseg.core.geometry import Geometry
from medseg.metrics import DirectedDistances, boundary, boundary_of, boxes_of, surface_distances
from medseg.metrics.boundary import farthest
from tests.metrics import brute
from tests.strategies import affines, geometries, label_arrays, shapes, spacings_mm


def measure(reference, predicted, grid, ignored=None):
    return surface_distances(
        boundary_of(reference, grid, ignored=ignored), boundary_of(predicted, grid, ignored=ignored)
    )


def figures(found, tolerance_mm=1.0):
    return (found.hd_mm, found.hd95_mm(), found.assd_mm, found.masd_mm, found.nsd(tolerance_mm))


@st.composite
def mask_pairs(draw, largest=4, ignore=False, sheared=True):
    grid = draw(geometries(1, largest, sheared=sheared))
    arrays = [draw(label_arrays(grid.shape, (0, 1))).astype(bool) for _ in range(2)]
    if ignore:
        arrays.append(draw(label_arrays(grid.shape, (0, 0, 0, 1))).astype(bool))
    else:
        assume(all(array.any() for array in arrays))
    return (*arrays, grid)


@given(mask_pairs(), st.sampled_from([0.5, 1.0, 2.0, 5.0]))
def test_every_figure_is_that_of_brute_force_on_any_grid(pair, tolerance_mm):
    reference, predicted, grid = pair
    wanted = brute.distances(reference, predicted, grid.affine, tolerance_mm)
    found = measure(reference, predicted, grid)
    assert found.hd_mm == pytest.approx(wanted["hd"], abs=1e-9)
    assert found.hd95_mm() == pytest.approx(wanted["hd95"], abs=1e-9)
    assert found.hd95_mm(pooled=True) == pytest.approx(wanted["pooled"], abs=1e-9)
    assert found.assd_mm == pytest.approx(wanted["assd"], abs=1e-9)
    assert found.masd_mm == pytest.approx(wanted["masd"], abs=1e-9)
    assert found.nsd(tolerance_mm) == pytest.approx(wanted["nsd"], abs=1e-9)


@given(mask_pairs(ignore=True))
def test_elements_that_touch_a_voxel_to_ignore_are_dropped_and_counted(pair):
    reference, _, ignored, grid = pair
    points, weights = brute.boundary(reference, grid.affine, ignored)
    found = boundary_of(reference, grid, ignored=ignored)
    assert sorted(map(tuple, found.points_mm.round(6))) == sorted(map(tuple, points.round(6)))
    assert found.weights.sum() == pytest.approx(weights.sum())
    assert found.n_dropped + len(found) == len(boundary_of(reference & ~ignored, grid))


@given(mask_pairs(ignore=True), st.sampled_from("CF"))
def test_slabs_and_order_in_memory_change_nothing(pair, order):
    reference, _, ignored, grid = pair
    whole = boundary_of(reference, grid, ignored=ignored)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(boundary, "_SLAB_VOXELS", 1)
        slabs = boundary_of(np.asarray(reference, order=order), grid, ignored=np.asarray(ignored, order=order))
    assert sorted(slabs.keys) == sorted(whole.keys)
    assert len(set(whole.keys)) == len(whole)
    assert slabs.n_dropped == whole.n_dropped


@given(mask_pairs(ignore=True))
def test_the_box_of_a_mask_has_the_elements_of_the_whole_mask(pair):
    mask, _, ignored, grid = pair
    assume(mask.any())
    box = boxes_of(np.asfortranarray(mask.astype(np.uint8)))[1]
    whole = boundary_of(mask, grid, ignored=ignored)
    boxed = boundary_of(mask[box], grid, start=tuple(side.start for side in box), ignored=ignored)
    assert sorted(boxed.keys) == sorted(whole.keys)
    assert sorted(map(tuple, boxed.points_mm.round(6))) == sorted(map(tuple, whole.points_mm.round(6)))


# --- what must hold


@given(mask_pairs())
def test_a_mask_is_no_distance_from_itself(pair):
    mask, _, grid = pair
    assert figures(measure(mask, mask, grid), 0.0) == (0, 0, 0, 0, 1)


@given(mask_pairs())
def test_swapping_reference_and_prediction_changes_nothing(pair):
    reference, predicted, grid = pair
    there, back = measure(reference, predicted, grid), measure(predicted, reference, grid)
    assert figures(there) == pytest.approx(figures(back))


@given(mask_pairs(), st.tuples(*[st.tuples(st.integers(0, 3), st.integers(0, 3))] * 3))
def test_background_around_the_masks_changes_nothing(pair, margins):
    reference, predicted, grid = pair
    # More slices would make a volume of a picture.
    margins = margins if grid.shape[2] > 1 else (*margins[:2], (0, 0))
    start = [-low for low, _ in margins]
    stop = [n + high for n, (_, high) in zip(grid.shape, margins, strict=True)]
    larger = measure(np.pad(reference, margins), np.pad(predicted, margins), grid.crop(start, stop))
    assert figures(larger) == pytest.approx(figures(measure(reference, predicted, grid)), abs=1e-9)


@given(mask_pairs(), st.permutations(range(3)), st.tuples(st.booleans(), st.booleans(), st.booleans()))
def test_turning_and_flipping_the_arrays_with_their_grid_changes_nothing(pair, order, flips):
    reference, predicted, grid = pair
    assume(order[2] == 2 or min(grid.shape) > 1)
    turned = grid.permute(order)
    for axis, flip in enumerate(flips):
        turned = turned.flip(axis) if flip else turned
    ahead = tuple(slice(None, None, -1 if flip else 1) for flip in flips)
    moved = measure(reference.transpose(order)[ahead], predicted.transpose(order)[ahead], turned)
    assert figures(moved) == pytest.approx(figures(measure(reference, predicted, grid)), abs=1e-9)


@given(mask_pairs(), affines(oblique=True))
def test_moving_both_through_space_without_bending_it_changes_nothing(pair, other):
    reference, predicted, grid = pair
    rigid = np.eye(4)
    rigid[:3, :3] = other[:3, :3] / np.linalg.norm(other[:3, :3], axis=0)
    rigid[:3, 3] = other[:3, 3]
    moved = measure(reference, predicted, Geometry(grid.shape, rigid @ grid.affine))
    # Rounding may put equal distances apart, so a percentile may fall on the twin of its element: compare the means.
    before = measure(reference, predicted, grid)
    assert moved.hd_mm == pytest.approx(before.hd_mm, abs=1e-6)
    assert moved.assd_mm == pytest.approx(before.assd_mm, abs=1e-6)


@given(mask_pairs(), st.sampled_from([0.1, 0.5, 3.0]))
def test_distances_grow_with_the_scale_of_the_grid(pair, scale):
    reference, predicted, grid = pair
    larger = measure(reference, predicted, Geometry(grid.shape, np.diag([scale] * 3 + [1]) @ grid.affine))
    before = measure(reference, predicted, grid)
    assert (larger.hd_mm, larger.hd95_mm(), larger.assd_mm) == pytest.approx(
        (scale * before.hd_mm, scale * before.hd95_mm(), scale * before.assd_mm), abs=1e-9
    )


@given(mask_pairs())
def test_the_figures_are_ordered_as_their_definitions_say(pair):
    reference, predicted, grid = pair
    found = measure(reference, predicted, grid)
    assert 0 <= found.assd_mm <= found.hd_mm + 1e-12
    assert found.hd95_mm() <= found.hd_mm
    assert found.percentile(50) <= found.percentile(95)
    assert found.hd_mm <= grid.diagonal_mm
    assert found.nsd(0.5) <= found.nsd(2.0) <= found.nsd(grid.diagonal_mm) == pytest.approx(1)


@given(shapes(2, 4), spacings_mm(0.3, 5), st.integers(0, 2), st.integers(1, 3))
def test_a_body_moved_along_an_axis_is_as_far_away_as_it_was_moved(shape, spacing, axis, steps):
    """Closed form for boxes: the face ahead and the face behind are the shift away, so HD is the shift exactly."""
    grid = Geometry.from_spacing([n + 6 for n in shape], spacing)
    reference, predicted = np.zeros((2, *grid.shape), bool)
    box = tuple(slice(1, 1 + n) for n in shape)
    reference[box] = True
    predicted[tuple(slice(s.start + steps, s.stop + steps) if a == axis else s for a, s in enumerate(box))] = True
    found = measure(reference, predicted, grid)
    shift = steps * spacing[axis]
    assert found.hd_mm <= shift + 1e-9
    assert found.nsd(shift) == 1.0
    if steps <= shape[axis]:
        # The leading face's centre is nearest to the other's leading face, or to a side's nearest face centre.
        sideways = min(sqrt((spacing[axis] / 2) ** 2 + (spacing[b] / 2) ** 2) for b in range(3) if b != axis)
        assert found.hd_mm >= min(shift, sideways) - 1e-9


def test_boxes_of_different_length_have_their_closed_form():
    """10×10×10 mm against 10×10×14 mm from the same corner, 1 mm voxels, worked out by the faces."""
    grid = Geometry.from_spacing((20, 20, 20))
    short, long = np.zeros((2, 20, 20, 20), bool)
    short[5:15, 5:15, 2:12] = True
    long[5:15, 5:15, 2:16] = True
    found = measure(short, long, grid)
    # The far end of the long box: 100 faces, each 4 mm or (near the rim) no farther from the short box's end.
    assert found.hd_mm == 4.0
    # All of the short box's sides are shared; its far end lies inside the long box, up to 5 mm from a side.
    assert found.from_reference.weights.sum() == 600
    assert np.count_nonzero(found.from_reference.distances_mm) == 100
    # Of the long one: 4 sides × 10 × 4 faces and the end are not shared.
    assert np.count_nonzero(found.from_predicted.distances_mm) == 160 + 100
    assert found.nsd(4.0) == 1.0


def ball(grid, centre_mm, radius_mm):
    at = grid.to_world(np.stack(np.meshgrid(*(np.arange(n) for n in grid.shape), indexing="ij"), axis=-1))
    return ((at - centre_mm) ** 2).sum(axis=-1) <= radius_mm**2


@pytest.mark.parametrize("shift", [(3.0, 0.0, 2.0), (2.0, 3.0, 1.0)])
def test_a_sphere_that_was_moved_is_within_5_percent_of_the_truth(shift):
    """By quadrature over the polar angle, whose cosine is uniform on a sphere."""
    radius, apart = 20.0, float(np.linalg.norm(shift))
    cosine = (np.arange(100_000) + 0.5) / 50_000 - 1
    true = np.sort(np.abs(np.sqrt(radius**2 + apart**2 - 2 * radius * apart * cosine) - radius))
    grid = Geometry.from_spacing((52, 52, 52))
    found = measure(ball(grid, (25, 25, 25), radius), ball(grid, np.add(25, shift), radius), grid)
    assert found.hd_mm == pytest.approx(apart, rel=0.05)
    assert found.hd95_mm() == pytest.approx(true[95_000], rel=0.05)
    assert found.assd_mm == pytest.approx(true.mean(), rel=0.05)
    assert found.nsd(1.0) == pytest.approx((true <= 1).mean(), abs=0.08)


@pytest.mark.parametrize("spacing", [(1.0, 1.0, 1.0), (0.7, 0.9, 1.5)])
def test_concentric_spheres_are_as_far_apart_as_their_radii(spacing):
    """A rough surface lies a fifth of a voxel nearer than the sphere it stands for, whatever the distance."""
    grid = Geometry.from_spacing([int(46 / s) + 1 for s in spacing], spacing)
    found = measure(ball(grid, 22.8, 20.0), ball(grid, 22.8, 14.0), grid)
    assert found.assd_mm == pytest.approx(6.0, rel=0.05)
    assert found.masd_mm == pytest.approx(6.0, rel=0.05)
    assert found.hd95_mm() == pytest.approx(6.0, rel=0.1)


# --- answers worked out by hand


def test_two_voxels_two_millimetres_apart():
    """Along i at 1 mm: the outer end faces are 2 mm from the nearest, the inner ones 1 mm, the four side faces 2 mm."""
    reference, predicted = np.zeros((2, 3, 1, 3), bool)
    reference[0, 0, 1] = predicted[2, 0, 1] = True
    found = measure(reference, predicted, Geometry.from_spacing((3, 1, 3)))
    side = sqrt(1.5**2 + 0.5**2)  # a side face's nearest is the other's inner end face
    expected = sorted([1.0, 2.0, side, side, side, side])
    assert found.from_reference.distances_mm == pytest.approx(expected)
    assert found.hd_mm == 2.0
    assert found.hd95_mm() == 2.0
    assert found.assd_mm == pytest.approx((3 + 4 * side) / 6)
    assert found.nsd(1.0) == pytest.approx(1 / 6)


def test_a_face_weighs_its_area():
    """One voxel of 1×1×3 mm: two faces of 1 mm², four of 3 mm²; a picture's pixel of 1×2 mm: edges of 2, 2, 1, 1 mm."""
    solid = boundary_of(np.ones((1, 1, 1), bool), Geometry.from_spacing((1, 1, 2), (1, 1, 3)))
    assert sorted(solid.weights) == [1, 1, 3, 3, 3, 3]
    flat = boundary_of(np.ones((1, 1, 1), bool), Geometry.from_spacing((1, 1, 1), (1, 2, 30)))
    assert sorted(flat.weights) == [1, 1, 2, 2]
    assert flat.points_mm[:, 2] == pytest.approx(0)


def test_a_sheared_voxels_faces_are_parallelograms():
    affine = np.eye(4)
    affine[1, 2] = 1.0  # the slice axis leans by 45 degrees
    sheared = boundary_of(np.ones((1, 1, 1), bool), Geometry((1, 1, 2), affine))
    assert sorted(sheared.weights) == pytest.approx([1, 1, 1, 1, sqrt(2), sqrt(2)])


def test_a_mask_at_the_border_has_a_closed_boundary():
    grid = Geometry.from_spacing((2, 3, 4))
    assert len(boundary_of(np.ones(grid.shape, bool), grid)) == 2 * (2 * 3 + 2 * 4 + 3 * 4)


def test_a_percentile_is_a_distance_that_occurs_and_weighs_by_area():
    equal = DirectedDistances(np.array([10.0] + [0.0] * 19), np.ones(20))
    assert (equal.percentile(95), equal.percentile(95.1), equal.percentile(100)) == (0, 10, 10)
    # The same with weights that do not add up exactly in binary.
    assert DirectedDistances(np.array([10.0] + [0.0] * 19), np.full(20, 0.63)).percentile(95) == 0
    heavy = DirectedDistances(np.array([1.0, 2.0, 3.0]), np.array([1.0, 8.0, 1.0]))
    assert [heavy.percentile(q) for q in (10, 10.1, 90, 91)] == [1, 2, 2, 3]


def test_pooled_and_max_differ_where_a_small_prediction_is_partly_far_off():
    near, far = (
        DirectedDistances(np.zeros(1000), np.ones(1000)),
        DirectedDistances(np.array([0.0] * 40 + [30.0] * 10), np.ones(50)),
    )
    found = boundary.SurfaceDistances(near, far)
    assert (found.hd95_mm(), found.hd95_mm(pooled=True)) == (30, 0)


def test_a_tolerance_holds_for_steps_that_are_not_exact_in_binary():
    spacing = (0.1, 1.0, 1.0)
    grid = Geometry.from_spacing((30, 3, 3), spacing)
    reference, predicted = np.zeros((2, 30, 3, 3), bool)
    reference[2:20], predicted[5:23] = True, True
    assert measure(reference, predicted, grid).nsd(0.3) == 1.0


def test_with_one_boundary_empty_distances_are_undefined_and_nothing_is_within_a_tolerance():
    grid = Geometry.from_spacing((3, 3, 3))
    full, empty = np.ones(grid.shape, bool), np.zeros(grid.shape, bool)
    for pair in ((full, empty), (empty, full)):
        found = measure(*pair, grid)
        assert all(isnan(value) for value in (found.hd_mm, found.hd95_mm(), found.assd_mm, found.masd_mm))
        assert found.nsd(5) == 0.0
    assert all(isnan(value) for value in figures(measure(empty, empty, grid)))


def test_a_mask_that_does_not_lie_in_its_grid_is_refused():
    with pytest.raises(InputError, match=r"\(2, 2, 2\) at \(1, 0, 0\)"):
        boundary_of(np.ones((2, 2, 2), bool), Geometry.from_spacing((2, 2, 2)), start=(1, 0, 0))


# --- against continuous truth and published figures


FACE_ERRORS = [
    ((1.0, 1.0, 1.0), {"ASSD": 2.6, "HD95": 4.4, "NSD1": 0.055}),
    ((0.7, 0.9, 1.5), {"ASSD": 3.6, "HD95": 3.8, "NSD1": 0.020}),
    ((0.8, 0.8, 5.0), {"ASSD": 6.4, "HD95": 23.0, "NSD1": 0.045}),
]
"""Row *face* of the research note's table 1b: mean absolute errors over 24 pairs, in % of truth; NSD in points."""


def inside_ellipsoid(solid, grid):
    at = grid.to_world(np.stack(np.meshgrid(*(np.arange(n) for n in grid.shape), indexing="ij"), axis=-1))
    turn = np.array(solid["turn"]).reshape(3, 3)
    return ((((at - solid["centre_mm"]) @ turn) / solid["semi_axes_mm"]) ** 2).sum(axis=-1) <= 1


@pytest.mark.parametrize(("spacing", "published"), FACE_ERRORS)
def test_the_error_against_continuous_ellipsoids_is_that_of_the_research_note(spacing, published):
    pairs = json.loads((Path(__file__).parents[1] / "golden" / "ellipsoids.json").read_text())["pairs"]
    grid = Geometry.from_spacing(np.ceil(52 / np.array(spacing)).astype(int), spacing, np.array(spacing) / 2)
    errors = {metric: [] for metric in published}
    for pair in pairs:
        truth = pair["truth"]
        found = measure(*(inside_ellipsoid(pair[side], grid) for side in ("reference", "prediction")), grid)
        errors["ASSD"].append(abs(found.assd_mm / truth["ASSD"] - 1) * 100)
        errors["HD95"].append(abs(found.hd95_mm() / truth["HD95"] - 1) * 100)
        errors["NSD1"].append(abs(found.nsd(1.0) - truth["NSD1"]))
    for metric, error in published.items():
        assert np.mean(errors[metric]) == pytest.approx(error, rel=0.15), metric


@given(mask_pairs())
def test_where_they_are_farthest_apart_the_distance_is_the_hausdorff_distance(masks):
    reference, predicted, grid = masks
    sides = [boundary_of(mask, grid) for mask in (reference, predicted)]
    found = farthest(*sides)
    assert found.distance_mm == pytest.approx(surface_distances(*sides).hd_mm, abs=1e-9)
    assert np.linalg.norm(np.subtract(found.point_mm, found.nearest_mm)) == pytest.approx(found.distance_mm)
    own, other = sides if found.of_reference else sides[::-1]
    assert np.linalg.norm(own.points_mm - found.point_mm, axis=1).min() == 0
    assert np.linalg.norm(other.points_mm - found.point_mm, axis=1).min() == pytest.approx(found.distance_mm)


def test_nothing_is_far_from_nothing():
    grid = Geometry.from_spacing((3, 3, 3))
    mask = np.ones(grid.shape, bool)
    assert farthest(boundary_of(mask, grid), boundary_of(~mask, grid)) is None
