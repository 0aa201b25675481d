"""Slices cut out to be shown: small grey pictures with their labels, kept of each case while its voxels are there.

Volumes come in canonical (RAS) order and are hung as radiologists do it; pictures without a place are shown as they
are. The module makes values; what they look like on a page is `pictures`' affair.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from medseg.core.geometry import Geometry, Reorientation, Voxels
from medseg.core.labels import Labels
from medseg.core.views import plane_of, shown_axis
from medseg.inspect.report import Gap, Slice
from medseg.pages.cuts import Cut, around
from medseg.pages.pictures import grey_of

__all__ = ["Upright", "at_gap", "at_voxel", "glance"]

LARGEST_SIDE = 160
"""Pixels that are kept along a side; a case keeps a few of these pictures, and there may be thousands of cases."""

MOST_NAMES = 255
"""Labels that a picture can hold: their numbers are bytes."""

CLOSE_UP_VOXELS = 48
"""Pixels around the place that a close-up shows at least: a single voxel must be seen."""

Box = tuple[slice, slice, slice]

_WHOLE: Box = (slice(None), slice(None), slice(None))


@dataclass(frozen=True, eq=False)
class Upright:
    """A case as it is looked at: all arrays in canonical order.

    Attributes:
        image: One channel (i, j, k).
        array: The label map, or None.
        grid: Of both.
        labels: What the values mean.
        placed: Whether the grid lies in space: else there are no letters at the edges.
        turn: How the file's arrays were turned: slices are numbered as in the file.
    """

    image: NDArray[Any]
    array: NDArray[np.integer] | None
    grid: Geometry
    labels: Labels
    placed: bool
    turn: Reorientation

    def in_file(self, voxel: Voxels) -> Voxels:
        """A voxel by its index in the file."""
        return self.turn.source_of(voxel, self.grid.shape)

    def number(self, axis: int, index: int) -> int:
        """A slice by its number in the file, counted from 0."""
        return self.grid.shape[axis] - 1 - index if self.turn.flips[axis] else index


def glance(case: Upright) -> Slice:
    """The slice with most labels, along the axis of the slices; the middle one where there are no labels."""
    axis = shown_axis(case.grid)
    index = case.grid.shape[axis] // 2
    if case.array is not None and case.array.any():
        index = int(np.count_nonzero(case.array, axis=tuple(a for a in range(3) if a != axis)).argmax())
    return _slice(case, axis, index)


def at_voxel(case: Upright, voxel: Voxels) -> Slice:
    """The surroundings of a voxel in its slice, with a ring around it."""
    axis = shown_axis(case.grid)
    return _slice(case, axis, voxel[axis], _around(case.grid, voxel, voxel), voxel)


def at_gap(case: Upright, gap: Gap) -> tuple[Slice, Slice]:
    """The last labelled slice beside a run of slices without labels, and the first of the run, around the label."""
    last, first = (gap.last + 1, gap.last) if gap.first == 0 else (gap.first - 1, gap.first)
    plane = None if case.array is None else plane_of(case.array, gap.axis, last)
    where = [np.flatnonzero(plane.any(axis=other)) if plane is not None else np.zeros(0) for other in (1, 0)]
    start, stop = ([int(side[end]) if side.size else 0 for side in where] for end in (0, -1))
    box = _around(case.grid, _with(start, gap.axis), _with(stop, gap.axis))
    return _slice(case, gap.axis, last, box), _slice(case, gap.axis, first, box)


def _with(inplane: list[int], axis: int) -> Voxels:
    across, along = inplane
    return ((0, across, along), (across, 0, along), (across, along, 0))[axis]


def _around(grid: Geometry, first: Voxels, last: Voxels) -> Box:
    """A box that holds two voxels with as much again around them, and at least so many voxels."""
    i, j, k = (max(CLOSE_UP_VOXELS, n // 6) for n in grid.shape)
    return around(grid, first, last, least=(i, j, k))


def _slice(case: Upright, axis: int, index: int, box: Box = _WHOLE, ring: Voxels | None = None) -> Slice:
    """Slice `index` along an axis, less what lies outside of `box` in its plane."""
    sides = (side.indices(n) for side, n in zip(box, case.grid.shape, strict=True))
    longest = max(stop - start for a, (start, stop, _) in enumerate(sides) if a != axis)
    cut = Cut(case.grid, case.turn, case.placed, axis, index, box, -(-longest // LARGEST_SIDE))
    image = cut.of(case.image)
    return Slice(
        grey=grey_of(image),
        labels=_numbers(None if case.array is None else cut.of(case.array), case.labels, image.shape),
        names=case.labels.names[:MOST_NAMES],
        aspect=cut.aspect,
        title=cut.title,
        edges=cut.edges,
        ring=None if ring is None else cut.spot(ring),
    )


def _numbers(plane: NDArray[np.integer] | None, labels: Labels, shape: tuple[int, ...]) -> NDArray[np.uint8]:
    """Which label each pixel belongs to, counted from 1; of regions that overlap the smaller goes on top."""
    numbers = np.zeros(shape, np.uint8)
    if plane is None or not plane.any():
        return numbers
    masks = [(number, labels.mask(plane, name)) for number, name in enumerate(labels.names[:MOST_NAMES], start=1)]
    for number, mask in sorted(masks, key=lambda pair: -int(np.count_nonzero(pair[1]))):
        numbers[mask] = number
    return numbers
