"""Slicer's segmentations (.seg.nrrd): which names, layers and values the header gives the voxels.

Segments that overlap lie in layers; within a layer each has a value of its own. Older files have a layer a segment and
no values. A file may be cut to the box of its segments and say of which larger grid: that is then given back. The
module knows header texts and arrays, no files.
"""

import re
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from medseg.core.errors import InputError
from medseg.core.geometry import Geometry
from medseg.core.labels import Labels, folded
from medseg.core.structures import Structures

__all__ = ["Segment", "composed", "reference_grid", "segments_in"]

_KEY = re.compile(r"Segment(\d+)_(ID|Name|LabelValue|Layer)", re.ASCII)
_OFFSET, _PARAMETERS = "Segmentation_ReferenceImageExtentOffset", "Segmentation_ConversionParameters"
_GEOMETRY = "Reference image geometry|"


@dataclass(frozen=True, slots=True)
class Segment:
    """A name, and the layer and value that stand for it."""

    name: str
    layer: int
    value: int


def segments_in(texts: Mapping[str, str], name: str) -> tuple[Segment, ...]:
    """The segments that a header declares, in its order; none if it is no segmentation of Slicer's.

    Args:
        texts: The `key:=value` pairs.
        name: Of the file, for the sentence.

    Raises:
        InputError: A layer or a value is no whole number.
    """
    found: dict[int, dict[str, str]] = {}
    for key, text in texts.items():
        if match := _KEY.fullmatch(key):
            found.setdefault(int(match[1]), {})[match[2]] = text.strip()
    segments = []
    for place, number in enumerate(sorted(found)):
        said = found[number]
        try:
            # Before there were layers to share, each segment had its own, of 0 and 1.
            layer = int(said.get("Layer", place if "LabelValue" not in said else 0))
            value = int(said.get("LabelValue", 1))
        except ValueError:
            raise InputError(
                f"{name} has a damaged header: segment {number} has no whole number as layer or value."
            ) from None
        segments.append(Segment(said.get("Name") or said.get("ID") or f"segment {number}", layer, value))
    return tuple(segments)


def composed(
    layers: NDArray[Any],
    segments: Sequence[Segment],
    name: str,
    overlaps: str,
    chosen: Collection[str] | None = None,
) -> tuple[NDArray[Any], Labels, tuple[str, ...]]:
    """One label map of layers, its labels, and notes.

    Args:
        layers: (layers, i, j, k), whole numbers.
        segments: What the header declares.
        name: Of the file, for the sentences.
        overlaps: What becomes of voxels of several segments, as for `Structures`.
        chosen: Folded names of the segments to take; None: all. The others are background.

    Raises:
        InputError: A segment lies in a layer that there is not, a voxel belongs to no segment, or segments overlap and
            may not.
    """
    declared = segments
    segments = [segment for segment in segments if chosen is None or folded(segment.name) in chosen]
    spelt: dict[str, str] = {}
    for segment in segments:
        spelt.setdefault(folded(segment.name), segment.name)
        if not 0 <= segment.layer < len(layers):
            raise InputError(
                f"{name} has {len(layers)} layers, counted from 0, and puts the segment '{segment.name}' into layer "
                f"{segment.layer}."
            )
    _refuse_nameless(layers, declared, name)
    notes = [
        f"{n} segments called {spelt[key]} are one structure."
        for key in spelt
        if (n := sum(folded(segment.name) == key for segment in segments)) > 1
    ]
    if len(layers) == 1 and len({segment.value for segment in segments}) == len(segments):
        # Nothing can overlap: the values stay what they are in the file.
        values = {spelt[key]: tuple(s.value for s in segments if folded(s.name) == key) for key in spelt}
        others = [segment.value for segment in declared if segment not in segments]
        array = np.where(np.isin(layers[0], others), layers[0].dtype.type(0), layers[0]) if others else layers[0]
        return array, Labels(values), tuple(notes)
    structures = Structures(layers.shape[1:], spelt.values(), overlaps)
    for segment in segments:
        structures.paint(spelt[folded(segment.name)], layers[segment.layer] == segment.value)
    array, labels = structures.finish()
    return array, labels, tuple(notes)


def _refuse_nameless(layers: NDArray[Any], segments: Sequence[Segment], name: str) -> None:
    for number, layer in enumerate(layers):
        known = [0, *(segment.value for segment in segments if segment.layer == number)]
        values = np.flatnonzero(np.bincount(layer.ravel(order="K")))
        unknown = [int(value) for value in values if value not in known]
        if unknown:
            n = int(np.count_nonzero(layer == unknown[0]))
            raise InputError(f"{name} holds the value {unknown[0]} ({n} voxels), which no segment of its header has.")


def reference_grid(texts: Mapping[str, str], grid: Geometry) -> tuple[Geometry, tuple[int, int, int]] | None:
    """The grid of the image that a segmentation was cut out of, and where in it the voxels begin.

    Only what fits is believed: the part of that grid must lie where the file itself says that it does.
    """
    _, found, rest = texts.get(_PARAMETERS, "").partition(_GEOMETRY)
    try:
        offset = [int(n) for n in texts.get(_OFFSET, "").split()]
        numbers = [float(n) for n in rest.partition("|")[0].strip(";& \t").split(";")] if found else []
        affine, extent = np.reshape(numbers[:16], (4, 4)), [int(n) for n in numbers[16:22]]
        first = extent[0::2]
        shape = [end - start + 1 for start, end in zip(first, extent[1::2], strict=True)]
        start = [a - b for a, b in zip(offset, first, strict=True)]
        affine[:3, 3] += affine[:3, :3] @ first
        whole = Geometry((shape[0], shape[1], shape[2]), affine)
    except (ValueError, IndexError, InputError):
        return None
    stop = [a + n for a, n in zip(start, grid.shape, strict=True)]
    inside = all(a >= 0 and b <= n for a, b, n in zip(start, stop, whole.shape, strict=True))
    if whole.shape == grid.shape or not inside or not whole.crop(start, stop).same_as(grid):
        return None
    return whole, (start[0], start[1], start[2])
