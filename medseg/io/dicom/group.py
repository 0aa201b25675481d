"""Which images belong to one stack: the same series, frame of reference, matrix, spacing, orientation and kind.

Scouts (localizers, surveys), a few images of another orientation beside a stack, and pictures that lie nowhere are set
aside with a note; where more than one stack remains, the sentence lists them and says what would choose one.
"""

import re
from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import TypeAlias

import numpy as np

from medseg.core.errors import InputError
from medseg.io.dicom.find import Frame, numbers, text
from medseg.io.dicom.select import selected, value_of
from medseg.io.dicom.words import counted, few, left_aside
from medseg.io.options import ReadOptions

__all__ = ["Stack", "choose_stack", "is_localizer", "is_scout", "of_series", "stacks_of"]

_SAME_SPACING_MM = 1e-4
_SAME_DIRECTION = 1e-3
_FEWEST_OF_A_STACK = 4
"""Fewer images than this beside a stack of the same series, in another orientation, are scouts."""

_SURVEY_WORDS = re.compile(
    r"survey|surview|scout|locali[sz]er|topogram|pilot|plan[ -]?scan|(3|three)[ _-]?(plane|pl)\b|tri[ _-]?plan", re.I
)
"""What scanners and people call series that only serve to plan others."""

_SPARSE_SHARE = 1.4
"""Slices further apart than so many thicknesses leave much between them unseen; usual gaps are up to 30 %."""

_SPARSE_MM = 10.0
"""The same where no thickness is told."""

_SMALL_STACK = 12
"""Surveys have up to so many images in a plane."""

_SAME_TEXT = (
    *("FrameOfReferenceUID", "SOPClassUID", "Rows", "Columns", "SamplesPerPixel"),
    *("PhotometricInterpretation", "StackID", "PatientID"),
)
"""Not the StudyInstanceUID: a series has one already, and some anonymisers give each file a study of its own."""

_LOST_TOO = frozenset({"FrameOfReferenceUID", "SOPClassUID", "StackID"})
"""What need not agree where the series' own UIDs do not."""

_SAME_NUMBERS = (
    ("PixelSpacing", 2, _SAME_SPACING_MM),
    ("ImagerPixelSpacing", 2, _SAME_SPACING_MM),
    ("ImageOrientationPatient", 6, _SAME_DIRECTION),
)

_SELECTABLE = ("Rows", "Columns", "StackID", "PixelSpacing", "ImageType", "ImageOrientationPatient")
"""What may tell the stacks of a series apart in `--read select=`, the handiest first."""

_DIFFERING = (*(key for key, *_ in _SAME_NUMBERS), "SeriesInstanceUID", *_SAME_TEXT, "ImageType")

_NO_NOTES: tuple[str, ...] = ()

_FEW = 8
"""How many series a sentence lists."""

_Marks: TypeAlias = tuple[tuple[str, ...], tuple[tuple[float, ...] | None, ...]]


@dataclass(eq=False)
class Stack:
    """Images that could be slices of one volume, in no order yet."""

    files: list[Frame] = field(default_factory=list)

    @property
    def first(self) -> Frame:
        return self.files[0]

    @cached_property
    def series(self) -> str:
        return self.first.series

    @property
    def modality(self) -> str:
        return text(self.first.header, "Modality")

    @property
    def number(self) -> str:
        """What the sentences call the series: its number, else the end of its UID."""
        number = text(self.first.header, "SeriesNumber")
        return number if number.lstrip("-").isdecimal() else f"…{self.series[-8:]}"

    @property
    def may_be_a_volume(self) -> bool:
        """Whether there are several images that lie somewhere."""
        header = self.first.header
        lies = all(text(header, key) for key in ("ImagePositionPatient", "ImageOrientationPatient"))
        return lies and len(self.files) > 1


def of_series(files: Sequence[Frame], path: Path, options: ReadOptions) -> list[Frame]:
    """The images of the series and the modality that the options name.

    Raises:
        InputError: There are none.
    """
    wanted = options.modalities
    chosen = [file for file in files if not wanted or text(file.header, "Modality").upper() in wanted]
    if not chosen:
        there = ", ".join(sorted({text(file.header, "Modality") for file in files}))
        raise InputError(f"{path} holds no images of modality {' or '.join(wanted)}; there are {there}.")
    of_modality = chosen
    chosen = [f for f in chosen if not options.series or any(word in _names(f) for word in options.wanted_series)]
    if not chosen:
        raise InputError(f"{path} holds no series {options.series}. There are: {_listed(stacks_of(of_modality))}.")
    whole = {file.joined for file in chosen} - {""}  # one slice's own UID stands for all that it was joined with
    return [file for file in of_modality if file in chosen or file.joined in whole]


def choose_stack(files: Sequence[Frame], path: Path, options: ReadOptions) -> tuple[Stack, tuple[str, ...]]:
    """The one stack of images from `path`, with the attributes that are selected, and notes on what was set aside.

    Raises:
        InputError: No stack or more than one remains.
    """
    chosen, notes = list(files), _NO_NOTES
    if options.select is not None:
        chosen = selected(chosen, options.select)
        n_aside = len(files) - len(chosen)
        notes = (left_aside(n_aside, "image", f" other than {options.select}"),) if n_aside else ()
    scouts = [file for file in chosen if is_localizer(file)]
    stacks = stacks_of(file for file in chosen if not is_localizer(file))
    if not stacks:
        raise InputError(f"{path} holds {counted(len(scouts), 'localizer image')} (scouts) and no volume.")
    notes += (left_aside(len(scouts), "localizer image"),) if scouts else ()
    stacks, further = _without_surveys(stacks)
    notes += further
    stacks, further = _without_strays(stacks)
    notes += further
    if len(stacks) > 1:
        stacks, further = _only_volume(stacks)
        notes += further
    if len(stacks) > 1:
        raise InputError(_several(stacks, path))
    return stacks[0], notes


def is_scout(files: Sequence[Frame]) -> bool:
    """Whether the images of one series are a scout: localizers all, or the planes of a survey."""
    stacks = stacks_of(file for file in files if not is_localizer(file))
    return not stacks or _is_survey(stacks)


def stacks_of(files: Iterable[Frame]) -> list[Stack]:
    """Images sorted into stacks, in the order in which their first ones come."""
    alike: dict[tuple[str, ...], list[tuple[_Marks, Stack]]] = defaultdict(list)
    stacks: list[Stack] = []
    for file in files:
        marks = _marks(file)
        homes = alike[marks[0]]
        home = next((stack for others, stack in homes if _fit(marks[1], others[1])), None)
        if home is None:
            stacks.append(home := Stack())
            homes.append((marks, home))
        home.files.append(file)
    return stacks


def _is_survey(stacks: Sequence[Stack]) -> bool:
    """Whether the stacks of one series are the planes of a survey and no volume with a few images beside it.

    Some vendors never write LOCALIZER. A survey has few images in each of several planes, further apart than they are
    thick, or says what it is; a volume with its scout has many, and one or two in another plane.
    """
    main = _largest(stacks)
    others = _strays(stacks, main)
    if not others or len(main.files) > _SMALL_STACK:
        return False
    is_balanced = len(others) > 1 and 2 * _n_images(others) >= len(main.files)
    is_alone = max(len(other.files) for other in others) < _FEWEST_OF_A_STACK <= len(main.files)
    return (is_balanced and is_alone) or _is_sparse(main) or _calls_itself_survey(main)


def _calls_itself_survey(stack: Stack) -> bool:
    words = (text(stack.first.header, key) for key in ("SeriesDescription", "ProtocolName"))
    return any(_SURVEY_WORDS.search(word) for word in words)


def _largest(stacks: Sequence[Stack]) -> Stack:
    return max(stacks, key=lambda stack: len(stack.files))


def _is_sparse(stack: Stack) -> bool:
    """Whether slices lie much further apart than they are thick."""
    step_mm = _usual_distance_mm(stack)
    thickness = numbers(stack.first.header, "SliceThickness")
    return step_mm > (_SPARSE_SHARE * thickness[0] if thickness and thickness[0] > 0 else _SPARSE_MM)


def _usual_distance_mm(stack: Stack) -> float:
    """The median distance of neighbours along the normal of the first image, 0 where they say no positions."""
    cosines = numbers(stack.first.header, "ImageOrientationPatient", 6)
    positions = [numbers(file.header, "ImagePositionPatient", 3) for file in stack.files]
    told = np.array([position for position in positions if position is not None])
    if cosines is None or len(told) < 2:
        return 0.0
    along = np.unique(np.round(told @ np.cross(cosines[:3], cosines[3:]), 3))
    return float(np.median(np.diff(along))) if len(along) > 1 else 0.0


def _strays(stacks: Sequence[Stack], main: Stack) -> list[Stack]:
    """The other stacks of a series if all of them have another orientation than the main one, else none."""
    others = [stack for stack in stacks if stack is not main]
    return others if all(_is_turned(other, main) for other in others) else []


def _without_surveys(stacks: list[Stack]) -> tuple[list[Stack], tuple[str, ...]]:
    """Without series that are surveys, where other series are there."""
    by_series = _by_series(stacks)
    surveys = {series: mine for series, mine in by_series.items() if _is_survey(mine)}
    if len(surveys) == len(by_series):
        return stacks, ()
    notes = tuple(
        left_aside(_n_images(mine), "image", f" of a survey (scout), series {mine[0].number},")
        for mine in surveys.values()
    )
    return [stack for stack in stacks if stack.series not in surveys], notes


def _without_strays(stacks: list[Stack]) -> tuple[list[Stack], tuple[str, ...]]:
    """Without the few images of another orientation beside the one large stack of their series."""
    kept, notes = [], []
    for mine in _by_series(stacks).values():
        large = [stack for stack in mine if len(stack.files) >= _FEWEST_OF_A_STACK]
        strays = _strays(mine, large[0]) if len(large) == 1 and not _is_survey(mine) else []
        if strays:
            notes.append(left_aside(_n_images(strays), "image", f" of another orientation in series {large[0].number}"))
        kept += large if strays else mine
    return kept, tuple(notes)


def _is_turned(stack: Stack, main: Stack) -> bool:
    mine, other = (numbers(s.first.header, "ImageOrientationPatient", 6) for s in (stack, main))
    return mine is not None and other is not None and not _close(mine, other, _SAME_DIRECTION)


def _only_volume(stacks: list[Stack]) -> tuple[list[Stack], tuple[str, ...]]:
    """Only the series that may be a volume, if there is one: beside it are single images and pictures without place."""
    volumes = [stack for stack in stacks if stack.may_be_a_volume]
    if len(volumes) != 1 or any(stack.series == volumes[0].series for stack in stacks if stack is not volumes[0]):
        return stacks, ()
    aside = _listed([stack for stack in stacks if stack is not volumes[0]])
    return volumes, (f"Series {volumes[0].number} is the only volume; left aside: {aside}.",)


def _several(stacks: Sequence[Stack], path: Path) -> str:
    series = _by_series(stacks)
    if len(series) == 1:
        return _several_in_series(stacks, path)
    largest = max(series.values(), key=_n_images)[0]
    modalities = Counter(of_series[0].modality for of_series in series.values())
    single = next((modality for modality, n in modalities.items() if n == 1 and modality), None)
    advice = f" or --read modality={single}" if single else ""
    return (
        f"{path} holds {len(series)} image series ({_listed(stacks)}); "
        f"choose one with --read series={largest.series or largest.number}{advice}."
    )


def _several_in_series(stacks: Sequence[Stack], path: Path) -> str:
    """Stacks of one series: what they differ in, and what would choose the largest of them."""
    values = {key: [value_of(stack.first, key) for stack in stacks] for key in _DIFFERING}
    differing = [key for key, found in values.items() if len(set(found)) > 1]
    largest, is_survey = _largest(stacks), _is_survey(stacks)
    is_turned = {"ImageOrientationPatient"} <= set(differing) <= {"ImageOrientationPatient", "StackID", "ImageType"}
    what = (
        "orientations of slices"
        if is_turned
        else f"different stacks (they differ in {', '.join(differing) or 'their folders'})"
    )
    sizes = few([str(len(stack.files)) for stack in stacks], _FEW)
    holds = f"Series {stacks[0].number} in {path} holds {len(stacks)} {what}, of {sizes} images"
    if is_survey:
        apart_mm = _usual_distance_mm(largest)
        holds += f"{f' ({apart_mm:.3g} mm apart)' if apart_mm else ''}: it is a survey (scout) and no volume"
    if len(largest.files) == 1:
        return f"{holds}." if is_survey else f"{holds}; this cannot be a volume."
    telling = next((key for key in _SELECTABLE if len(set(values[key])) == len(stacks)), None)
    if telling is None:
        return f"{holds}; put the files of one of them in a folder of its own."
    verb = "take" if is_survey else "choose"
    return f"{holds}; {verb} one with --read select={telling}={value_of(largest.first, telling)}."


def _by_series(stacks: Sequence[Stack]) -> dict[str, list[Stack]]:
    series: dict[str, list[Stack]] = {}
    for stack in stacks:
        series.setdefault(stack.series, []).append(stack)
    return series


def _n_images(stacks: Sequence[Stack]) -> int:
    return sum(len(stack.files) for stack in stacks)


def _listed(stacks: Sequence[Stack]) -> str:
    return few([_description(of_series) for of_series in _by_series(stacks).values()], _FEW, "; ")


def _description(stacks: Sequence[Stack]) -> str:
    """A series in a list."""
    first = stacks[0]
    images = counted(_n_images(stacks), f"{first.modality} image".strip())
    columns, rows = (text(first.first.header, key) for key in ("Columns", "Rows"))
    size = f" of {columns} × {rows}" if len(stacks) == 1 else f" in {len(stacks)} stacks"
    return f"series {first.number}: {images}{size}, {first.series or 'without a UID'}"


def _names(file: Frame) -> tuple[str, str, str]:
    return file.series, text(file.header, "SeriesInstanceUID"), text(file.header, "SeriesNumber")


def is_localizer(file: Frame) -> bool:
    """Whether an image says that it is a scout."""
    return "LOCALIZER" in _image_type(file)


def _image_type(file: Frame) -> list[str]:
    return text(file.header, "ImageType").split("\\")


def _marks(file: Frame) -> _Marks:
    """What must be equal and what must be close for two images to belong together.

    Of ImageType the first two words count: the others are vendors', or tell the volumes of a 4-D series apart. Files
    that do not say which series they are of belong together if they lie together.
    """
    texts = tuple("" if file.joined and key in _LOST_TOO else text(file.header, key) for key in _SAME_TEXT)
    folder = "" if file.series else str(file.path.parent)
    equal = (file.series, *texts, folder, *_image_type(file)[:2])
    return equal, tuple(numbers(file.header, key, n) for key, n, _ in _SAME_NUMBERS)


def _fit(mine: Sequence[tuple[float, ...] | None], other: Sequence[tuple[float, ...] | None]) -> bool:
    return all(_close(a, b, tolerance) for a, b, (*_, tolerance) in zip(mine, other, _SAME_NUMBERS, strict=True))


def _close(mine: tuple[float, ...] | None, other: tuple[float, ...] | None, tolerance: float) -> bool:
    if mine is None or other is None:
        return mine is other
    return bool(np.abs(np.subtract(mine, other)).max() <= tolerance)
