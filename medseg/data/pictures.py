"""Pictures as people have them: grey and coloured, with a palette or a transparency, PNG beside JPEG, are one data set.

One channel where no picture has a colour, however it is stored; else red, green and blue for all, where grey pictures
have three equal channels. What is decided stands in each case (`read`: colour=rgb), so training, inspection and
prediction read alike; a model says by its channels what it saw. Headers are read, and pixels until the first colour.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import replace

from medseg import io
from medseg.core.errors import InputError
from medseg.data.dataset import Case, Dataset
from medseg.io.kinds import PICTURES
from medseg.io.raster import has_colour, mode_of

__all__ = ["RGB", "as_a_model_sees", "is_rgb", "of_one_kind"]

RGB = ("red", "green", "blue")

_GREY = ("image",)
"""What the one channel is called where nothing names it."""

_WORDS: Mapping[str, str] = {
    "1": "black and white",
    "L": "grey",
    "LA": "grey with transparency",
    "P": "with a palette",
    "PA": "with a palette and transparency",
    "RGB": "RGB",
    "RGBA": "RGB with transparency",
    "CMYK": "CMYK",
    "": "of a kind that the header does not tell",
}
"""Pillow's modes in words; "PA" is a palette with a transparent entry."""

_WITH_TRANSPARENCY = frozenset({"LA", "PA", "RGBA"})


def of_one_kind(dataset: Dataset, options: io.ReadOptions | None = None) -> Dataset:
    """The data set with one number of channels for all its pictures, and what there is to say about it.

    Data sets without pictures, those that declare channels which are no colours, and those whose pictures are read as
    `options` say, stay as they are.
    """
    if options is not None and options.colour != "auto":
        return dataset
    everyone = (*dataset.cases, *dataset.unlabelled)
    pictures = [case for case in everyone if _is_picture(case)]
    modes = {case.id: mode_of(case.images[0]) for case in pictures}
    if not pictures or not (len(dataset.channels) == 1 or is_rgb(dataset.channels)):
        return dataset
    is_open = dataset.channels == _GREY
    in_colour = is_rgb(dataset.channels) or (is_open and any(_has_colour(case) for case in pictures))
    notes = (*dataset.notes, *_notes(Counter(modes.values()), in_colour))
    if not in_colour:
        return replace(dataset, notes=notes)
    return replace(
        dataset,
        cases=tuple(_read_as(case, "rgb") for case in dataset.cases),
        unlabelled=tuple(_read_as(case, "rgb") for case in dataset.unlabelled),
        channels=dataset.channels if is_rgb(dataset.channels) else RGB,
        notes=notes,
    )


def as_a_model_sees(case: Case, channels: Sequence[str], options: io.ReadOptions | None = None) -> Case:
    """A case to predict, its picture read with the channels of a model: grey pictures are three equal ones of colour.

    A coloured picture for a model of one channel is refused when it is read. What `options` say of colours holds.
    """
    if options is not None and options.colour != "auto":
        return case
    if len(channels) == 1:
        return _read_as(case, "grey")
    return _read_as(case, "rgb") if is_rgb(channels) else case


def _is_picture(case: Case) -> bool:
    return len(case.images) == 1 and io.kind_of(case.images[0]) in PICTURES


def is_rgb(channels: Sequence[str]) -> bool:
    """Whether channels are colours, by their names or their first letters."""
    return len(channels) == len(RGB) and all(
        name.strip().lower() in (colour, colour[0]) for name, colour in zip(channels, RGB, strict=True)
    )


def _read_as(case: Case, colour: str) -> Case:
    if not _is_picture(case) or "colour" in case.read:
        return case
    return replace(case, read={**case.read, "colour": colour})


def _has_colour(case: Case) -> bool:
    try:
        return has_colour(case.images[0])
    except (InputError, OSError):  # whoever reads the case says what is wrong with it
        return False


def _notes(modes: Counter[str], in_colour: bool) -> list[str]:
    notes = []
    if len(modes) > 1:
        counts = ", ".join(f"{n} {_word(mode)}" for mode, n in modes.most_common())
        read = "some have colours, so all are read as red, green and blue"
        notes.append(f"Pictures are of {len(modes)} kinds ({counts}): {read if in_colour else _NO_COLOUR}.")
    elif not in_colour and next(iter(modes)) not in ("L", "1") and not next(iter(modes)).startswith("I"):
        notes.append(f"Pictures are {_word(next(iter(modes)))}: {_NO_COLOUR}.")
    n = sum(count for mode, count in modes.items() if mode in _WITH_TRANSPARENCY)
    if n:
        notes.append(f"{n} picture{' has' if n == 1 else 's have'} a transparency, which is not used.")
    return notes


_NO_COLOUR = "none has a colour, so all are read as one channel"


def _word(mode: str) -> str:
    return _WORDS.get(mode, f"grey ({mode})" if mode.startswith(("I", "F")) else mode)
