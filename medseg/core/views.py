"""How a plane of a volume is hung: as radiologists do it, whatever way the file's axes run.

The patient's right is at the left of an axial or coronal picture, the nose is up in an axial one and to the left in a
sagittal one. Planes come from arrays in the closest canonical order (RAS). Labels have one colour each in all pictures.
The module draws nothing and knows no files.
"""

from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from medseg.core.geometry import Geometry

__all__ = ["LABEL_COLOURS", "PLANES", "edges_of", "hung", "plane_of", "shown_axis"]

Number = TypeVar("Number", bound=np.generic)

PLANES = {2: "axial", 1: "coronal", 0: "sagittal"}
"""World axis that a plane is perpendicular to → what the plane is called."""

LABEL_COLOURS = (
    "#ff5a4f",
    "#3fa9f5",
    "#ffd23f",
    "#4ddb7a",
    "#c77dff",
    "#ff9f40",
    "#2ee6d6",
    "#ff7ac6",
    "#a3d94a",
    "#8fa8ff",
)
"""Bright on grey, and apart from each other for the colour-blind as far as ten colours can be; taken in turn."""

_EDGES = (("R", "L"), ("A", "P"), ("S", "I"))
"""Where the left (or upper) and the right (or lower) edge of a picture lie, by world axis, as we hang it."""


def hung(plane: NDArray[Number]) -> NDArray[Number]:
    """A canonical (RAS) plane as rows from the top and columns from the left: right (or front) at the left, head up."""
    return plane.T[::-1, ::-1]


def edges_of(axis: int) -> tuple[str, str, str, str]:
    """The letters at the left, right, upper and lower edge of a hung plane perpendicular to a world axis.

    >>> edges_of(2)
    ('R', 'L', 'A', 'P')
    """
    across, along = (other for other in range(3) if other != axis)
    return (*_EDGES[across], *_EDGES[along])


def plane_of(array: NDArray[Number], axis: int, index: int) -> NDArray[Number]:
    """One plane of a volume, as a view: `np.take` would first copy all of an array that lies otherwise in memory."""
    return array[(slice(None),) * axis + (index,)]


def shown_axis(grid: Geometry) -> int:
    """The axis to look along: that of a single slice, else the one of the largest spacing, the last of equals."""
    if 1 in grid.shape:
        return grid.shape.index(1)
    widest = max(grid.spacing_mm)
    return max(axis for axis in range(3) if grid.spacing_mm[axis] >= widest * (1 - 1e-3))
