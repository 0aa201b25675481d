"""What the values of a pair mean, on both sides the same: where files call structures by name, names are what agrees.

A DICOM SEG, an RTSTRUCT, a segmentation of Slicer's or a folder of masks numbers its structures as it likes. So both
sides are put into one numbering by name (by code first, where codes are specific), and what the reference does not name
was not annotated. Where labels are declared (a data set, `--labels`), that numbering is the declared one; where one
side has only values and nothing is declared, nobody can know which is which. Files are read here, nothing is judged.
"""

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from medseg import io
from medseg.core.errors import InputError, MedsegError, MisfitError, OrphanError
from medseg.core.geometry import Geometry
from medseg.core.labels import Labels, folded, translated, union
from medseg.core.volume import LabelMap
from medseg.data.cases import read_label_map
from medseg.data.dataset import listed
from medseg.evaluate.pairs import Source
from medseg.io.chosen import without
from medseg.io.itksnap import described_labels

__all__ = ["Meant", "agreed", "read_prediction", "read_reference"]

_OWN_NUMBERS = frozenset({"nifti", "mgh", "mha", "png", "tiff", "bmp", "gif"})
"""Kinds of files whose values are those that somebody gave: names beside them say what the values mean."""

_GENERIC = frozenset({"91723000", "123037004", "85756007", "49755003"})
"""Codes that stand for a category ("tissue") where no better was known: many structures have them."""


@dataclass(frozen=True, eq=False)
class Meant:
    """Both sides of a pair in one numbering.

    Attributes:
        reference: The truth.
        predicted: What is judged; None where there is none.
        labels: What the values of this pair mean, where its files say so and nothing is declared; else None.
        annotated: Names that the reference can be judged by; None: all.
    """

    reference: LabelMap
    predicted: LabelMap | None
    labels: Labels | None = None
    annotated: frozenset[str] | None = None


def read_reference(
    source: Source, predicted: Source | None, options: io.ReadOptions, wanted: Collection[str] | None = None
) -> LabelMap:
    """The truth; one without a grid (an RTSTRUCT whose images are not there) on the grid of the prediction.

    Of files that call structures by name, only what is wanted is read; None: all. Then one that does not fit is left
    out, with a note, where the prediction has names and it is none of them.

    Raises:
        InputError: It cannot be read, or nothing says where it lies.
    """
    try:
        return _reference(source, predicted, options, wanted)
    except MisfitError as error:
        known = _names_in(predicted) if wanted is None else None
        if known is None or known & {folded(name) for name in error.names}:
            raise
        return _reference(source, predicted, without(error.names, options), wanted)


def _reference(
    source: Source, predicted: Source | None, options: io.ReadOptions, wanted: Collection[str] | None
) -> LabelMap:
    try:
        return _read(source, options, wanted)
    except OrphanError:
        grid = _grid_of(predicted, options)
        if grid is None or not isinstance(source, Path):
            raise
        return io.read_labels(source, options, grid, wanted)


def _names_in(predicted: Source | None) -> frozenset[str] | None:
    """The structures that a prediction names (folded); None where it has none or does not name them."""
    if isinstance(predicted, LabelMap):
        return None if predicted.labels is None else _folded(predicted.labels)
    if isinstance(predicted, Path) and io.kind_of(predicted) == "dicom":
        return frozenset(folded(name) for each in io.catalogue(predicted).objects for name in each.names)
    return None


def read_prediction(
    source: Source, reference: LabelMap, options: io.ReadOptions, wanted: Collection[str] | None = None
) -> LabelMap:
    """What is judged; a DICOM SEG or RTSTRUCT on the grid of the truth. `wanted` as for `read_reference`.

    Raises:
        InputError: It cannot be read, or does not lie on that grid.
    """
    if isinstance(source, Path):
        return io.read_labels(source, options, reference.geometry, wanted)
    return _read(source, options, wanted)


def agreed(
    reference: LabelMap, predicted: LabelMap | None, sides: tuple[Source | None, Source | None], labels: Labels | None
) -> Meant:
    """Both sides in one numbering.

    Args:
        reference: The truth, as it was read.
        predicted: What is judged, as it was read; None where there is none.
        sides: Where the two came from.
        labels: What is declared; None: nothing.

    Raises:
        InputError: One side has names and the other only values, or no name agrees.
    """
    if labels is not None:
        return _declared(reference, predicted, labels)
    ours, theirs = reference.labels, None if predicted is None else predicted.labels
    if ours is None and theirs is None:
        return Meant(reference, predicted)
    if ours is not None and theirs is None and isinstance(sides[1], Path) and not _has_own_numbers(sides[0]):
        theirs = described_labels(sides[1])
    if predicted is not None and (ours is None or theirs is None):
        named = sides[0] if ours is not None else sides[1]
        if not _has_own_numbers(named):
            raise InputError(_one_sided(reference, predicted))
        return Meant(reference, predicted, ours or theirs)
    if ours is None:
        return Meant(reference, predicted)
    if predicted is None or theirs is None:
        return Meant(reference, predicted, ours, _folded(ours))
    theirs = _by_codes(theirs, _codes(predicted), ours, _codes(reference))
    if not _folded(ours) & _folded(theirs):
        raise InputError(
            f"The prediction holds {listed(theirs.names, 5)}, the reference {listed(ours.names, 5)}: no name agrees. "
            "Call the same structures by the same names."
        )
    both = union([ours, theirs])
    return Meant(_renumbered(reference, ours, both), _renumbered(predicted, theirs, both), both, _folded(ours))


def _declared(reference: LabelMap, predicted: LabelMap | None, labels: Labels) -> Meant:
    """Both sides in the declared numbering; structures that nobody declared become background."""
    annotated = None
    if reference.labels is not None and reference.labels != labels:
        annotated = _annotated(reference.labels, labels)
        if not annotated:
            raise InputError(_no_name_agrees("reference", reference.labels, labels))
        reference = _renumbered(reference, reference.labels, labels)
    if predicted is not None and predicted.labels is not None and predicted.labels != labels:
        if not _annotated(predicted.labels, labels):
            raise InputError(_no_name_agrees("prediction", predicted.labels, labels))
        predicted = _renumbered(predicted, predicted.labels, labels)
    return Meant(reference, predicted, annotated=annotated)


def _annotated(own: Labels, labels: Labels) -> frozenset[str]:
    """The declared names that a file has: by name, and regions by the names of all their parts."""
    known = _folded(own)
    found = {folded(name) for name in labels.names} & known
    for name, values in labels.values.items():
        parts = [{folded(n) for n, v in labels.values.items() if v == (value,)} for value in values]
        if all(part & known for part in parts):
            found.add(folded(name))
    return frozenset(found)


def _renumbered(label_map: LabelMap, own: Labels, labels: Labels) -> LabelMap:
    array = label_map.array if own == labels else translated(label_map.array, own, labels, drop_others=True)
    return LabelMap(array, label_map.geometry, labels, label_map.meta)


def _by_codes(theirs: Labels, their_codes: Mapping[str, Any], ours: Labels, our_codes: Mapping[str, Any]) -> Labels:
    """The predicted labels, those called as the reference calls the structure of the same specific code."""
    name_of = _specific(our_codes, ours)
    renamed = {name: name_of[key] for key, name in _specific(their_codes, theirs).items() if key in name_of}
    names = [renamed.get(name, name) for name in theirs.names]
    if len({folded(name) for name in names}) < len(names):
        return theirs  # a name and a code contradict each other: names count
    return Labels(dict(zip(names, theirs.values.values(), strict=True)), theirs.ignore)


def _specific(codes: Mapping[str, Any], labels: Labels) -> dict[tuple[str, ...], str]:
    """Code → name, of codes that are more than a category and stand for one structure only."""
    found: dict[tuple[str, ...], list[str]] = {}
    for name, meaning in codes.items():
        if name in labels.values and meaning.kind.value and meaning.kind.value not in _GENERIC:
            side = "" if meaning.side is None else meaning.side.value
            found.setdefault((meaning.kind.scheme, meaning.kind.value, side), []).append(name)
    return {key: names[0] for key, names in found.items() if len(names) == 1}


def _codes(label_map: LabelMap) -> Mapping[str, Any]:
    codes: Mapping[str, Any] = label_map.meta.header.get("codes", {})
    return codes


def _folded(labels: Labels) -> frozenset[str]:
    return frozenset(map(folded, labels.names))


def _has_own_numbers(source: Source | None) -> bool:
    return isinstance(source, LabelMap) or (isinstance(source, Path) and io.kind_of(source) in _OWN_NUMBERS)


def _grid_of(source: Source | None, options: io.ReadOptions) -> Geometry | None:
    """The grid of a label map, None if it has none of its own either."""
    if isinstance(source, LabelMap):
        return source.geometry
    try:
        return io.read_geometry(source, options)[0] if isinstance(source, Path) else None
    except MedsegError:
        return None


def _read(source: Source, options: io.ReadOptions, wanted: Collection[str] | None) -> LabelMap:
    if isinstance(source, LabelMap):
        return source
    if isinstance(source, Path):
        return io.read_labels(source, options, wanted=wanted)
    return read_label_map(source.label, options.updated(source.read), source.image, wanted)


def _one_sided(reference: LabelMap, predicted: LabelMap) -> str:
    """A sentence on a pair of which one side has names and the other values."""
    sides = {"reference": reference, "prediction": predicted}
    named = next(side for side, each in sides.items() if each.labels is not None)
    (other,) = sides.keys() - {named}
    labels = sides[named].labels
    names = labels.names if labels is not None else ()
    values = [int(value) for value in np.unique(sides[other].array) if value]
    n = values[0] if len(values) == 1 and len(names) == 1 else "VALUE"
    example = ",".join(f"{name}={n}" for name in names[:3])
    return (
        f"The {named} calls its structures by name ({listed(names, 5)}), the {other} has only values "
        f"({listed([*map(str, values)], 5) or 'none'}): say which is which with --labels {example}."
    )


def _no_name_agrees(side: str, own: Labels, labels: Labels) -> str:
    return (
        f"The {side} holds {listed(own.names, 5)} and none of the labels {listed(labels.names, 5)}. Give --labels the "
        "names that its file has."
    )
