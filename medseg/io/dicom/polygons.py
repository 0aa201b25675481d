"""Closed contours in a plane of voxels → the voxels inside, by the even-odd rule at voxel centres.

A voxel is inside if a ray from its centre along the first axis crosses the contours an odd number of times, those of a
structure in a plane counted together. So a contour within a contour is a hole, and a keyhole (an outline that walks a
bridge to its hole and back) comes out right, as the bridge is crossed twice. A centre that lies on a contour belongs to
one side by the half-open rule: of two shapes that share an edge, exactly one has it. The outline itself is never
painted. No millimetres here: coordinates are indices of voxel centres.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

__all__ = ["Raster", "filled"]

_DIGITS = 6
"""Indices are rounded to a millionth of a voxel: what is meant to lie on a centre lies there in spite of arithmetic."""


@dataclass(frozen=True, eq=False)
class Raster:
    """Voxels of a plane: `mask` begins at `start`; both along (first, second) axis."""

    start: tuple[int, int]
    mask: NDArray[np.bool_]

    @property
    def box(self) -> tuple[slice, slice]:
        (a, b), (n, m) = self.start, self.mask.shape
        return slice(a, a + n), slice(b, b + m)


def filled(contours: Sequence[NDArray[np.float64]], shape: tuple[int, int]) -> Raster:
    """The voxels inside contours, cut to the plane.

    Args:
        contours: Of each its points in order, (n, 2): indices along the first and the second axis, as the plane counts
            them. The last point is joined to the first.
        shape: Of the plane.
    """
    starts, ends = _edges([np.round(contour, _DIGITS) for contour in contours])
    rows = np.ceil(np.stack([starts[:, 1], ends[:, 1]])).astype(np.int64)
    low = np.clip(rows.min(axis=0), 0, shape[1])
    n_crossed = np.clip(rows.max(axis=0), 0, shape[1]) - low
    edge = np.repeat(np.arange(n_crossed.size), n_crossed)
    if not edge.size:
        return Raster((0, 0), np.zeros((0, 0), np.bool_))
    # The rows that each edge crosses, one after the other: from its lower end (included) to its upper (excluded).
    row = low[edge] + np.arange(edge.size) - np.repeat(np.cumsum(n_crossed) - n_crossed, n_crossed)
    a, b = starts[edge], ends[edge]
    at = a[:, 0] + (row - a[:, 1]) * (b[:, 0] - a[:, 0]) / (b[:, 1] - a[:, 1])
    # A ray from each centre left of the crossing meets it.
    beyond = np.clip(np.ceil(np.round(at, _DIGITS)), 0, shape[0]).astype(np.int64)
    first, start = int(beyond.min()), int(row.min())
    n, m = int(beyond.max()) - first, int(row.max()) + 1 - start
    changes = np.bincount((beyond - first) * m + (row - start), minlength=(n + 1) * m).astype(np.uint8)
    parity = np.bitwise_and(changes.reshape(n + 1, m), 1)
    np.bitwise_xor.accumulate(parity, axis=0, out=parity)
    # Along each row the number of crossings is even, so what was crossed before is what is crossed after.
    return Raster((first, start), parity[:n].astype(np.bool_))


def _edges(contours: Sequence[NDArray[np.float64]]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Both ends of all edges, the one with the lower second index first.

    An edge that is walked there and back has the same ends both times, and so the same crossings to the last bit.
    """
    starts = np.concatenate(contours) if contours else np.zeros((0, 2))
    ends = np.concatenate([np.roll(contour, -1, axis=0) for contour in contours]) if contours else starts
    swapped = starts[:, 1] > ends[:, 1]
    starts[swapped], ends[swapped] = ends[swapped], starts[swapped]
    return starts, ends
