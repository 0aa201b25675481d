"""Distances between the boundaries of two masks, in mm on the true grid: HD, HD95, ASSD, MASD, NSD.

A boundary is a set of *elements*: points in mm, each with a weight: the centre of a voxel face between
the mask and what is not the mask, weighed by the face's area. On a grid of one slice (k = 1) it is the centre
of a voxel *edge*, weighed by its length: a picture has no faces towards its front and back. Outside of the array is
background, so a mask at the border has a closed boundary. Everything goes through the affine: an oblique or sheared
grid is right. Face centres were chosen by measurement: over turned ellipsoids they come closest to the continuous
surface; voxel centres weigh a thick slice's face like a thin one's, and exact nearest points on rough voxel surfaces
are too near. Other kinds of element, for comparison with published tables, are other functions that make a `Boundary`
(`conventions`).

Both directed sets of distances are computed once (`surface_distances`); every figure is then read from them. What a
definition leaves undefined is NaN: that one boundary is empty is a fact, what it costs is decided elsewhere. The module
must never know of files or names of labels.

Sources: Huttenlocher 1993 (HD); Heimann 2009 (ASSD); Nikolov 2018/2021 (surface Dice, here NSD); Maier-Hein & Reinke
2024, "Metrics Reloaded" (MASD).
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from math import inf, nan

import numpy as np
from numpy.typing import NDArray
from scipy.spatial import cKDTree

from medseg.core.errors import InputError
from medseg.core.geometry import Geometry, Voxels
from medseg.metrics.boxes import moved, seen, start_of

__all__ = [
    "Boundary",
    "DirectedDistances",
    "Farthest",
    "SurfaceDistances",
    "boundary_of",
    "farthest",
    "joined",
    "keys_of",
    "slabs_of",
    "surface_distances",
]

_SLAB_VOXELS = 2**22
"""Voxels whose faces are looked for at once."""

_GUARD_MM = 1e-6
"""A distance counts as within a tolerance τ up to τ + 1e-6·max(1, τ): 2 mm steps of 0.7 mm voxels are not exactly 2."""

_GUARD_SHARE = 1e-9
"""Share of the whole weight that rounding may eat when weights are summed up to a percentile."""


@dataclass(frozen=True, eq=False)
class Boundary:
    """The boundary elements of one mask.

    Attributes:
        keys: A number for each element, the same wherever the same place of the same grid is meant, int64 (n,).
        points_mm: Places in mm, world axes, float64 (n, 3).
        weights: Area in mm² (in a picture: length in mm) of each element, float64 (n,).
        n_dropped: Elements left out because they touch a voxel to ignore.
        interpolates: Whether percentiles of its distances are interpolated, as libraries that count elements do.
    """

    keys: NDArray[np.int64]
    points_mm: NDArray[np.float64]
    weights: NDArray[np.float64]
    n_dropped: int = 0
    interpolates: bool = False

    def __len__(self) -> int:
        return int(self.keys.size)


@dataclass(frozen=True, eq=False)
class DirectedDistances:
    """The distance from each element of one boundary to the nearest of another, ascending, with the elements' weights.

    Where the other boundary is empty all distances are infinite. With `interpolates` percentiles are those of numpy,
    elements counting alike; else those of the weights, without interpolation.
    """

    distances_mm: NDArray[np.float64]
    weights: NDArray[np.float64]
    interpolates: bool = False
    _cumulated: NDArray[np.float64] = field(init=False, repr=False)

    def __post_init__(self) -> None:
        order = np.argsort(self.distances_mm, kind="stable")
        object.__setattr__(self, "distances_mm", self.distances_mm[order])
        object.__setattr__(self, "weights", self.weights[order])
        object.__setattr__(self, "_cumulated", np.cumsum(self.weights))

    def __len__(self) -> int:
        return int(self.distances_mm.size)

    @property
    def total_weight(self) -> float:
        return float(self._cumulated[-1]) if len(self) else 0.0

    @property
    def weighted_sum(self) -> float:
        """Σ w·d; 0 for no elements."""
        return float(self.weights @ self.distances_mm) if len(self) else 0.0

    def percentile(self, q: float) -> float:
        """The first distance at which the weights cumulate to q % of all; NaN if empty.

        The inverted CDF, without interpolation: of 19 zeros and one 10 mm the 95th percentile is 0.
        """
        if not len(self):
            return nan
        if q >= 100:
            return float(self.distances_mm[-1])
        if self.interpolates and np.isfinite(self.distances_mm[-1]):
            return float(np.percentile(self.distances_mm, q))
        wanted = (q / 100 - _GUARD_SHARE) * self.total_weight
        return float(self.distances_mm[np.searchsorted(self._cumulated, wanted)])

    def weight_within(self, tolerance_mm: float) -> float:
        """The weight of the elements no farther than the tolerance."""
        within = np.searchsorted(self.distances_mm, tolerance_mm + _GUARD_MM * max(1.0, tolerance_mm), side="right")
        return float(self._cumulated[within - 1]) if within else 0.0


@dataclass(frozen=True, eq=False)
class SurfaceDistances:
    """Both directed sets of distances of a pair of masks. All figures are NaN if a boundary is empty, but see `nsd`.

    Attributes:
        from_reference: From each element of the reference to the nearest of the prediction.
        from_predicted: From each element of the prediction to the nearest of the reference.
        n_dropped: Elements of either that were left out because they touch a voxel to ignore.
    """

    from_reference: DirectedDistances
    from_predicted: DirectedDistances
    n_dropped: int = 0

    @property
    def defined(self) -> bool:
        """Whether both masks have a boundary."""
        return bool(len(self.from_reference) and len(self.from_predicted))

    def percentile(self, q: float, *, pooled: bool = False) -> float:
        """The larger of the two directed percentiles, or (`pooled`) the percentile of both sets taken as one; in mm."""
        if not self.defined:
            return nan
        if not pooled:
            return max(self.from_reference.percentile(q), self.from_predicted.percentile(q))
        both = (self.from_reference, self.from_predicted)
        return DirectedDistances(
            np.concatenate([side.distances_mm for side in both]),
            np.concatenate([side.weights for side in both]),
            self.from_reference.interpolates,
        ).percentile(q)

    @property
    def hd_mm(self) -> float:
        """Hausdorff distance: the largest of all distances, in mm."""
        return self.percentile(100)

    def hd95_mm(self, *, pooled: bool = False) -> float:
        """The 95th percentile in mm: the larger of the two directed ones, or (`pooled`, as MedPy) that of both sets."""
        return self.percentile(95, pooled=pooled)

    @property
    def assd_mm(self) -> float:
        """Average symmetric surface distance: the weighted mean over the elements of both boundaries, in mm."""
        if not self.defined:
            return nan
        return (self.from_reference.weighted_sum + self.from_predicted.weighted_sum) / self._total_weight

    @property
    def masd_mm(self) -> float:
        """Mean average surface distance: the mean of the two directed weighted means, in mm."""
        if not self.defined:
            return nan
        return sum(side.weighted_sum / side.total_weight for side in (self.from_reference, self.from_predicted)) / 2

    def nsd(self, tolerance_mm: float) -> float:
        """The share of both boundaries within the tolerance of the other; 0 if one is empty, NaN if both are."""
        if not self._total_weight:
            return nan
        within = self.from_reference.weight_within(tolerance_mm) + self.from_predicted.weight_within(tolerance_mm)
        return within / self._total_weight

    @property
    def _total_weight(self) -> float:
        return self.from_reference.total_weight + self.from_predicted.total_weight


def boundary_of(
    mask: NDArray[np.bool_],
    grid: Geometry,
    *,
    start: Voxels = (0, 0, 0),
    ignored: NDArray[np.bool_] | None = None,
) -> Boundary:
    """The boundary elements of a mask (i, j, k) that lies in a grid with its first voxel at `start`.

    The mask may be as large as its box, or larger. `ignored` (bool, of the whole grid) removes voxels from the mask
    and drops every element that touches one of them: a face between a label and what nobody judged is no boundary.
    """
    axes = (0, 1) if grid.shape[2] == 1 else (0, 1, 2)
    return joined(
        [
            _faces(inside, beside, axis, grid, origin)
            for inside, beside, origin in slabs_of(mask, grid, start, ignored)
            for axis in axes
        ]
    )


def joined(parts: Sequence[Boundary], *, interpolates: bool = False) -> Boundary:
    """Parts of one boundary as one; at least one part."""
    return Boundary(
        keys=np.concatenate([part.keys for part in parts]),
        points_mm=np.concatenate([part.points_mm for part in parts]),
        weights=np.concatenate([part.weights for part in parts]),
        n_dropped=sum(part.n_dropped for part in parts),
        interpolates=interpolates,
    )


def slabs_of(
    mask: NDArray[np.bool_], grid: Geometry, start: Voxels, ignored: NDArray[np.bool_] | None, *, before: int = 0
) -> Iterator[tuple[NDArray[np.bool_], NDArray[np.bool_] | None, Voxels]]:
    """A mask by slabs with one voxel of what surrounds it, so that one with far-off specks needs no second large array.

    Yields the mask without what is ignored, what is ignored, and the voxel that the slab starts at. Each pair of
    neighbouring layers, the ones outside included, is in exactly one slab; with `before` = 1 a slab has one layer more
    at its start, so that each layer of the mask is in one slab between both of its neighbours.

    Raises:
        InputError: The mask does not lie in the grid.
    """
    if mask.ndim != 3 or any(
        not 0 <= a <= whole - n for a, n, whole in zip(start, mask.shape, grid.shape, strict=True)
    ):
        raise InputError(f"A mask of shape {mask.shape} at {start} does not lie in a grid of {grid.shape} voxels.")
    thickness = max(1, _SLAB_VOXELS // max(1, mask[0].size))
    for first in range(before - 1, mask.shape[0], thickness):
        last = min(first + thickness, mask.shape[0]) + 1
        slab = moved((slice(first - before, last), slice(-1, mask.shape[1] + 1), slice(-1, mask.shape[2] + 1)), start)
        inside = seen(mask, start, slab)
        beside = None
        if ignored is not None:
            beside = seen(ignored, (0, 0, 0), slab)
            inside &= ~beside
        yield inside, beside, start_of(slab)


def surface_distances(reference: Boundary, predicted: Boundary) -> SurfaceDistances:
    """Both directed sets of distances between the elements of two boundaries of one grid.

    Always by a KD-tree: below about 0.5 elements a voxel of the box it is faster than a distance transform, which faces
    would need on a grid of half voxels. Elements that both have are 0 apart and are not asked for.
    """
    # Each boundary holds a key once, so two sorted runs merged show what both hold.
    shared_r = np.isin(reference.keys, predicted.keys, assume_unique=True)
    shared_p = np.isin(predicted.keys, reference.keys, assume_unique=True)
    return SurfaceDistances(
        DirectedDistances(_nearest_mm(reference, predicted, shared_r), reference.weights, reference.interpolates),
        DirectedDistances(_nearest_mm(predicted, reference, shared_p), predicted.weights, predicted.interpolates),
        reference.n_dropped + predicted.n_dropped,
    )


@dataclass(frozen=True, slots=True)
class Farthest:
    """Where two boundaries are farthest apart.

    Attributes:
        point_mm: The element that is farthest from the other boundary, world mm.
        nearest_mm: The element of the other boundary that is nearest to it.
        distance_mm: Between the two: the Hausdorff distance.
        of_reference: Whether `point_mm` is the reference's.
    """

    point_mm: tuple[float, float, float]
    nearest_mm: tuple[float, float, float]
    distance_mm: float
    of_reference: bool


def farthest(reference: Boundary, predicted: Boundary) -> Farthest | None:
    """Where the boundaries are farthest apart; None if one of them is empty."""
    if not len(reference) or not len(predicted):
        return None
    found = [_farthest(reference, predicted, True), _farthest(predicted, reference, False)]
    return max(found, key=lambda each: each.distance_mm)


def _farthest(of: Boundary, to: Boundary, of_reference: bool) -> Farthest:
    distances, places = cKDTree(to.points_mm).query(of.points_mm)
    place = int(np.argmax(distances))
    x, y, z = (float(mm) for mm in of.points_mm[place])
    u, v, w = (float(mm) for mm in to.points_mm[places[place]])
    return Farthest((x, y, z), (u, v, w), float(distances[place]), of_reference)


def _nearest_mm(of: Boundary, to: Boundary, shared: NDArray[np.bool_]) -> NDArray[np.float64]:
    if not len(to):
        return np.full(len(of), inf)
    distances = np.zeros(len(of))
    if not shared.all():
        distances[~shared] = cKDTree(to.points_mm).query(of.points_mm[~shared])[0]
    return distances


def _faces(
    inside: NDArray[np.bool_], beside: NDArray[np.bool_] | None, axis: int, grid: Geometry, origin: Voxels
) -> Boundary:
    """The faces across one axis in a slab that starts at voxel `origin` and has a border of one voxel on every side.

    The last layer of the slab is the first of the next: it is looked at only from below.
    """
    layers = slice(None) if axis == 0 else slice(-1)
    flat = inside[layers].reshape(-1)
    step = (inside.shape[1] * inside.shape[2], inside.shape[2], 1)[axis]
    # A step past the end of a row leads from padding to padding: the flat array needs no care at its borders.
    lower = np.flatnonzero(flat[step:] != flat[:-step])
    n_all = lower.size
    if beside is not None:
        touched = beside.reshape(-1)
        lower = lower[~(touched[lower] | touched[lower + step])]
    index = np.stack(np.unravel_index(lower, inside.shape), axis=1) + np.array(origin)
    keys = keys_of(index, grid, np.full(lower.size, axis, np.int64))
    centres = index.astype(np.float64)
    centres[:, axis] += 0.5
    return Boundary(keys, grid.to_world(centres), np.full(lower.size, _face_size(grid, axis)), n_all - lower.size)


def keys_of(index: NDArray[np.int64], grid: Geometry, kind: NDArray[np.int64] | int = 0) -> NDArray[np.int64]:
    """One number for each place (i, j, k) of a grid and each kind of place; the index before the first voxel is −1."""
    keys = np.zeros(len(index), np.int64) + kind
    for a in range(3):
        # One place more than voxels along each axis.
        keys = keys * (grid.shape[a] + 1) + (index[:, a] + 1)
    return keys


def _face_size(grid: Geometry, axis: int) -> float:
    """The area in mm² of a voxel's face across an axis, a parallelogram; in a picture the length in mm of its edge."""
    first, second = (grid.affine[:3, a] for a in range(3) if a != axis)
    if grid.shape[2] == 1:
        return float(np.linalg.norm(first))
    return float(np.linalg.norm(np.cross(first, second)))
