"""One mask a structure → one label map: what TotalSegmentator, Slicer and many hospitals keep as a folder of files.

Structures may overlap: a voxel takes a value that stands for all structures that hold it. A structure's own value is
its place in the order of names (from 1); combinations that occur follow, in the order in which they are met. Masks are
read one after the other into one array of numbers, so that a hundred of them need the memory of two.
"""

from collections.abc import Mapping
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from medseg.core.errors import InputError
from medseg.core.labels import LARGEST_VALUE, Labels
from medseg.core.volume import LabelMap, Meta
from medseg.io.door import read_labels
from medseg.io.options import ReadOptions

__all__ = ["read_structures"]


def read_structures(
    masks: Mapping[str, Path], options: ReadOptions | None = None, image: Path | str | None = None
) -> LabelMap:
    """The label map of structures that lie in files of their own, with their names.

    A file without names is the mask of its structure wherever it is not 0. Of a file with names (DICOM SEG, RTSTRUCT)
    the structure of that name is taken, or the only one that it has.

    Args:
        masks: Name of a structure → its file; at least one.
        options: How files are read.
        image: What they were drawn on, as for `read_labels`.

    Raises:
        UsageError: A file does not exist.
        InputError: A file cannot be read, is no mask of one structure, or lies on another grid than the first.
    """
    composed: _Composed | None = None
    for number, (name, path) in enumerate(masks.items(), start=1):
        label_map = read_labels(path, options, image)
        mask = _mask_of(label_map, name, path)
        if composed is None:
            composed = _Composed(label_map, path, tuple(masks))
        composed.refuse_other_grid(label_map, path)
        composed.add(number, mask)
    if composed is None:
        raise InputError("A label map of structures needs the mask of at least one.")
    return composed.label_map()


class _Composed:
    """The label map while it grows: an array of values, and the structures that each value stands for."""

    def __init__(self, first: LabelMap, path: Path, names: tuple[str, ...]) -> None:
        self._names = names
        self._first, self._path = first, path
        self._array: NDArray[np.uint16] = np.zeros(first.array.shape, np.uint16)
        self._members: list[tuple[int, ...]] = [(), *((number,) for number in range(1, len(names) + 1))]
        self._value_of = {members: value for value, members in enumerate(self._members)}
        self._warnings: list[str] = []

    def refuse_other_grid(self, label_map: LabelMap, path: Path) -> None:
        grid, first = label_map.geometry, self._first.geometry
        self._warnings += label_map.meta.warnings
        if grid.shape != first.shape:
            raise InputError(
                f"{path} has {_sides(grid.shape)} voxels and {self._path} has {_sides(first.shape)}: "
                "the masks of a case lie on one grid."
            )
        if not grid.same_as(first):
            raise InputError(
                f"{path} and {self._path} are {first.distance_mm(grid):.3g} mm apart at a corner: "
                "the masks of a case lie on one grid."
            )

    def add(self, number: int, mask: NDArray[np.bool_]) -> None:
        """Let structure `number` (from 1) hold the voxels of `mask` too."""
        there = self._array[mask]
        table = np.zeros(len(self._members), np.uint16)
        for value in np.flatnonzero(np.bincount(there, minlength=1)):
            table[value] = self._value((*self._members[value], number))
        self._array[mask] = table[there]

    def label_map(self) -> LabelMap:
        values = {
            name: tuple(value for value, members in enumerate(self._members) if number in members)
            for number, name in enumerate(self._names, start=1)
        }
        array = self._array.astype(np.uint8) if len(self._members) <= 256 else self._array
        first = self._first
        meta = Meta(first.meta.kind, first.meta.placed, warnings=tuple(dict.fromkeys(self._warnings)))
        return LabelMap(array, first.geometry, Labels(values), meta)

    def _value(self, members: tuple[int, ...]) -> int:
        value = self._value_of.get(members)
        if value is None:
            value = self._value_of[members] = len(self._members)
            if value > LARGEST_VALUE:
                raise InputError(
                    f"The structures beside {self._path} overlap in more than {LARGEST_VALUE} combinations; "
                    "leave some of them out."
                )
            self._members.append(members)
        return value


def _mask_of(label_map: LabelMap, name: str, path: Path) -> NDArray[np.bool_]:
    """Where the file holds the structure."""
    labels = label_map.labels
    if labels is None:
        mask = np.asarray(label_map.array != 0)
        # Counted, not sorted: a large mask would take seconds.
        if np.count_nonzero(label_map.array == label_map.array.max()) < np.count_nonzero(mask):
            values = np.unique(label_map.array[mask])
            raise InputError(
                f"{path} is the mask of '{name}' and should hold one value beside 0, but holds {values.size} "
                f"({', '.join(map(str, values[:5]))}{', …' if values.size > 5 else ''}). "
                "If it is a label map, give it as the only label of its case."
            )
        return mask
    if len(labels.names) == 1:
        return labels.mask(label_map.array, labels.names[0])
    alike = [each for each in labels.names if each == name] or [
        each for each in labels.names if each.strip().casefold() == name.strip().casefold()
    ]
    if len(alike) != 1:
        raise InputError(f"{path} holds {', '.join(labels.names)}, and none of them alone is called '{name}'.")
    return labels.mask(label_map.array, alike[0])


def _sides(shape: tuple[int, ...]) -> str:
    return " × ".join(map(str, shape))
