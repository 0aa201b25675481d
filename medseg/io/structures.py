"""One mask a structure → one label map: what TotalSegmentator, Slicer and many hospitals keep as a folder of files.

Structures may overlap; what becomes of that is `--read overlaps=…`. Masks are read one after the other into one array
of numbers, so that a hundred of them need the memory of two.
"""

from collections.abc import Collection, Mapping
from dataclasses import replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from medseg.core.errors import InputError
from medseg.core.labels import folded
from medseg.core.structures import Structures
from medseg.core.volume import LabelMap, Meta
from medseg.io.chosen import NOT_ASKED_FOR, chosen
from medseg.io.door import read_labels
from medseg.io.options import ReadOptions

__all__ = ["read_structures"]


def read_structures(
    masks: Mapping[str, Path],
    options: ReadOptions | None = None,
    image: Path | str | None = None,
    wanted: Collection[str] | None = None,
) -> LabelMap:
    """The label map of structures that lie in files of their own, with their names.

    A file without names is the mask of its structure wherever it is not 0. Of a file with names (DICOM SEG, RTSTRUCT)
    the structure of that name is taken, or the only one that it has.

    Args:
        masks: Name of a structure → its file; at least one.
        options: How files are read.
        image: What they were drawn on, as for `read_labels`.
        wanted: Names of the structures that are asked for: files of others are not opened. None: all.

    Raises:
        UsageError: A file does not exist.
        InputError: The options leave no structure; a file cannot be read, is no mask of one structure, or lies on
            another grid than the first.
    """
    options = options or ReadOptions()
    composed: Structures | None = None
    masks, notes = _chosen(masks, options, wanted)
    warnings = [*notes]
    for name, path in masks.items():
        label_map = read_labels(path, replace(options, structures=None), image, (name,))
        if composed is None:
            first_path, first = path, label_map
            composed = Structures(first.geometry.shape, masks, options.overlaps)
        _refuse_other_grid(first, first_path, label_map, path)
        composed.paint(name, _mask_of(label_map, name, path))
        warnings += [note for note in label_map.meta.warnings if not note.startswith(NOT_ASKED_FOR)]
    if composed is None:
        raise InputError("A label map of structures needs the mask of at least one.")
    array, labels = composed.finish()
    meta = Meta(first.meta.kind, first.meta.placed, warnings=tuple(dict.fromkeys(warnings)))
    return LabelMap(array, first.geometry, labels, meta)


def _chosen(
    masks: Mapping[str, Path], options: ReadOptions, wanted: Collection[str] | None
) -> tuple[Mapping[str, Path], tuple[str, ...]]:
    """The masks that are read, and notes: their names are those of the data set, whatever the files call them."""
    if not masks:
        return masks, ()
    names = chosen(list(masks), next(iter(masks.values())).parent, options, wanted)
    return {name: path for name, path in masks.items() if name in names}, names.notes


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
    alike = [each for each in labels.names if folded(each) == folded(name)]
    if len(alike) != 1:
        raise InputError(f"{path} holds {', '.join(labels.names)}, and none of them is called '{name}'.")
    return labels.mask(label_map.array, alike[0])


def _refuse_other_grid(first: LabelMap, first_path: Path, other: LabelMap, path: Path) -> None:
    grid, wanted = other.geometry, first.geometry
    if grid.shape != wanted.shape:
        raise InputError(
            f"{path} has {_sides(grid.shape)} voxels and {first_path} has {_sides(wanted.shape)}: "
            "the masks of a case lie on one grid."
        )
    if not grid.same_as(wanted):
        raise InputError(
            f"{path} and {first_path} are {wanted.distance_mm(grid):.3g} mm apart at a corner: "
            "the masks of a case lie on one grid."
        )


def _sides(shape: tuple[int, ...]) -> str:
    return " × ".join(map(str, shape))
