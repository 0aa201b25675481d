"""Slices that have a series each, though they are one: some scanners and anonymisers give every file a UID of its own.

Series of a single image are taken for one where the patient, the study (or the frame of reference), the protocol and
the pixels agree and the slices make one stack on one line, evenly spaced but for missing ones. `--read join=always`
asks for the patient, the modality and the pixels alone, `join=never` takes every UID at its word. Of files that hold
several images, and of scouts, the UID always counts.
"""

from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace

from medseg.core.errors import InputError
from medseg.io.dicom.find import Frame, numbers, text
from medseg.io.dicom.group import Stack, is_localizer, stacks_of
from medseg.io.dicom.place import place
from medseg.io.options import ReadOptions

__all__ = ["about_joined", "joined"]

_FEWEST = 3
"""Two images are even whatever they are."""

_WHOSE = ("PatientID", "Modality")
_PROTOCOL = ("SOPClassUID", "SeriesNumber", "SeriesDescription", "ProtocolName", "SequenceName")
_SPACES = ("StudyInstanceUID", "FrameOfReferenceUID")
"""One of them must agree: anonymisers make either anew for each file."""


def joined(images: Sequence[Frame], options: ReadOptions) -> list[Frame]:
    """The images; those that are slices of one series say so (`Frame.joined`)."""
    if options.join == "never":
        return [replace(image, joined="") if image.joined else image for image in images]
    sizes = Counter(text(image.header, "SeriesInstanceUID") for image in images)
    single = [image for image in images if sizes[text(image.header, "SeriesInstanceUID")] == 1 and _may_be_slice(image)]
    name_of: dict[Frame, str] = {}
    for stack in _forced(single) if options.join == "always" else _alike(single, options):
        name = min(text(image.header, "SeriesInstanceUID") for image in stack)
        name_of |= dict.fromkeys(stack, name)
    return [replace(image, joined=name_of[image]) if image in name_of else image for image in images]


def about_joined(files: Sequence[Frame]) -> tuple[str, ...]:
    """A note where the slices of a volume have a series each."""
    if not files[0].joined:
        return ()
    return (
        f"{len(files)} series of one image each are the slices of one volume and were joined "
        "(--read join=never keeps them apart).",
    )


def _may_be_slice(image: Frame) -> bool:
    header = image.header
    if not text(header, "SeriesInstanceUID") or image.n_frames > 1 or image.tile is not None or is_localizer(image):
        return False
    is_placed = all(
        numbers(header, key, n) is not None for key, n in (("ImagePositionPatient", 3), ("ImageOrientationPatient", 6))
    )
    return is_placed and (numbers(header, "NumberOfFrames") or (1.0,))[0] == 1


def _forced(images: Iterable[Frame]) -> Iterator[list[Frame]]:
    """Images of one patient, modality and geometry."""
    for mine in _by(images, _WHOSE):
        yield from (stack for stack in _stacks(mine) if len(stack) > 1)


def _alike(images: Iterable[Frame], options: ReadOptions) -> Iterator[list[Frame]]:
    """Images that are one series but for their UIDs."""
    for mine in _by(images, (*_WHOSE, *_PROTOCOL)):
        for stack in _stacks(mine):
            left = stack
            for space in _SPACES:
                for group in _by(left, (space,)):
                    if text(group[0].header, space) and _is_one_volume(group, options):
                        yield group
                        left = [image for image in left if image not in group]


def _by(images: Iterable[Frame], keys: Sequence[str]) -> list[list[Frame]]:
    groups: dict[tuple[str, ...], list[Frame]] = defaultdict(list)
    for image in images:
        groups[tuple(text(image.header, key) for key in keys)].append(image)
    return list(groups.values())


def _stacks(images: Sequence[Frame]) -> list[list[Frame]]:
    """Images sorted by size, spacing and orientation, as if they were of one series."""
    stacks = stacks_of(replace(image, joined="one") for image in images)
    own = {image.path: image for image in images}
    return [[own[file.path] for file in stack.files] for stack in stacks]


def _is_one_volume(images: Sequence[Frame], options: ReadOptions) -> bool:
    """Whether images make one stack, each at a place of its own, evenly spaced but for missing slices."""
    if len(images) < _FEWEST:
        return False
    try:
        series = place(Stack(list(images)), replace(options, missing="fill", uneven="refuse", volume=None))
    except InputError:
        return False
    return len(series.files) == len(images)
