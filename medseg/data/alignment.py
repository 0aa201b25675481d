"""Channels on different grids: how much of one lies within another, and one brought to the grid of another.

Places are compared in world mm alone, so grids may be turned, oblique or lean. A new voxel is a linear interpolation of
the old ones around its centre. Where a channel is finer than the new grid, it is smoothed first, so that detail which
the new grid cannot hold does not come back as noise. The field of view of a grid ends at the outer edges of its voxels:
up to there the outermost values hold, beyond it nothing is known, and the channel takes its smallest value.
Arrays and grids only; reading, training and prediction all come through here.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from medseg.core.geometry import Geometry

__all__ = ["Overlap", "brought_to", "overlap_of"]

SMOOTHED_FROM = 1.5
"""An axis that becomes coarser by more than this factor is smoothed first, as `transforms.grid` does for images."""

_SAMPLES_AN_AXIS = 40
"""Places along each axis at which an overlap is measured: it is told to a percent."""

_EDGE = 1e-3
"""Rounding at an edge, as a share of a voxel, puts nothing outside."""

_SLAB_VOXELS = 1 << 20
"""Voxels whose places are worked out at once."""


@dataclass(frozen=True)
class Overlap:
    """How two grids lie to each other: the share of the first within the other, and of the other within the first."""

    of_first: float
    of_other: float

    @property
    def of_smaller(self) -> float:
        """The share of whichever grid lies more within the other: 0 where they have nothing in common."""
        return max(self.of_first, self.of_other)


def overlap_of(first: Geometry, other: Geometry) -> Overlap:
    """How much of each grid's voxels lies within the field of view of the other, measured at some thousand places."""
    return Overlap(_share_within(first, other), _share_within(other, first))


def brought_to(grid: Geometry, array: NDArray[np.generic], own: Geometry) -> NDArray[np.float32]:
    """An image (channels, i, j, k) from its own grid on another: a new float32 array (channels, *grid.shape).

    Besides the result it takes the memory of one channel where that is smoothed, else next to none.
    """
    from scipy import ndimage  # `medseg --help` must not wait for scipy

    matrix, offset = _between(grid, own)
    out = np.empty((array.shape[0], *grid.shape), np.float32)
    for source, target in zip(array, out, strict=True):
        smallest = np.float32(source.min())
        smoothed = _smoothed(source, matrix)
        ndimage.affine_transform(smoothed, matrix, offset, output=target, order=1, mode="nearest")
        if not _within(grid.corners_mm, own).all():
            for rows, outside in _outside(grid, own):
                target[rows][outside] = smallest
    return out


def _between(grid: Geometry, own: Geometry) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Voxel indices of one grid to those of another: the matrix and the offset."""
    to_own = np.linalg.inv(own.affine) @ grid.affine
    return to_own[:3, :3], to_own[:3, 3]


def _smoothed(source: NDArray[np.generic], matrix: NDArray[np.float64]) -> NDArray[np.generic]:
    """A channel without what voxels that are so much larger cannot hold."""
    from scipy import ndimage

    if source.dtype.kind == "f" and source.dtype.itemsize not in (4, 8):
        source = source.astype(np.float32)  # scipy knows no half and no long double
    # How far a step to the next new voxel leads along each old axis, in old voxels.
    for axis, ratio in enumerate(np.linalg.norm(matrix, axis=1)):
        if ratio > SMOOTHED_FROM and source.shape[axis] > 1:
            source = ndimage.gaussian_filter1d(source, (ratio - 1) / 3, axis, output=np.float32, mode="nearest")
    return source


def _share_within(grid: Geometry, other: Geometry) -> float:
    """The share of a grid's field of view that lies within another's."""
    samples = [min(_SAMPLES_AN_AXIS, 4 * n) for n in grid.shape]
    # Centres of equal parts of the field of view, which reaches from edge to edge.
    axes = [(np.arange(m) + 0.5) * n / m - 0.5 for n, m in zip(grid.shape, samples, strict=True)]
    places = np.stack(np.meshgrid(*axes, indexing="ij"), axis=-1)
    return float(_within(grid.to_world(places), other).mean())


def _within(points_mm: NDArray[np.float64], grid: Geometry) -> NDArray[np.bool_]:
    """Which places (…, 3) lie within the field of view of a grid."""
    index = grid.to_voxel(points_mm)
    inside = (index >= -0.5 - _EDGE) & (index <= np.array(grid.shape) - 0.5 + _EDGE)
    return np.asarray(inside.all(axis=-1))


def _outside(grid: Geometry, own: Geometry) -> Iterator[tuple[slice, NDArray[np.bool_]]]:
    """Which voxels of a grid have their centres outside of another's field of view, some rows along i at a time."""
    matrix, offset = _between(grid, own)
    i, j, k = (np.arange(n, dtype=np.float64) for n in grid.shape)
    n_rows = max(1, _SLAB_VOXELS // (j.size * k.size))
    for start in range(0, i.size, n_rows):
        rows = slice(start, min(i.size, start + n_rows))
        outside = np.zeros((rows.stop - rows.start, j.size, k.size), bool)
        for (along_i, along_j, along_k), begin, n in zip(matrix, offset, own.shape, strict=True):
            index = (begin + along_i * i[rows])[:, None, None] + (along_j * j)[:, None] + along_k * k
            outside |= (index < -0.5 - _EDGE) | (index > n - 0.5 + _EDGE)
        yield rows, outside
