"""Solid shapes as implicit functions: negative inside, positive outside, close to the distance in mm near the surface.

Points are arrays (3, …) in mm; a shape's value is an array (…). Shapes are combined by smooth unions, intersections and
differences, bent by warping the points before they are measured, and turned into partial volume by `coverage`. The
module is pure mathematics: it knows no anatomy, no intensity and no file.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

__all__ = [
    "REACH_MM",
    "Field",
    "Warp",
    "coverage",
    "difference",
    "ellipsoid",
    "intersection",
    "superellipse",
    "tube",
    "union",
]

Field = NDArray[np.float64]
"""Values of an implicit function, or coordinates, at points of space."""

REACH_MM = 12.0
"""How far from its surface a tube's value is still a distance: more than any blend."""

_TINY = 1e-9
"""Keeps a division by the length of a vanishing gradient finite."""


def ellipsoid(points: Field, centre_mm: ArrayLike, radii_mm: ArrayLike) -> Field:
    """An ellipsoid along the axes; its value is a first-order distance, exact for a sphere.

    >>> float(ellipsoid(np.array([[3.0], [0.0], [0.0]]), (0, 0, 0), (2, 2, 2))[0])
    1.0
    """
    radii = _column(radii_mm, points.ndim)
    scaled = (points - _column(centre_mm, points.ndim)) / radii
    inner = _length(scaled)
    scaled /= radii
    slope = _length(scaled)
    return inner * (inner - 1) / np.maximum(slope, _TINY)


def superellipse(points: Field, radii_mm: tuple[float | Field, float | Field], exponent: float) -> Field:
    """An endless column along the third axis; its section |x/a|ⁿ + |y/b|ⁿ = 1 is the squarer the larger the exponent.

    The value is in mm along the shorter radius: it may be up to a/b times too small along the longer one.
    """
    a, b = radii_mm
    norm = (np.abs(points[0] / a) ** exponent + np.abs(points[1] / b) ** exponent) ** (1 / exponent)
    return np.asarray((norm - 1) * np.minimum(a, b))


def tube(points: Field, path_mm: ArrayLike, radii_mm: ArrayLike) -> Field:
    """A round tube along a polyline (n, 3), with the radius (n,) changing linearly between its corners.

    Values are capped at `REACH_MM`, so that a thin tube costs nothing far away from it.
    """
    path, radii = np.asarray(path_mm, np.float64), np.asarray(radii_mm, np.float64)
    middle = (path.min(0) + path.max(0)) / 2
    half = (path.max(0) - path.min(0)) / 2 + radii.max() + REACH_MM
    near = np.all([np.abs(axis - m) < h for axis, m, h in zip(points, middle, half, strict=True)], axis=0)
    x, y, z = (axis[near] for axis in points)
    nearest = np.full(x.shape, REACH_MM)
    for start, stop, r_start, r_stop in zip(path, path[1:], radii, radii[1:], strict=False):
        a, b, c = along = stop - start
        u, v, w = x - start[0], y - start[1], z - start[2]
        share = np.clip((a * u + b * v + c * w) / max(along @ along, _TINY), 0, 1)
        across = np.sqrt((u - a * share) ** 2 + (v - b * share) ** 2 + (w - c * share) ** 2)
        np.minimum(nearest, across - (r_start + share * (r_stop - r_start)), out=nearest)
    shape = np.full(points.shape[1:], REACH_MM)
    shape[near] = nearest
    return shape


def union(*shapes: Field, blend_mm: float = 0.0) -> Field:
    """What lies in any of the shapes; edges where they meet are rounded over about `blend_mm`."""
    joined = shapes[0]
    for shape in shapes[1:]:
        joined = _smooth_minimum(joined, shape, blend_mm)
    return joined


def intersection(*shapes: Field, blend_mm: float = 0.0) -> Field:
    """What lies in all of the shapes; edges are rounded over about `blend_mm`."""
    return -union(*(-shape for shape in shapes), blend_mm=blend_mm)


def difference(shape: Field, *removed: Field, blend_mm: float = 0.0) -> Field:
    """What lies in the shape and in none of the removed ones."""
    return intersection(shape, *(-other for other in removed), blend_mm=blend_mm)


def coverage(shape: Field) -> Field:
    """The share of each voxel of a grid (i, j, k) that lies inside, in [0, 1]: the partial-volume effect.

    The surface is taken as a plane through the voxel at its distance in voxels along the normal, which the gradient
    over the grid gives; so the answer is right for any spacing, and needs no supersampling.
    """
    slope = _length(np.stack([np.gradient(shape, axis=axis) for axis in range(3)]))
    return np.clip(0.5 - shape / np.maximum(slope, _TINY), 0, 1)


@dataclass(frozen=True, eq=False)
class Warp:
    """A smooth deformation of space: a sum of `n` plane waves, each with its own displacement.

    Attributes:
        waves: Wave vectors in rad/mm, (n, 3).
        phases: In rad, (n,).
        shifts_mm: Displacement at a wave's crest, (n, 3).
    """

    waves: Field
    phases: Field
    shifts_mm: Field

    @classmethod
    def draw(
        cls, rng: np.random.Generator, amplitude_mm: float, wavelengths_mm: tuple[float, float], n: int = 6
    ) -> "Warp":
        """Waves of random direction whose displacements have together a root mean square of `amplitude_mm`."""
        directions = rng.normal(size=(n, 3))
        directions /= np.linalg.norm(directions, axis=1, keepdims=True)
        waves = directions * (2 * np.pi / rng.uniform(*wavelengths_mm, size=(n, 1)))
        shifts = rng.normal(size=(n, 3))
        shifts *= amplitude_mm * np.sqrt(2) / np.linalg.norm(shifts)
        return cls(waves, rng.uniform(0, 2 * np.pi, n), shifts)

    def __call__(self, points: Field) -> Field:
        """The displaced points, a new array."""
        flat = points.reshape(3, -1)
        swing = np.sin(self.waves @ flat + self.phases[:, None])
        return (flat + self.shifts_mm.T @ swing).reshape(points.shape)


def _smooth_minimum(a: Field, b: Field, width: float) -> Field:
    if width <= 0:
        return np.minimum(a, b)
    # Quilez' polynomial minimum: differs from the true one only where |a - b| < width. In place, as it is called often.
    overlap = np.abs(a - b)
    np.maximum(np.subtract(width, overlap, out=overlap), 0, out=overlap)
    overlap *= overlap
    overlap /= 4 * width
    return np.minimum(a, b) - overlap


def _length(vectors: Field) -> Field:
    return np.asarray(np.sqrt(np.einsum("c...,c...->...", vectors, vectors)))


def _column(values: ArrayLike, n_dimensions: int) -> Field:
    return np.asarray(values, np.float64).reshape(3, *(1,) * (n_dimensions - 1))
