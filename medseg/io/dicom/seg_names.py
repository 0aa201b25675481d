"""The segments of a DICOM SEG: what they are called, and what their codes say that they are.

Segments of one label and one meaning (the nodules of a lung) are one structure; those of one label on two sides are
told apart by the side; of one label and two meanings, nobody knows which is which. Older numbers of SNOMED are given as
those of SNOMED CT. No frame and no voxel is looked at.
"""

from collections import Counter
from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace

from pydicom.dataset import Dataset
from pydicom.sr._snomed_dict import mapping

from medseg.core.errors import InputError
from medseg.core.labels import folded
from medseg.io.chosen import chosen
from medseg.io.codes import Code, Meaning
from medseg.io.dicom.find import Frame, numbers, text
from medseg.io.dicom.misfits import Misfits, UnfitError
from medseg.io.dicom.objects import items
from medseg.io.options import ReadOptions

__all__ = ["Segment", "segments_of"]

_OLD_SNOMED = ("SRT", "SNM3", "99SDM")
"""Schemes of the older numbers of SNOMED ("T-62000" is the liver, 10200004)."""

_BACKGROUND = ("125040", "DCM")
"""The code of what a label map SEG calls background."""


@dataclass(frozen=True)
class Segment:
    """What a segment is called and what it means; `name` is None for background, and for what is not read."""

    number: int
    name: str | None
    meaning: Meaning


def segments_of(
    file: Frame, options: ReadOptions, wanted: Collection[str] | None, misfits: Misfits, *, is_map: bool
) -> tuple[dict[int, Segment], tuple[str, ...]]:
    """The segments by number, with names by which they can be told apart, and notes.

    Two that are read and have one name and different meanings are misfits, and have none.
    """
    found = [_segment(item, n) for n, item in enumerate(items(file.header, "SegmentSequence"), start=1)]
    if not found:
        raise InputError(f"{file.path} declares no segment.")
    notes: list[str] = []
    by_name: dict[str, list[Segment]] = {}
    for segment in found:
        if segment.name is not None:
            by_name.setdefault(folded(segment.name), []).append(segment)
    named = [segment for segment in found if segment.name is None]  # background
    apart = {name: _told_apart(twins) for name, twins in by_name.items()}
    names = [each.name or "" for name, twins in by_name.items() for each in apart[name] or twins]
    kept = chosen(names, file.path, options, wanted)
    for name, twins in by_name.items():
        is_open = apart[name] is None
        if is_open and (twins[0].name or "") in kept:
            with misfits.of(twins[0].name or ""):
                raise UnfitError(_one_name(twins, file), ending="rename one of them where it was drawn")
        is_read = [not is_open and (each.name or "") in kept for each in apart[name] or twins]
        mine = [
            each if read else replace(each, name=None) for each, read in zip(apart[name] or twins, is_read, strict=True)
        ]
        same = Counter(each.name for each in mine if each.name is not None)
        notes += [f"{n} segments called {called} are one structure." for called, n in same.items() if n > 1]
        named += mine
    order = {segment.number: n for n, segment in enumerate(found)}
    if is_map and 0 not in order:
        named.append(Segment(0, None, found[0].meaning))
        order[0] = -1
    segments = {segment.number: segment for segment in sorted(named, key=lambda s: order[s.number])}
    return segments, (*kept.notes, *notes)


def _told_apart(twins: Sequence[Segment]) -> list[Segment] | None:
    """Segments of one label: one structure if they mean the same, else told apart by side; None if they cannot be."""
    first = twins[0]
    if len({_key(segment.meaning) for segment in twins}) == 1:
        return [replace(segment, name=first.name) for segment in twins]
    sided = [replace(s, name=f"{first.name} ({s.meaning.side.meaning.lower()})") for s in twins if s.meaning.side]
    if len(sided) < len(twins) or len({s.name for s in sided}) != len({_key(s.meaning) for s in sided}):
        return None
    return sided


def _one_name(twins: Sequence[Segment], file: Frame) -> str:
    """Why segments of one label cannot be told apart: a sentence."""
    name = twins[0].name or ""
    listed = " and ".join(str(segment.number) for segment in twins[:2])
    return f"{file.path} has two segments called {name} with different codes (numbers {listed})"


def _key(meaning: Meaning) -> tuple[tuple[str, str], ...]:
    return tuple((c.value, c.scheme) for c in (meaning.category, meaning.kind, meaning.side) if c is not None)


def _segment(item: Dataset, place: int) -> Segment:
    number = numbers(item, "SegmentNumber")
    kinds = list(items(item, "SegmentedPropertyTypeCodeSequence"))
    side = next(items(kinds[0], "SegmentedPropertyTypeModifierCodeSequence"), None) if kinds else None
    meaning = Meaning(
        _code(next(items(item, "SegmentedPropertyCategoryCodeSequence"), Dataset())),
        _code(kinds[0] if kinds else Dataset()),
        None if side is None else _code(side),
    )
    number = number or (float(place),)
    name = text(item, "SegmentLabel").strip() or meaning.kind.meaning or f"segment {number[0]:.0f}"
    is_nothing = (meaning.kind.value, meaning.kind.scheme) == _BACKGROUND
    is_nothing |= number[0] == 0 and folded(name) == "background"
    return Segment(int(number[0]), None if is_nothing else name, meaning)


def _code(item: Dataset) -> Code:
    value = next((found for key in ("CodeValue", "LongCodeValue", "URNCodeValue") if (found := text(item, key))), "")
    scheme = text(item, "CodingSchemeDesignator")
    if scheme in _OLD_SNOMED and value in mapping["SRT"]:
        value, scheme = mapping["SRT"][value], "SCT"
    return Code(value, scheme, text(item, "CodeMeaning"))
