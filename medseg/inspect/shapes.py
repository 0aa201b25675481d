"""What the shape of labels says: pieces and islands, their place in the world, and slices that lack them.

Arrays are in the closest canonical (RAS) order with the grid that belongs to it; pieces are connected through all 26
neighbours. Measures only: what is unusual for a data set is decided where all cases are known.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from medseg.core.geometry import Geometry
from medseg.core.labels import Labels
from medseg.core.views import plane_of, shown_axis
from medseg.inspect.report import Gap, Island, Mark

__all__ = ["Part", "gaps_of", "marks_of", "parts_of", "reach_of", "slice_axis"]

ISLAND_SHARE = 0.01
"""A piece of up to this share of its label may be a slip of the brush; what is larger was drawn by intent."""

ONE_PIECE = 0.9
"""A label is in one piece, but for slips, if its largest piece has this share: lesions and cells are not."""

ISLANDS_KEPT = 5

SLIP_AREA = 0.05
"""A slice with less than this share of the label's median area, and apart from the others, holds a slip, no label."""

GAP_OVERLAP = 0.5
"""Labels on both sides of a gap are one object if they overlap by this share of the smaller."""

GAP_AREA = 0.25
"""… and if neither is smaller than this share of the label's median area: two tips may face each other by nature."""

SHORTEST_END = 2
"""So many slices behind the last labelled one make an end worth a look: a single one is within every convention."""

RING_VOXELS = 3
"""How far around the label two slices are compared: its border carries the contrast."""

LEAST_RING_VOXELS = 20
"""A correlation of fewer voxels says nothing."""

_EVERYWHERE = np.ones((3, 3, 3), np.bool_)


@dataclass(frozen=True)
class Part:
    """A label cut out of its map: `mask` is `array[box]`, bool."""

    mask: NDArray[np.bool_]
    box: tuple[slice, ...]

    @property
    def start(self) -> NDArray[np.intp]:
        return np.array([side.start for side in self.box])


def parts_of(array: NDArray[np.integer], labels: Labels) -> dict[str, Part]:
    """By name, the labels that have a voxel, cut out of their map."""
    found = {}
    boxes = ndimage.find_objects(array)
    for name, values in labels.values.items():
        own = [boxes[value - 1] for value in values if value <= len(boxes) and boxes[value - 1] is not None]
        if own:
            box = tuple(slice(min(b[a].start for b in own), max(b[a].stop for b in own)) for a in range(3))
            mask = labels.mask(array[box], name)
            found[name] = Part(mask, box)
    return found


def marks_of(parts: Mapping[str, Part], grid: Geometry) -> dict[str, Mark]:
    """By name, the shape of each label that has a voxel."""
    return {name: _mark(part, grid) for name, part in parts.items()}


def slice_axis(grid: Geometry) -> int | None:
    """The axis that slices lie along: that of the largest spacing, the last of equals; None for a single slice."""
    axis = shown_axis(grid)
    return axis if grid.shape[axis] > SHORTEST_END else None


def reach_of(array: NDArray[np.integer], grid: Geometry, ignored: NDArray[np.bool_] | None = None) -> dict[str, bool]:
    """Whether labels reach the first and the last slice, by the letter of that end; empty without slices or labels.

    An end where voxels are to be ignored says nothing.
    """
    axis = slice_axis(grid)
    labelled = None if axis is None else _labelled(_areas(array != 0, axis))
    if axis is None or labelled is None or not labelled.any():
        return {}
    known = _annotated(ignored, axis, labelled.size)
    return {_letter(axis, step): bool(labelled[end]) for step, end in ((-1, 0), (1, -1)) if known[end]}


def gaps_of(
    array: NDArray[np.integer],
    image: NDArray[Any],
    grid: Geometry,
    parts: Mapping[str, Part],
    ignored: NDArray[np.bool_] | None = None,
) -> tuple[Gap, ...]:
    """Runs of slices that may lack labels: of any label between labelled slices and at both ends, then of single ones.

    Args:
        array: The label map (i, j, k).
        image: Its image, one channel (i, j, k).
        grid: Of both.
        parts: The labels in the map.
        ignored: Where nobody says what is there: a run with a slice that has such voxels is no gap.
    """
    axis = slice_axis(grid)
    if axis is None or not array.any():
        return ()
    annotated = _annotated(ignored, axis, array.shape[axis])
    whole = array != 0
    found = [*_between("", whole, image, axis), *_at_ends(whole, image, axis)]
    known = {index for gap in found for index in range(gap.first, gap.last + 1)}
    for name, part in parts.items() if len(parts) > 1 else ():
        found += [gap for gap in _between_part(name, part, image, axis, array.shape[axis]) if gap.first not in known]
    return tuple(gap for gap in found if annotated[gap.first : gap.last + 1].all())


def _annotated(ignored: NDArray[np.bool_] | None, axis: int, n_slices: int) -> NDArray[np.bool_]:
    """The slices in which no voxel is to be ignored."""
    return np.ones(n_slices, np.bool_) if ignored is None else _areas(ignored, axis) == 0


def _mark(part: Part, grid: Geometry) -> Mark:
    mask = part.mask
    n = int(np.count_nonzero(mask))
    centre = [
        float(np.dot(np.count_nonzero(mask, axis=tuple(o for o in range(3) if o != a)), np.arange(mask.shape[a]))) / n
        for a in range(3)
    ]
    x, y, z = (float(mm) for mm in grid.to_world(np.array(centre) + part.start))
    pieces, n_pieces = ndimage.label(mask, _EVERYWHERE)
    sizes = np.bincount(pieces[mask], minlength=n_pieces + 1)
    share = float(sizes.max() / n)
    small = (sizes > 0) & (sizes <= max(1, ISLAND_SHARE * n)) & (share >= ONE_PIECE)
    islands: list[int] = np.flatnonzero(small).tolist()
    return Mark(
        n_voxels=n,
        volume_ml=n * grid.voxel_volume_ml,
        centre_mm=(x, y, z),
        n_pieces=n_pieces,
        largest_share=share,
        n_islands=len(islands),
        islands=tuple(_islands(part, pieces, sizes, islands, grid)),
    )


def _islands(
    part: Part,
    pieces: NDArray[np.integer],
    sizes: NDArray[np.integer],
    which: Sequence[int],
    grid: Geometry,
) -> Iterator[Island]:
    """The smallest of the pieces `which`, with their distance from the largest."""
    if not which:
        return
    main = grid.to_world(np.argwhere(pieces == sizes.argmax()) + part.start)
    for piece in sorted(which, key=lambda number: int(sizes[number]))[:ISLANDS_KEPT]:
        voxels = np.argwhere(pieces == piece) + part.start
        # Of an island of many voxels the first few are near enough to each other.
        distances = [float(np.linalg.norm(main - point, axis=1).min()) for point in grid.to_world(voxels[:8])]
        i, j, k = (int(n) for n in voxels[0])
        yield Island(int(sizes[piece]), (i, j, k), min(distances))


def _areas(mask: NDArray[np.bool_], axis: int) -> NDArray[np.intp]:
    return np.asarray(np.count_nonzero(mask, axis=tuple(other for other in range(3) if other != axis)))


def _labelled(areas: NDArray[np.intp]) -> NDArray[np.bool_]:
    """The slices that hold the label: all that have voxels, less small ones that lie apart."""
    has = areas > 0
    if not has.any():
        return has
    runs, _ = ndimage.label(has)
    enough = areas >= SLIP_AREA * float(np.median(areas[has]))
    return has & np.isin(runs, np.unique(runs[enough & has]))


def _between(label: str, mask: NDArray[np.bool_], image: NDArray[Any], axis: int) -> Iterator[Gap]:
    """Runs of slices without the label, with the same object on both sides."""
    areas = _areas(mask, axis)
    labelled = _labelled(areas)
    there = np.flatnonzero(labelled)
    if not there.size:
        return
    median = float(np.median(areas[there]))
    for before, after in pairwise(there.tolist()):
        if after - before < 2:
            continue
        below, above = plane_of(mask, axis, before), plane_of(mask, axis, after)
        smaller = min(areas[before], areas[after])
        if np.count_nonzero(below & above) < GAP_OVERLAP * smaller or smaller < GAP_AREA * median:
            continue
        first, last = before + 1, after - 1
        alike = _continuity(mask, image, axis, before, 1)
        yield Gap(label, axis, first, last, mask.shape[axis], None, alike, float(smaller / median))


def _between_part(name: str, part: Part, image: NDArray[Any], axis: int, n_slices: int) -> Iterator[Gap]:
    """As `_between`, in the box of one label; slices are counted in the whole image."""
    offset = part.box[axis].start
    for gap in _between(name, part.mask, image[part.box], axis):
        yield replace(gap, first=gap.first + offset, last=gap.last + offset, n_slices=n_slices)


def _at_ends(mask: NDArray[np.bool_], image: NDArray[Any], axis: int) -> Iterator[Gap]:
    """Runs of slices between the last labelled one and the end of the image, with what speaks for the object going on.

    The area is that of the smaller of the last two labelled slices: an object that ends by itself tapers.
    """
    areas = _areas(mask, axis)
    there = np.flatnonzero(_labelled(areas))
    n_slices = mask.shape[axis]
    if there.size < 2:
        return
    median = float(np.median(areas[there]))
    first, last = int(there[0]), int(there[-1])
    for end, step, run in ((first, -1, (0, first - 1)), (last, 1, (last + 1, n_slices - 1))):
        if run[1] - run[0] + 1 >= SHORTEST_END:
            area = min(areas[end], areas[end - step]) / median
            alike = _continuity(mask, image, axis, end, step)
            yield Gap("", axis, run[0], run[1], n_slices, _letter(axis, step), alike, float(area))


def _continuity(mask: NDArray[np.bool_], image: NDArray[Any], axis: int, at: int, step: int) -> float:
    """How alike the last labelled slice and the next are around the label, over how alike it and the one before are.

    0 where it cannot be said: no contrast, or no labelled slice before.
    """
    if not 0 <= at - step < mask.shape[axis]:
        return 0.0
    here = plane_of(mask, axis, at)
    ring = ndimage.binary_dilation(here, iterations=RING_VOXELS)
    ahead, this, behind = (plane_of(image, axis, at + d)[ring].astype(np.float64) for d in (step, 0, -step))
    usual = _correlation(this, behind)
    return max(0.0, _correlation(this, ahead)) / usual if usual > 0 else 0.0


def _correlation(a: NDArray[np.float64], b: NDArray[np.float64]) -> float:
    if a.size < LEAST_RING_VOXELS or a.std() == 0 or b.std() == 0:
        return 0.0
    return float(np.corrcoef(a, b)[0, 1])


def _letter(axis: int, step: int) -> str:
    return ("LR", "PA", "IS")[axis][0 if step < 0 else 1]
