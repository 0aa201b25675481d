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
from medseg.core.views import PLANES, edges_of, hung, plane_of
from medseg.inspect.report import Gap, Slice
from medseg.inspect.shapes import slice_axis

__all__ = ["Upright", "at_gap", "at_voxel", "glance"]

LARGEST_SIDE = 160
"""Pixels that are kept along a side; a case keeps a few of these pictures, and there may be thousands of cases."""

MOST_NAMES = 255
"""Labels that a picture can hold: their numbers are bytes."""

CLOSE_UP_VOXELS = 48
"""Pixels around the place that a close-up shows at least: a single voxel must be seen."""

_SHOWN_PERCENTILES = (1.0, 99.5)


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
    axis = _shown_axis(case.grid)
    index = case.grid.shape[axis] // 2
    if case.array is not None and case.array.any():
        index = int(np.count_nonzero(case.array, axis=tuple(a for a in range(3) if a != axis)).argmax())
    return _slice(case, axis, index)


def at_voxel(case: Upright, voxel: Voxels) -> Slice:
    """The surroundings of a voxel in its slice, with a ring around it."""
    axis = _shown_axis(case.grid)
    return _slice(case, axis, voxel[axis], _around(case.grid, axis, list(voxel), list(voxel)), voxel)


def at_gap(case: Upright, gap: Gap) -> tuple[Slice, Slice]:
    """The last labelled slice beside a run of slices without labels, and the first of the run, around the label."""
    last, first = (gap.last + 1, gap.last) if gap.first == 0 else (gap.first - 1, gap.first)
    plane = None if case.array is None else plane_of(case.array, gap.axis, last)
    where = [np.flatnonzero(plane.any(axis=other)) if plane is not None else np.zeros(0) for other in (1, 0)]
    start, stop = ([int(side[end]) if side.size else 0 for side in where] for end in (0, -1))
    box = _around(case.grid, gap.axis, _with(start, gap.axis), _with(stop, gap.axis))
    return _slice(case, gap.axis, last, box), _slice(case, gap.axis, first, box)


def _with(inplane: list[int], axis: int) -> list[int]:
    return [*inplane[:axis], 0, *inplane[axis:]]


def _around(grid: Geometry, axis: int, first: list[int], last: list[int]) -> tuple[slice, ...]:
    """A box in the plane that holds `first` and `last` with as much again around them, and at least so many voxels."""
    box = []
    for a in range(3):
        width = min(grid.shape[a], max(CLOSE_UP_VOXELS, grid.shape[a] // 6, 2 * (last[a] - first[a] + 1)))
        start = max(0, min((first[a] + last[a] - width) // 2, grid.shape[a] - width))
        box.append(slice(0, grid.shape[a]) if a == axis else slice(start, start + width))
    return tuple(box)


def _shown_axis(grid: Geometry) -> int:
    """The slice axis; a picture is looked at from where it is flat."""
    if 1 in grid.shape:
        return grid.shape.index(1)
    axis = slice_axis(grid)
    return 2 if axis is None else axis


def _slice(
    case: Upright,
    axis: int,
    index: int,
    box: tuple[slice, ...] = (slice(None),) * 3,
    ring: Voxels | None = None,
) -> Slice:
    """Slice `index` along an axis, less what lies outside of `box` in its plane."""
    grid, labels, placed = case.grid, case.labels, case.placed
    across, along = (a for a in range(3) if a != axis)
    where = (box[across], box[along])
    plane = plane_of(case.image, axis, index)[where]
    numbers = _numbers(None if case.array is None else plane_of(case.array, axis, index)[where], labels, plane.shape)
    step = -(-max(plane.shape) // LARGEST_SIDE)
    marked = np.zeros(plane.shape, np.bool_)
    if ring is not None:
        marked[ring[across] - (where[0].start or 0), ring[along] - (where[1].start or 0)] = True
    n_slices = grid.shape[axis]
    counted = f"slice {case.number(axis, index)} of 0…{n_slices - 1}" if n_slices > 1 else ""
    is_picture = not placed and n_slices == 1
    grey, numbers, marked = (
        np.ascontiguousarray(each.T if is_picture else hung(each))
        for each in (_grey(plane[::step, ::step]), numbers[::step, ::step], marked)
    )
    spot = np.argwhere(marked)
    return Slice(
        grey=grey,
        labels=numbers,
        names=labels.names[:MOST_NAMES],
        aspect=grid.spacing_mm[along] / grid.spacing_mm[across],
        title=counted if not placed else f"{PLANES[axis]} {counted}".strip(),
        edges=edges_of(axis) if placed else ("", "", "", ""),
        ring=(int(spot[0, 0]) // step, int(spot[0, 1]) // step) if len(spot) else None,
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


def _grey(plane: NDArray[Any]) -> NDArray[np.uint8]:
    values = plane.astype(np.float32)
    low, high = np.percentile(values, _SHOWN_PERCENTILES)
    if high <= low:
        low, high = float(values.min()), float(values.max())
    scaled = (values - low) / max(float(high - low), 1e-30)
    grey: NDArray[np.uint8] = (np.clip(scaled, 0, 1) * 255).astype(np.uint8)
    return grey
