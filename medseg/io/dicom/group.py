"""Which images belong to one stack: the same series, frame of reference, matrix, spacing, orientation and kind.

Scouts (localizers) and a few images of another orientation beside a stack are set aside with a note; where more than
one stack remains, the folder is refused with the list.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from medseg.core.errors import InputError
from medseg.io.dicom.find import Frame, numbers, text

__all__ = ["Stack", "choose_stack", "stacks_of"]

_SAME_SPACING_MM = 1e-4
_SAME_DIRECTION = 1e-3
_FEWEST_OF_A_STACK = 4
"""Fewer images than this beside a stack of the same series, in another orientation, are scouts."""

_SAME_TEXT = (
    *("SeriesInstanceUID", "FrameOfReferenceUID", "SOPClassUID", "Rows", "Columns"),
    *("SamplesPerPixel", "PhotometricInterpretation"),
)
"""Not the StudyInstanceUID: a series has one already, and some anonymisers give each file a study of its own."""

_SAME_NUMBERS = (
    ("PixelSpacing", 2, _SAME_SPACING_MM),
    ("ImageOrientationPatient", 6, _SAME_DIRECTION),
)


@dataclass(eq=False)
class Stack:
    """Images that could be slices of one volume, in no order yet."""

    files: list[Frame] = field(default_factory=list)

    @property
    def first(self) -> Frame:
        return self.files[0]

    @property
    def series(self) -> str:
        return text(self.first.header, "SeriesInstanceUID")

    @property
    def number(self) -> str:
        """What the sentences call the series: its number, else the end of its UID."""
        return text(self.first.header, "SeriesNumber") or f"…{self.series[-8:]}"

    @property
    def description(self) -> str:
        header = self.first.header
        modality, columns, rows = (text(header, key) for key in ("Modality", "Columns", "Rows"))
        return f"series {self.number}: {len(self.files)} {modality} images of {columns} × {rows}, {self.series}"

    def holds(self, file: Frame) -> bool:
        """Whether a file fits to the images that are here."""
        mine, other = self.first.header, file.header
        if any(text(mine, key) != text(other, key) for key in _SAME_TEXT) or _kind(self.first) != _kind(file):
            return False
        return all(
            _close(numbers(mine, key, n), numbers(other, key, n), tolerance) for key, n, tolerance in _SAME_NUMBERS
        )


def choose_stack(files: Sequence[Frame], path: Path, series: str | None) -> tuple[Stack, tuple[str, ...]]:
    """The one stack under `path` (of the chosen series), and notes on what was set aside.

    Args:
        files: All images that were found.
        path: Where, for the sentences.
        series: SeriesInstanceUID or SeriesNumber of the series to take; None if there is one only.

    Raises:
        InputError: No stack or more than one remains.
    """
    chosen = [file for file in files if series is None or series in _names(file)]
    if not chosen:
        listed = "; ".join(stack.description for stack in stacks_of(files)[:8])
        raise InputError(f"{path} holds no series {series}. There are: {listed}.")
    scouts = [file for file in chosen if "LOCALIZER" in _image_type(file)]
    stacks = stacks_of([file for file in chosen if file not in scouts])
    if not stacks:
        raise InputError(f"{path} holds {len(scouts)} localizer images (scouts) and no volume.")
    notes: tuple[str, ...] = (f"{len(scouts)} localizer images were left aside.",) if scouts else ()
    if len(stacks) > 1:
        stacks, further = _without_strays(stacks)
        notes += further
    if len(stacks) > 1:
        raise InputError(_several(stacks, path))
    return stacks[0], notes


def stacks_of(files: Sequence[Frame]) -> list[Stack]:
    """Images sorted into stacks, in the order in which their first ones come."""
    stacks: list[Stack] = []
    for file in files:
        home = next((stack for stack in stacks if stack.holds(file)), None)
        if home is None:
            stacks.append(home := Stack())
        home.files.append(file)
    return stacks


def _without_strays(stacks: list[Stack]) -> tuple[list[Stack], tuple[str, ...]]:
    """Only the large stack, if all others are a few images of its series in another orientation."""
    large = [stack for stack in stacks if len(stack.files) >= _FEWEST_OF_A_STACK]
    if len(large) != 1:
        return stacks, ()
    main = large[0]
    axes = numbers(main.first.header, "ImageOrientationPatient", 6)
    for stack in stacks:
        others_axes = numbers(stack.first.header, "ImageOrientationPatient", 6)
        if stack is not main and (stack.series != main.series or _close(axes, others_axes, _SAME_DIRECTION)):
            return stacks, ()
    n_strays = sum(len(stack.files) for stack in stacks if stack is not main)
    return large, (f"{n_strays} images of another orientation in series {main.number} were left aside.",)


def _several(stacks: Sequence[Stack], path: Path) -> str:
    listed = "; ".join(stack.description for stack in stacks[:8])
    if len({stack.series for stack in stacks}) > 1:
        return f"{path} holds {len(stacks)} image series or stacks ({listed}); choose one with --read series=UID."
    differing = [key for key, *_ in _SAME_NUMBERS if len({text(s.first.header, key) for s in stacks}) > 1]
    differing += [key for key in (*_SAME_TEXT, "ImageType") if len({text(s.first.header, key) for s in stacks}) > 1]
    return (
        f"Series {stacks[0].number} in {path} holds {len(stacks)} different stacks (they differ in "
        f"{', '.join(differing)}); put the files of one of them in a folder of its own."
    )


def _names(file: Frame) -> tuple[str, str]:
    return text(file.header, "SeriesInstanceUID"), text(file.header, "SeriesNumber")


def _image_type(file: Frame) -> list[str]:
    return text(file.header, "ImageType").split("\\")


def _kind(file: Frame) -> list[str]:
    """ImageType without the words of vendors, from the third on."""
    return _image_type(file)[:2]


def _close(mine: tuple[float, ...] | None, other: tuple[float, ...] | None, tolerance: float) -> bool:
    if mine is None or other is None:
        return mine is other
    return bool(np.allclose(mine, other, rtol=0, atol=tolerance))
