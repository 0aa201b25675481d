"""Boundary IoU: the overlap of what lies near the boundaries, so that large organs do not win by their bulk.

Of each mask only the band counts that is at most τ from its own boundary; boundary IoU is the IoU of the two bands.
"Near" is measured from a voxel's centre to the elements of the boundary (`boundary_of`), in mm on the true grid, where
the source counts pixels. The module must never know of files or names of labels.

Source: Cheng 2021, "Boundary IoU".
"""

from math import nan

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import distance_transform_edt
from scipy.spatial import cKDTree

from medseg.core.geometry import Geometry, Voxels
from medseg.metrics.boundary import boundary_of
from medseg.metrics.boxes import box_of, seen, start_of, union

__all__ = ["band_of", "boundary_iou"]

_GUARD_MM = 1e-6


def boundary_iou(
    reference: NDArray[np.bool_], predicted: NDArray[np.bool_], grid: Geometry, tolerance_mm: float
) -> float:
    """IoU of the bands of two masks (i, j, k) of one grid; 0 if one mask is empty, NaN if both are."""
    boxes = [box_of(mask) for mask in (reference, predicted)]
    found = [box for box in boxes if box is not None]
    if len(found) < 2:
        return 0.0 if found else nan
    both = union(found)
    theirs, ours = (
        seen(band_of(mask[box], grid, tolerance_mm, start=start_of(box)), start_of(box), both)
        for mask, box in zip((reference, predicted), found, strict=True)
    )
    return np.count_nonzero(theirs & ours) / np.count_nonzero(theirs | ours)


def band_of(
    mask: NDArray[np.bool_], grid: Geometry, tolerance_mm: float, *, start: Voxels = (0, 0, 0)
) -> NDArray[np.bool_]:
    """The voxels of a mask whose centre is at most `tolerance_mm` from the mask's own boundary; of its shape.

    A voxel at the boundary is in the band however small the tolerance is, so that no mask has an empty band.
    """
    boundary = boundary_of(mask, grid, start=start)
    depth = distance_transform_edt(np.pad(mask, _border(grid)), sampling=grid.spacing_mm)[_core(grid)]
    # A face lies half a voxel nearer than the centre behind it: only voxels in between must be asked.
    half = max(grid.spacing_mm[: 2 if grid.shape[2] == 1 else 3]) / 2
    outermost = mask & _touches_outside(mask, grid)
    asked = mask & ~outermost
    if grid.is_orthogonal:
        asked &= depth <= tolerance_mm + half + _GUARD_MM
    index = np.argwhere(asked)
    band = outermost.copy()
    if len(index):
        centres = grid.to_world(index + np.array(start))
        reach = tolerance_mm + _GUARD_MM * max(1.0, tolerance_mm)
        near = cKDTree(boundary.points_mm).query(centres, distance_upper_bound=np.nextafter(reach, np.inf))[0] <= reach
        band[tuple(index[near].T)] = True
    return band


def _touches_outside(mask: NDArray[np.bool_], grid: Geometry) -> NDArray[np.bool_]:
    padded = np.pad(mask, 1)
    inner = np.ones_like(mask)
    for axis in (0, 1) if grid.shape[2] == 1 else (0, 1, 2):
        for side in (slice(None, -2), slice(2, None)):
            inner &= padded[tuple(side if a == axis else slice(1, -1) for a in range(3))]
    return ~inner


def _border(grid: Geometry) -> list[tuple[int, int]]:
    return [(1, 1), (1, 1), (0, 0) if grid.shape[2] == 1 else (1, 1)]


def _core(grid: Geometry) -> tuple[slice, slice, slice]:
    inner = slice(1, -1)
    return (inner, inner, slice(None) if grid.shape[2] == 1 else inner)
