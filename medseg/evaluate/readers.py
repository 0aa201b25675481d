"""Several readers of one case: the map that they agree on, and how far they agree with each other.

A *consensus* is STAPLE (an estimate of the hidden truth that weighs readers by their reliability) or the majority of
votes, both by SimpleITK. Where readers disagree so that no label wins, a voxel is background, and counted. Readers lie
on one grid; a map on another is refused by the name of its reader. No file is read here.

Sources: Warfield 2004 (STAPLE), Rohlfing 2003 (its form for several labels).
"""

from collections.abc import Mapping, Sequence
from itertools import combinations
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from medseg.core.errors import InputError, UsageError
from medseg.core.labels import Labels, translated, union
from medseg.core.volume import LabelMap
from medseg.data.dataset import listed
from medseg.metrics import Confusion, confusion
from medseg.metrics.boxes import Box, boxes_of, grown
from medseg.metrics.boxes import union as boxes_union

__all__ = ["ConsensusName", "agreement", "consensus", "in_one_numbering"]

ConsensusName = Literal["staple", "majority"]


def consensus(maps: Mapping[str, LabelMap], how: ConsensusName) -> tuple[LabelMap, tuple[str, ...]]:
    """The map that several readers agree on, on the grid of the first, and a sentence on what was undecided.

    Args:
        maps: By reader, in order; labels mean the same in all of them.
        how: "staple" or "majority".

    Raises:
        UsageError: There are fewer than two readers.
        InputError: A map lies on another grid than the first reader's.
    """
    if len(maps) < 2:
        raise UsageError("A consensus needs at least two readers.")
    first = next(iter(maps.values()))
    _refuse_other_grids(maps)
    array = np.zeros(first.array.shape, np.uint16)
    box = _box(list(maps.values()))
    notes: tuple[str, ...] = ()
    if box is not None:
        decided, n_undecided = _decided([each.array[box] for each in maps.values()], how)
        array[box] = decided
        if n_undecided:
            notes = (f"Of {n_undecided} voxels the readers' consensus ({how}) is undecided; they count as background.",)
    return LabelMap(array, first.geometry, first.labels, first.meta), notes


def in_one_numbering(maps: Mapping[str, LabelMap]) -> dict[str, LabelMap]:
    """The maps with values that mean the same, by name where all of them have names.

    Raises:
        InputError: Some have names and some have only values.
    """
    named = {name: each.labels for name, each in maps.items() if each.labels is not None}
    if not named:
        return dict(maps)
    if len(named) < len(maps):
        nameless = listed([name for name in maps if name not in named])
        raise InputError(f"The maps of {nameless} have only values, those of {listed(named)} have names.")
    target = union(named.values())
    return {
        name: LabelMap(translated(each.array, named[name], target), each.geometry, target, each.meta)
        for name, each in maps.items()
    }


def agreement(maps: Mapping[str, LabelMap], labels: Labels) -> dict[tuple[str, str], dict[str, float]]:
    """Dice of every pair of readers in every label; a pair in which neither has the label is left out (undefined)."""
    found: dict[tuple[str, str], dict[str, float]] = {}
    for (one, ours), (other, theirs) in combinations(maps.items(), 2):
        judged = ours.array
        if labels.ignore is not None:  # what either of them leaves open is nobody's
            judged = np.where(theirs.array == labels.ignore, theirs.array, judged)
        counted: Confusion = confusion(judged, theirs.array, ignore=labels.ignore)
        dice = {name: counted.overlap(values).dice for name, values in labels.values.items()}
        found[one, other] = {name: value for name, value in dice.items() if not np.isnan(value)}
    return found


def _refuse_other_grids(maps: Mapping[str, LabelMap]) -> None:
    (name, first), *others = maps.items()
    for other, label_map in others:
        same = label_map.geometry.same_as(first.geometry)
        if label_map.array.shape != first.array.shape or (first.meta.placed and label_map.meta.placed and not same):
            raise InputError(
                f"The maps of the readers {name} and {other} lie on different grids; resample one of them."
            )


def _box(maps: Sequence[LabelMap]) -> Box | None:
    """The box of everything that any reader labelled, and a voxel around it.

    Also what STAPLE sees: of a whole image it would learn that nearly all voxels are background.
    """
    boxes = [box for each in maps for box in boxes_of(each.array).values()]
    return grown(boxes_union(boxes), (1, 1, 1), maps[0].array.shape) if boxes else None


def _decided(arrays: Sequence[NDArray[np.integer]], how: ConsensusName) -> tuple[NDArray[np.uint16], int]:
    import SimpleITK as sitk  # noqa: N813  its users' name

    undecided = int(max(int(array.max()) for array in arrays)) + 1
    images = [sitk.GetImageFromArray(np.ascontiguousarray(array.astype(np.uint16))) for array in arrays]
    filters: Mapping[str, Any] = {"staple": sitk.MultiLabelSTAPLEImageFilter, "majority": sitk.LabelVotingImageFilter}
    combine = filters[how]()
    combine.SetLabelForUndecidedPixels(undecided)
    array = sitk.GetArrayFromImage(combine.Execute(images)).astype(np.uint16)
    is_undecided = array == undecided
    array[is_undecided] = 0
    return array, int(is_undecided.sum())
