"""Which part of a volume a picture shows: a plane, hung as radiologists do, cropped around what is to be seen.

Arrays come in the closest canonical order (RAS); a picture without a place in space is shown as it is stored. Planes
are numbered as in the file, from 0. The module cuts arrays and draws nothing.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from medseg.core.geometry import Geometry, Reorientation, Voxels
from medseg.core.views import PLANES, edges_of, hung, plane_of

__all__ = ["Cut", "around"]


@dataclass(frozen=True, slots=True)
class Cut:
    """A plane of a volume, or a part of it.

    Attributes:
        grid: Of the volume, in canonical order.
        turn: How the file's arrays were turned into that order.
        placed: Whether the grid lies in space: else there are no letters at the edges.
        axis: The axis that the plane is perpendicular to.
        index: Which plane along it.
        box: What of the volume is shown; its slice along `axis` does not matter.
        step: Every so many pixels are shown.
    """

    grid: Geometry
    turn: Reorientation
    placed: bool
    axis: int
    index: int
    box: tuple[slice, slice, slice]
    step: int = 1

    def of(self, array: NDArray[Any]) -> NDArray[Any]:
        """What is shown of an array of the grid: (rows, columns)."""
        across, along = self._sides
        plane = plane_of(array, self.axis, self.index)[self.box[across], self.box[along]]
        thinned = plane[:: self.step, :: self.step]
        shown: NDArray[Any] = np.ascontiguousarray(thinned.T if self._is_picture else hung(thinned))
        return shown

    def spot(self, voxel: Voxels) -> tuple[int, int]:
        """The pixel (row, column) of a voxel that is shown."""
        across, along = self._sides
        places, shape = [], []
        for side in (across, along):
            start, stop, _ = self.box[side].indices(self.grid.shape[side])
            places.append((voxel[side] - start) // self.step)
            shape.append(-(-(stop - start) // self.step))
        column, row = places
        return (row, column) if self._is_picture else (shape[1] - 1 - row, shape[0] - 1 - column)

    @property
    def aspect(self) -> float:
        """A pixel's height over its width."""
        across, along = self._sides
        return self.grid.spacing_mm[along] / self.grid.spacing_mm[across]

    @property
    def edges(self) -> tuple[str, str, str, str]:
        return edges_of(self.axis) if self.placed else ("", "", "", "")

    @property
    def title(self) -> str:
        """Which plane it is; empty for a picture, which has only one."""
        n = self.grid.shape[self.axis]
        number = n - 1 - self.index if self.turn.flips[self.axis] else self.index
        counted = f"slice {number} of 0…{n - 1}" if n > 1 else ""
        return f"{PLANES[self.axis]} {counted}".strip() if self.placed else counted

    @property
    def _sides(self) -> tuple[int, int]:
        across, along = (side for side in range(3) if side != self.axis)
        return across, along

    @property
    def _is_picture(self) -> bool:
        return not self.placed and self.grid.shape[self.axis] == 1


def around(
    grid: Geometry, first: Voxels, last: Voxels, *, least: Voxels, factor: float = 2.0
) -> tuple[slice, slice, slice]:
    """A box with two voxels in its middle, `factor` times as wide as they are apart, at least so many voxels wide."""
    i, j, k = (
        _stretch(n, a, b, max(at_least, round(factor * (b - a + 1))))
        for n, a, b, at_least in zip(grid.shape, first, last, least, strict=True)
    )
    return i, j, k


def _stretch(n: int, first: int, last: int, width: int) -> slice:
    width = min(n, width)
    start = max(0, min((first + last + 1 - width) // 2, n - width))
    return slice(start, start + width)
