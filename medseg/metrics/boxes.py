"""Boxes of voxels: where labels lie in a grid, and what of an array lies in a box.

Work on one label of many stays in the label's box. A box is three slices with a start and a stop; it may reach beyond
the grid where a function says so. The module knows no mm and no names of labels.
"""

from collections.abc import Collection, Sequence
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import find_objects

from medseg.core.geometry import Voxels

__all__ = ["Box", "box_of", "boxes_of", "grown", "moved", "seen", "start_of", "union"]

Box = tuple[slice, slice, slice]
"""A box of voxels in a grid; every slice has a start and a stop."""

Number = TypeVar("Number", bound=np.generic)


def boxes_of(array: NDArray[np.integer]) -> dict[int, Box]:
    """The smallest box of each value but 0 that occurs in a label map (i, j, k), from one pass over it."""
    # The pass is several times faster along memory than across it.
    axes = sorted(range(3), key=lambda axis: -abs(array.strides[axis]))
    found = find_objects(array.transpose(axes))
    return {
        value: (box[axes.index(0)], box[axes.index(1)], box[axes.index(2)])
        for value, box in enumerate(found, start=1)
        if box is not None
    }


def box_of(mask: NDArray[np.bool_]) -> Box | None:
    """The smallest box of a mask (i, j, k), or None if it is empty."""
    return boxes_of(mask.view(np.uint8)).get(1)


def union(boxes: Collection[Box]) -> Box:
    """The smallest box around some boxes (at least one)."""
    i, j, k = (slice(min(s.start for s in axis), max(s.stop for s in axis)) for axis in zip(*boxes, strict=True))
    return i, j, k


def start_of(box: Box) -> Voxels:
    """The first voxel of a box."""
    return (box[0].start, box[1].start, box[2].start)


def moved(box: Box, by: Sequence[int]) -> Box:
    """The box so many voxels further along each axis."""
    i, j, k = (slice(side.start + n, side.stop + n) for side, n in zip(box, by, strict=True))
    return i, j, k


def grown(box: Box, by: Sequence[int], shape: Sequence[int]) -> Box:
    """A box grown by so many voxels at both ends of each axis, as far as a grid of this shape reaches."""
    i, j, k = (
        slice(max(0, side.start - n), min(whole, side.stop + n)) for side, n, whole in zip(box, by, shape, strict=True)
    )
    return i, j, k


def seen(array: NDArray[Number], start: Voxels, box: Box) -> NDArray[Number]:
    """What an array (i, j, k) whose first voxel is at `start` has in a box: a C-ordered copy, 0 beyond the array."""
    window = np.zeros([side.stop - side.start for side in box], array.dtype)
    inner = [
        (max(side.start, first), min(side.stop, first + n))
        for side, first, n in zip(box, start, array.shape, strict=True)
    ]
    if all(low < high for low, high in inner):
        target = tuple(slice(low - side.start, high - side.start) for (low, high), side in zip(inner, box, strict=True))
        source = tuple(slice(low - first, high - first) for (low, high), first in zip(inner, start, strict=True))
        window[target] = array[source]
    return window
