"""Whether the channels and the label map of a case belong together: their grids, and the values that the map holds.

Grids are compared at their corner voxels, in mm and in voxels. Rounding passes in silence; up to half a voxel is mended
with a note; what merely runs along other axes is turned. A channel on any other grid is brought to that of the first,
if the two overlap; a label map on another grid is refused with figures: labels are drawn on the first channel.
Arrays and grids only; the module reads no file.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import permutations, product
from typing import Any

import numpy as np
from numpy.typing import NDArray

from medseg.core.errors import InputError
from medseg.core.geometry import Geometry, Reorientation
from medseg.core.labels import LARGEST_VALUE, Labels
from medseg.core.volume import LabelMap, Volume
from medseg.data.alignment import brought_to, overlap_of
from medseg.data.dataset import MOST_VALUES
from medseg.io.values import NotALabelMapError

__all__ = [
    "MENDED_VOXELS",
    "UNPLACED_IMAGES",
    "UNPLACED_LABELS",
    "Offset",
    "OtherGridError",
    "UndeclaredError",
    "channel_on_grid_of",
    "constant_channels",
    "count_values",
    "like_a_label_map",
    "offset_of",
    "on_grid_of",
    "refuse_images",
    "refuse_undeclared",
    "turn_onto",
]

ROUNDING_VOXELS = 1e-3
"""Corners this close, as a share of a voxel, differ by the rounding of a header and need no word."""

MENDED_VOXELS = 0.5
"""Corners this close along every axis are taken for the same voxel: nobody else's voxel is nearer."""

_HAIR = 1e-6
"""A conventional offset of exactly half a voxel must not fail by rounding."""

UNPLACED_LABELS = "Label maps do not say where they lie in space; they are taken to lie on their images (equal shapes)."
_MOST_EXAMPLES = 5

UNPLACED_IMAGES = "Images do not say where they lie in space; their label maps are taken to lie on them (equal shapes)."
"""Notes that are the same for every case, so that a data set says them once."""

LEAST_OVERLAP = 0.05
"""Channels that share less than this of the smaller field of view are refused: hardly a voxel would have both."""

SMALL_OVERLAP = 0.5
"""A channel that covers less than this of the first one's field of view is told with its figures. Not measured: below
it most of the channel is filling."""

_CHUNK = 1 << 20
"""Voxels counted at once: counting needs 8 bytes for each."""


class OtherGridError(InputError):
    """Two things of one case lie on grids that do not belong together."""


class UndeclaredError(InputError):
    """A label map holds values that the data set does not declare."""


@dataclass(frozen=True)
class Offset:
    """How far the corner voxels of one grid lie from another's: in mm, and along the axis where it is most voxels."""

    mm: float
    voxels: float


def on_grid_of(
    image: Volume, labels: LabelMap, case: str, channels: Sequence[str] = ()
) -> tuple[LabelMap, tuple[str, ...]]:
    """The label map on the image's grid, turned if it must be, and what was mended; `channels` name the image's.

    Raises:
        OtherGridError: Their shapes differ, or their corners lie more than half a voxel apart however it is turned.
            A map that was drawn on another channel than the first is refused with the name of that channel.
    """
    grid, other = image.geometry, labels.geometry
    if grid.shape == other.shape:
        offset = offset_of(grid, other)
        if offset.voxels <= MENDED_VOXELS + _HAIR:
            notes = _offset_note("The label map", offset)
            return LabelMap(labels.array, grid, labels.labels, labels.meta), notes
        if _is_unplaced(labels) or not image.meta.placed:
            note = UNPLACED_LABELS if image.meta.placed else UNPLACED_IMAGES
            return LabelMap(labels.array, grid, labels.labels, labels.meta), (note,)
    turn = turn_onto(grid, other)
    if turn is None:
        number = next((n for n, own in image.meta.own_grids.items() if turn_onto(own, other)), None)
        if number is not None:
            drawn_on = channels[number] if number < len(channels) else f"channel {number}"
            raise OtherGridError(
                f"The label map of case {case} lies on the grid of {drawn_on}, and the grid of a case is that of its "
                f"first channel. Make {drawn_on} the first channel, or resample the label map."
            )
        raise OtherGridError(_apart("Image and label map", case, grid, other))
    note = (
        f"The label map runs along other axes ({other.orientation}) than the image ({grid.orientation}); it was turned."
    )
    return LabelMap(turn.apply(labels.array), grid, labels.labels, labels.meta), (note,)


def channel_on_grid_of(
    first: Volume, other: Volume, names: tuple[str, str], case: str
) -> tuple[NDArray[Any], Geometry | None, tuple[str, ...]]:
    """A further channel (c, i, j, k) on the grid of the first one.

    Args:
        first: The first channel of the case.
        other: The further one.
        names: What sentences call the two.
        case: The id of the case.

    Returns:
        The array; the channel's own grid, if it had to be interpolated; and what there is to say of it.

    Raises:
        OtherGridError: The two share next to nothing in space, or have different shapes and one has no place in space.
    """
    grid, own = first.geometry, other.geometry
    name, first_name = names[1], names[0]
    if grid.shape == own.shape:
        offset = offset_of(grid, own)
        if offset.voxels <= MENDED_VOXELS + _HAIR:
            return other.array, None, _offset_note(name, offset)
        if _is_unplaced(other) or not first.meta.placed:
            note = f"{name} is taken to lie on {first_name} (equal shapes): one of them does not say where it lies."
            return other.array, None, (note,)
    turn = turn_onto(grid, own)
    if turn is not None:
        note = (
            f"{name} runs along other axes ({own.orientation}) than {first_name} ({grid.orientation}); it was turned."
        )
        return turn.apply(other.array), None, (note,)
    notes = _overlap_notes(first, other, names, case)
    return brought_to(grid, other.array, own), own, notes


def _overlap_notes(first: Volume, other: Volume, names: tuple[str, str], case: str) -> tuple[str, ...]:
    """What there is to say of two channels on grids that overlap.

    Raises:
        OtherGridError: They do not, or one of them does not say where it lies.
    """
    (first_name, name), grid, own = names, first.geometry, other.geometry
    if not (first.meta.placed and other.meta.placed):
        nowhere = name if first.meta.placed else first_name
        raise OtherGridError(
            f"{first_name} and {name} of case {case} have {_sides(grid.shape)} and {_sides(own.shape)} voxels, and "
            f"{nowhere} does not say where it lies in space, so one cannot be brought to the grid of the other. "
            "Export both at one size, or in a format that keeps their place."
        )
    overlap = overlap_of(grid, own)
    places = f"{first_name} lies at {_extent(grid)}, {name} at {_extent(own)}"
    if overlap.of_smaller < LEAST_OVERLAP:
        raise OtherGridError(
            f"{first_name} and {name} of case {case} overlap by {_percent(overlap.of_smaller)} of the smaller one's "
            f"field of view: {places}. Check that both are of one patient and one examination, or register them."
        )
    notes: list[str] = []
    if overlap.of_first < SMALL_OVERLAP:
        notes.append(
            f"{name} covers only {_percent(overlap.of_first)} of {first_name} ({places}); elsewhere it has its "
            "smallest value. Check that both are of one examination."
        )
    frames = {volume.meta.header.get("frame_of_reference", "") for volume in (first, other)} - {""}
    if len(frames) > 1:
        notes.append(
            f"{first_name} and {name} have different frames of reference: they are laid on each other by their "
            "positions alone. Check that they are registered."
        )
    return tuple(notes)


def count_values(array: NDArray[np.integer]) -> dict[int, int]:
    """Value → number of voxels, ascending; quick for a map of values from 0 to 65,535, as files hold them."""
    flat = array.ravel(order="K")
    if array.size and not 0 <= int(array.min()) <= int(array.max()) <= LARGEST_VALUE:
        return {int(value): int(n) for value, n in zip(*np.unique(flat, return_counts=True), strict=True)}
    counts = np.zeros(LARGEST_VALUE + 1, np.int64)
    for start in range(0, flat.size, _CHUNK):
        found = np.bincount(flat[start : start + _CHUNK])
        counts[: found.size] += found
    return {int(value): int(counts[value]) for value in np.flatnonzero(counts)}


def refuse_images(label_map: LabelMap, labels: Labels | None, what: str) -> None:
    """Refuse a map of so many values that it must be an image; work on labels grows with their number, or its square.

    Args:
        label_map: As it was read.
        labels: What is declared; None: nothing.
        what: The map, at the beginning of a sentence: "The reference".

    Raises:
        NotALabelMapError: It holds more than `MOST_VALUES`, and more than twice what is declared or what it names.
    """
    declared = labels or label_map.labels
    most = max(MOST_VALUES, 0 if declared is None else 2 * len(declared.classes))
    if int(label_map.array.max(initial=0)) <= most:
        return
    values = [value for value in count_values(label_map.array) if value != 0]
    if len(values) > most:
        way_out = "" if declared is not None else " If it is a label map, declare its labels in a dataset.json."
        raise NotALabelMapError(
            f"{what} holds {len(values)} different values (from {values[0]} to {values[-1]}): it looks like an image."
            f"{way_out}"
        )


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


def like_a_label_map(volume: Volume, labels: Labels) -> str | None:
    """The warning on an image that holds nothing but values of labels, as a label map does; None for any other."""
    array = volume.array
    values = {0, *(value for each in labels.values.values() for value in each)}
    if array.size == 0 or array.min() < 0 or array.max() > max(values):
        return None
    found = np.unique(array)
    if len(found) < 2 or not set(found.tolist()) <= values:
        return None
    listed = ", ".join(f"{value:g}" for value in found[:_MOST_EXAMPLES]) + (" …" if len(found) > _MOST_EXAMPLES else "")
    return f"It holds only the values {listed}, which are those of the model's labels: is it a label map, and no scan?"


def constant_channels(volume: Volume) -> tuple[int, ...]:
    """The channels that have one value everywhere: nothing can be seen in them."""
    return tuple(c for c, channel in enumerate(volume.array) if channel.min() == channel.max())


def offset_of(grid: Geometry, other: Geometry) -> Offset:
    """How far the corners of two grids of one shape lie apart."""
    voxels = np.abs(grid.to_voxel(other.corners_mm) - grid.to_voxel(grid.corners_mm))
    return Offset(grid.distance_mm(other), float(voxels.max()))


def _offset_note(what: str, offset: Offset) -> tuple[str, ...]:
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


def turn_onto(grid: Geometry, other: Geometry) -> Reorientation | None:
    """The one of 48 turns that lays `other` on `grid`, or None."""
    best: tuple[float, Reorientation] | None = None
    for order, flips in product(permutations(range(3)), product((False, True), repeat=3)):
        turn = Reorientation((order[0], order[1], order[2]), (flips[0], flips[1], flips[2]))
        turned = other.reorient(turn)
        if turned.shape != grid.shape:
            continue
        offset = offset_of(grid, turned)
        if offset.voxels <= MENDED_VOXELS + _HAIR and (best is None or offset.mm < best[0]):
            best = offset.mm, turn
    return None if best is None else best[1]


def _apart(what: str, case: str, grid: Geometry, other: Geometry) -> str:
    shapes = ""
    if grid.shape != other.shape:
        shapes = f" have {_sides(grid.shape)} and {_sides(other.shape)} voxels and"
    offset = offset_of(grid, other)
    return (
        f"{what} of case {case}{shapes} are {offset.mm:.3g} mm apart at a corner; they do not belong together. "
        "Check that both come from one series, or resample one to the grid of the other."
    )


def _extent(grid: Geometry) -> str:
    """From where to where the field of view of a grid reaches, in the axes of the world."""
    edges = grid.to_world(list(product(*((-0.5, n - 0.5) for n in grid.shape))))
    sides = zip("xyz", edges.min(axis=0), edges.max(axis=0), strict=True)
    return ", ".join(f"{axis} {low:.1f} to {high:.1f}" for axis, low, high in sides) + " mm"


def _percent(share: float) -> str:
    """A share as whole percents, without a nought for something.

    >>> _percent(0), _percent(0.004), _percent(0.36)
    ('0 %', 'less than 1 %', '36 %')
    """
    return "less than 1 %" if 0 < share < 0.01 else f"{share:.0%}".replace("%", " %")


def _sides(shape: tuple[int, ...]) -> str:
    return " × ".join(map(str, shape))
