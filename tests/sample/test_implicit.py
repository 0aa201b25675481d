"""Implicit shapes: distances that can be worked out by hand, and volumes that partial volume must give back."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from medseg.core.geometry import Geometry
from medseg.sample.implicit import (
    REACH_MM,
    Warp,
    coverage,
    difference,
    ellipsoid,
    intersection,
    superellipse,
    tube,
    union,
)
from tests.strategies import rotations, spacings_mm

seeds = st.integers(0, 2**32 - 1)
lengths_mm = st.floats(1, 40)


def grid_points(spacing_mm, extent_mm, turn=None):
    shape = [int(np.ceil(extent_mm / s)) + 1 for s in spacing_mm]
    affine = np.eye(4)
    affine[:3, :3] = (np.eye(3) if turn is None else turn) * np.array(spacing_mm)
    affine[:3, 3] = -affine[:3, :3] @ (np.array(shape) - 1) / 2
    geometry = Geometry(tuple(shape), affine)
    points = geometry.to_world(np.stack(np.indices(geometry.shape), axis=-1)).transpose(3, 0, 1, 2)
    return points, geometry.voxel_volume_ml * 1000


@given(seeds, lengths_mm)
def test_a_sphere_measures_the_distance_to_its_surface(seed, radius):
    points = np.random.default_rng(seed).normal(scale=30, size=(3, 50))
    centre = (3, -2, 5)
    exact = np.linalg.norm(points - np.array(centre)[:, None], axis=0) - radius
    np.testing.assert_allclose(ellipsoid(points, centre, (radius,) * 3), exact, atol=1e-9)


@given(seeds, st.tuples(lengths_mm, lengths_mm, lengths_mm))
def test_an_ellipsoid_vanishes_on_its_surface_and_parts_inside_from_outside(seed, radii):
    directions = np.random.default_rng(seed).normal(size=(3, 50))
    surface = directions / np.linalg.norm(directions, axis=0) * np.array(radii)[:, None]
    np.testing.assert_allclose(ellipsoid(surface, (0, 0, 0), radii), 0, atol=1e-9)
    assert (ellipsoid(0.9 * surface, (0, 0, 0), radii) < 0).all()
    assert (ellipsoid(1.1 * surface, (0, 0, 0), radii) > 0).all()


def test_a_superellipse_passes_through_the_ends_of_its_axes_and_bulges_between_them():
    axes = np.array([[30.0, 0, -30, 0], [0, 20, 0, -20], [7, 7, 7, 7]])
    np.testing.assert_allclose(superellipse(axes, (30, 20), 2.4), 0, atol=1e-9)
    on_the_ellipse = np.array([[30 * np.sqrt(0.5)], [20 * np.sqrt(0.5)], [0]])
    assert superellipse(on_the_ellipse, (30, 20), 2.4)[0] < 0


@given(seeds)
def test_a_tube_is_the_nearest_of_many_spheres_along_its_path(seed):
    rng = np.random.default_rng(seed)
    path, radii = rng.uniform(-30, 30, (4, 3)), rng.uniform(1, 6, 4)
    points = rng.uniform(-45, 45, (3, 300))
    share = np.linspace(0, 3, 3001)
    centres = np.stack([np.interp(share, range(4), path[:, axis]) for axis in range(3)])
    distances = np.linalg.norm(points[:, :, None] - centres[:, None], axis=0) - np.interp(share, range(4), radii)
    # Seen from its nearest axis point, a cone's surface is a little farther than the nearest sphere's.
    expected = np.minimum(distances.min(axis=1), REACH_MM)
    found = tube(points, path, radii)
    slope = max(abs(np.diff(radii)) / np.linalg.norm(np.diff(path, axis=0), axis=1))
    assert (found >= expected - 0.05).all()
    if slope < 0.2:
        np.testing.assert_allclose(found, expected, atol=0.9)
    np.testing.assert_array_equal(found[expected >= REACH_MM], REACH_MM)


@given(seeds, st.floats(0, 12))
def test_a_blend_adds_to_a_union_at_most_a_quarter_of_its_width(seed, blend):
    a, b = np.random.default_rng(seed).normal(scale=8, size=(2, 100))
    sharp, smooth = union(a, b), union(a, b, blend_mm=blend)
    np.testing.assert_array_equal(sharp, np.minimum(a, b))
    assert (smooth <= sharp).all()
    assert (smooth >= sharp - blend / 4 - 1e-12).all()


@given(seeds)
def test_difference_and_intersection_follow_set_logic(seed):
    a, b = np.random.default_rng(seed).normal(scale=8, size=(2, 100))
    np.testing.assert_array_equal(intersection(a, b) < 0, (a < 0) & (b < 0))
    np.testing.assert_array_equal(difference(a, b) < 0, (a < 0) & ~(b <= 0))


@given(spacings_mm(0.8, 3.0), rotations())
def test_coverage_gives_the_volume_of_a_ball_on_any_grid(spacing, turn):
    points, voxel_mm3 = grid_points(spacing, 26, turn)
    share = coverage(ellipsoid(points, (0.3, -0.4, 0.2), (10, 10, 10)))
    assert share.min() == 0
    assert share.max() == 1
    # Voxels of 3 mm are coarse for a ball of 10 mm: 2.01 % was seen where the grid lies worst.
    assert share.sum() * voxel_mm3 == pytest.approx(4 / 3 * np.pi * 10**3, rel=0.03)


def test_coverage_is_half_where_the_surface_passes_through_the_voxel_centre():
    points, _ = grid_points((1, 1, 2), 8)
    np.testing.assert_allclose(coverage(points[2] - 0.5)[4, 4], [1, 1, 0.75, 0, 0])


@given(seeds, st.floats(0.5, 8))
def test_a_warp_moves_points_by_its_amplitude_on_average_and_smoothly(seed, amplitude):
    rng = np.random.default_rng(seed)
    warp = Warp.draw(rng, amplitude, (80, 170))
    points = rng.uniform(-2000, 2000, (3, 4000))
    moved = np.linalg.norm(warp(points) - points, axis=0)
    assert np.sqrt((moved**2).mean()) == pytest.approx(amplitude, rel=0.15)
    nearby = warp(points + np.array([[0.01], [0], [0]])) - warp(points)
    assert np.linalg.norm(nearby - np.array([[0.01], [0], [0]]), axis=0).max() < 0.01 * amplitude * 2 * np.pi / 80 * 3.5
