"""Whether an image and a label map belong together: their grids in space, and the values that the map holds.

Grids are compared at their corner voxels, in mm and in voxels. Rounding passes in silence; up to half a voxel is mended
with a note; a label map that merely runs along other axes is turned; anything else is refused with figures.
Arrays and grids only; the module reads no file.
"""

from dataclasses import dataclass
from itertools import permutations, product

import numpy as np
from numpy.typing import NDArray

from medseg.core.errors import InputError
from medseg.core.geometry import Geometry, Reorientation
from medseg.core.labels import LARGEST_VALUE, Labels
from medseg.core.volume import LabelMap, Volume

__all__ = [
    "UNPLACED_IMAGES",
    "UNPLACED_LABELS",
    "OtherGridError",
    "UndeclaredError",
    "constant_channels",
    "count_values",
    "on_grid_of",
    "refuse_other_grid",
    "refuse_undeclared",
]

ROUNDING_VOXELS = 1e-3
"""Corners this close, as a share of a voxel, differ by the rounding of a header and need no word."""

MENDED_VOXELS = 0.5
"""Corners this close along every axis are taken for the same voxel: nobody else's voxel is nearer."""

_HAIR = 1e-6
"""A conventional offset of exactly half a voxel must not fail by rounding."""

UNPLACED_LABELS = "Label maps do not say where they lie in space; they are taken to lie on their images (equal shapes)."
UNPLACED_IMAGES = "Images do not say where they lie in space; their label maps are taken to lie on them (equal shapes)."
"""Notes that are the same for every case, so that a data set says them once."""

_CHUNK = 1 << 20
"""Voxels counted at once: counting needs 8 bytes for each."""


class OtherGridError(InputError):
    """Two things of one case lie on grids that do not belong together."""


class UndeclaredError(InputError):
    """A label map holds values that the data set does not declare."""


@dataclass(frozen=True)
class _Offset:
    """How far the corner voxels of one grid lie from another's: in mm, and along the axis where it is most voxels."""

    mm: float
    voxels: float


def on_grid_of(image: Volume, labels: LabelMap, case: str) -> tuple[LabelMap, tuple[str, ...]]:
    """The label map on the image's grid, turned if it must be, and what was mended.

    Raises:
        OtherGridError: Their shapes differ, or their corners lie more than half a voxel apart however it is turned.
    """
    grid, other = image.geometry, labels.geometry
    if grid.shape == other.shape:
        offset = _offset(grid, other)
        if offset.voxels <= MENDED_VOXELS + _HAIR:
            notes = _offset_note("The label map", offset)
            return LabelMap(labels.array, grid, labels.labels, labels.meta), notes
        if _is_unplaced(labels) or not image.meta.placed:
            note = UNPLACED_LABELS if image.meta.placed else UNPLACED_IMAGES
            return LabelMap(labels.array, grid, labels.labels, labels.meta), (note,)
    turn = _turn_onto(grid, other)
    if turn is None:
        raise OtherGridError(_apart("Image and label map", case, grid, other))
    note = (
        f"The label map runs along other axes ({other.orientation}) than the image ({grid.orientation}); it was turned."
    )
    return LabelMap(turn.apply(labels.array), grid, labels.labels, labels.meta), (note,)


def refuse_other_grid(first: Volume, other: Volume, what: str, case: str) -> tuple[str, ...]:
    """The notes on a channel whose grid is the first channel's but for noise.

    Raises:
        OtherGridError: The channel lies on another grid.
    """
    offset = _offset(first.geometry, other.geometry)
    same_shape = first.geometry.shape == other.geometry.shape
    if same_shape and offset.voxels <= MENDED_VOXELS + _HAIR:
        return _offset_note(what, offset)
    if same_shape and (_is_unplaced(other) or not first.meta.placed):
        return (f"{what} is taken to lie on the first channel (equal shapes): one of them does not say where it lies.",)
    raise OtherGridError(
        _apart(f"The first channel and {what[0].lower()}{what[1:]}", case, first.geometry, other.geometry)
    )


def count_values(array: NDArray[np.integer]) -> dict[int, int]:
    """Value → number of voxels, ascending, for a map of values from 0 to 65,535."""
    flat = array.ravel(order="K")
    counts = np.zeros(LARGEST_VALUE + 1, np.int64)
    for start in range(0, flat.size, _CHUNK):
        found = np.bincount(flat[start : start + _CHUNK])
        counts[: found.size] += found
    return {int(value): int(counts[value]) for value in np.flatnonzero(counts)}


def refuse_undeclared(counts: dict[int, int], labels: Labels, case: str) -> None:
    """Refuse values that the data set does not declare.

    Raises:
        UndeclaredError: There are some; the message has each value and its number of voxels.
    """
    unknown = {value: n for value, n in counts.items() if value not in {*labels.classes, labels.ignore}}
    if unknown:
        several = "s" if len(unknown) > 1 else ""
        found = ", ".join(f"{value} ({n} voxels)" for value, n in list(unknown.items())[:5])
        declared = ", ".join(map(str, labels.classes[:12])) + (", …" if len(labels.classes) > 12 else "")
        raise UndeclaredError(
            f"Case {case}: the label map holds the value{several} {found}, but the data set declares {declared}. "
            "Declare what it means, or correct the map."
        )


def constant_channels(volume: Volume) -> tuple[int, ...]:
    """The channels that have one value everywhere: nothing can be seen in them."""
    return tuple(c for c, channel in enumerate(volume.array) if channel.min() == channel.max())


def _offset(grid: Geometry, other: Geometry) -> _Offset:
    voxels = np.abs(grid.to_voxel(other.corners_mm) - grid.to_voxel(grid.corners_mm))
    return _Offset(grid.distance_mm(other), float(voxels.max()))


def _offset_note(what: str, offset: _Offset) -> tuple[str, ...]:
    if offset.voxels <= ROUNDING_VOXELS:
        return ()
    return (f"{what} lies up to {offset.mm:.2g} mm ({offset.voxels:.2g} voxels) off the image; taken as one grid.",)


def _is_unplaced(thing: Volume | LabelMap) -> bool:
    """Whether a file says nothing of place: no geometry, or the identity that tools write when they have none.

    The identity comes in two: RAS, and LPS as ITK writes it.
    """
    affine = thing.geometry.affine
    itk_identity = np.diag((-1.0, -1.0, 1.0, 1.0))
    return not thing.meta.placed or np.array_equal(affine, np.eye(4)) or np.array_equal(affine, itk_identity)


def _turn_onto(grid: Geometry, other: Geometry) -> Reorientation | None:
    """The one of 48 turns that lays `other` on `grid`, or None."""
    best: tuple[float, Reorientation] | None = None
    for order, flips in product(permutations(range(3)), product((False, True), repeat=3)):
        turn = Reorientation((order[0], order[1], order[2]), (flips[0], flips[1], flips[2]))
        turned = other.reorient(turn)
        if turned.shape != grid.shape:
            continue
        offset = _offset(grid, turned)
        if offset.voxels <= MENDED_VOXELS + _HAIR and (best is None or offset.mm < best[0]):
            best = offset.mm, turn
    return None if best is None else best[1]


def _apart(what: str, case: str, grid: Geometry, other: Geometry) -> str:
    shapes = ""
    if grid.shape != other.shape:
        shapes = f" have {_sides(grid.shape)} and {_sides(other.shape)} voxels and"
    offset = _offset(grid, other)
    return (
        f"{what} of case {case}{shapes} are {offset.mm:.3g} mm apart at a corner; they do not belong together. "
        "Check that both come from one series, or resample one to the grid of the other."
    )


def _sides(shape: tuple[int, ...]) -> str:
    return " × ".join(map(str, shape))
