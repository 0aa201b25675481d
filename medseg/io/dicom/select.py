"""Several images at each position: which attributes tell the volumes of a 4-D series apart, and how one is chosen.

A value is text in one spelling: numbers by their value, several joined by "/", vendors' private b-values under the
standard's name. Volumes are told apart by what their headers say is different about them; where that is nothing but the
order of taking, by a number that rises from volume to volume at all positions. Nothing is guessed from file names.
"""

import struct
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from itertools import combinations, pairwise
from typing import TypeAlias

from pydicom.datadict import dictionary_VR, tag_for_keyword
from pydicom.dataset import Dataset
from pydicom.tag import Tag

from medseg.core.errors import InputError, UsageError
from medseg.io.dicom.find import DAMAGE, Frame, quietly, text
from medseg.io.dicom.words import few

__all__ = ["Volumes", "differing", "matching", "selected", "single_volumes", "told_apart", "value_of"]

_B_VALUE, _GRADIENT, _IMAGE_TYPE = "DiffusionBValue", "DiffusionGradientOrientation", "ImageType"

_TELLING = (
    *(_IMAGE_TYPE, "TemporalPositionIdentifier", "TriggerTime", _B_VALUE, "EchoTime", "EchoNumbers", "InversionTime"),
    *("FlipAngle", "NominalPercentageOfCardiacPhase", "FrameReferenceTime", "AcquisitionNumber", "KVP"),
    *("ComplexImageComponent", "EnergyWindowNumber", "PhaseNumber", "DimensionIndexValues"),
)
"""What differs between the volumes of a 4-D series, the most telling first."""

_RISING = (
    *("TemporalPositionIdentifier", "FrameReferenceTime", "TriggerTime", "AcquisitionNumber", "AcquisitionDateTime"),
    *("AcquisitionTime", "ContentTime", "InstanceNumber"),
)
"""What may rise from volume to volume where no value is that of one volume."""

_NUMBERS = frozenset({"DS", "IS", "FD", "FL", "SS", "US", "SL", "UL", "SV", "UV"})
_CODES = frozenset({"CS", "TM", "AS"})
_OTHER = ("StackID", "PixelSpacing", "Rows", "Columns", "ImageOrientationPatient")
"""What else tells stacks apart; StackID is text by its type, and a number by its use."""

_SAME_SHARE = 1e-4
"""How far, in shares of a value, the number that a user gives may be from that in the file."""

_SAME_DIRECTION = 1e-3
"""The same for direction cosines: images of one stack may differ by as much."""

_FEW = 6
"""How many values a sentence lists."""

Place: TypeAlias = Sequence[Frame]
"""The images at one position."""


@dataclass(frozen=True)
class Volumes:
    """The volumes of a 4-D series.

    Attributes:
        names: What selects each ("EchoTime=10"); where only their order tells them, "volume 0" and so on.
        images: Their images, in no order.
        are_values: Whether `names` can be given to `--read select=`.
        key: What tells them apart, for the sentences.
    """

    names: tuple[str, ...]
    images: tuple[tuple[Frame, ...], ...]
    are_values: bool
    key: str


def selected(images: Sequence[Frame], select: str) -> list[Frame]:
    """The images that fit all of "KEY=VALUE,KEY=VALUE".

    Raises:
        InputError: None does; the sentence lists the values that there are.
        UsageError: A key is no attribute, or one of free text, which may name a patient.
    """
    images = list(images)
    for part in select.split(","):
        key, _, wanted = (word.strip() for word in part.partition("="))
        _check_key(key)
        fitting = [image for image in images if matching(image, key, wanted)]
        if not fitting:
            found = {value_of(image, key) for image in images} - {""}
            if _is_tag(key):
                found = {value for value in found if _number(value) is not None}  # a private text may name anybody
            values = few(sorted(found, key=_rank), _FEW)
            what = f"there are {values}" if values else f"no image has a {key}"
            raise InputError(f"No image has {key}={wanted} (--read select={select}); {what}.")
        images = fitting
    return images


def _check_key(key: str) -> None:
    """Only numbers and codes can be asked for: notes repeat what is asked for, sentences say what there is."""
    if _is_tag(key):
        return
    if tag_for_keyword(key) is None:
        nearest = get_close_matches(key, (*_TELLING, *_RISING, _GRADIENT, *_OTHER), 1, 0.5)
        advice = f"did you mean {nearest[0]}?" if nearest else f"usual are {', '.join(_TELLING[:6])}."
        raise UsageError(f"'{key}' in --read select= is no attribute of DICOM; {advice}")
    if dictionary_VR(key) not in _NUMBERS | _CODES and key not in _OTHER:
        raise UsageError(f"--read select={key}=… is not allowed: an attribute of free text may name a patient.")


def matching(image: Frame, key: str, wanted: str) -> bool:
    """Whether an attribute has a value: numbers within 1e-4 of it (cosines: 1e-3), a word as one of several too."""
    found = value_of(image, key)
    wanted = wanted.replace("\\", "/")
    if found == "" or found == wanted or wanted in found.split("/"):
        return found != ""
    parts = found.split("/"), wanted.split("/")
    if not _is_number(image, key) or len(parts[0]) != len(parts[1]):
        return False
    try:
        pairs = [(float(mine), float(other)) for mine, other in zip(*parts, strict=True)]
    except ValueError:
        return False
    share = _SAME_DIRECTION if key == "ImageOrientationPatient" else _SAME_SHARE
    return all(abs(mine - other) <= share * max(1.0, abs(mine)) for mine, other in pairs)


def told_apart(places: Sequence[Place]) -> Volumes | None:
    """The volumes of a series with several images at each position; None if nothing in the headers tells them apart."""
    n_volumes = max(map(len, places))
    keys = [key for key in _TELLING if any(len({value_of(image, key) for image in place}) > 1 for place in places)]
    for chosen in (*((key,) for key in keys), (_B_VALUE, _GRADIENT), *combinations(keys, 2)):
        by_value = _by_value(places, chosen, n_volumes)
        if by_value is not None:
            names = {value: _name(chosen, value) for value in by_value}
            order = sorted(by_value, key=lambda value: tuple(map(_rank, value)))
            images = tuple(tuple(by_value[value]) for value in order)
            return Volumes(tuple(names[value] for value in order), images, True, " and ".join(chosen))
    kinds = [key for key in (*_TELLING, _GRADIENT) if key not in _RISING]
    return next(filter(None, (_by_rank(places, key, n_volumes, kinds) for key in _RISING)), None)


def single_volumes(places: Sequence[Place]) -> tuple[str, ...]:
    """What selects one image at every position, though it may not tell the others apart: b=0 of a diffusion run."""
    found = []
    for key in (*_TELLING, _GRADIENT):
        counts = [Counter(value_of(image, key) for image in place) for place in places]
        for value in (value for value, n in counts[0].items() if n == 1 and value and "," not in value):
            is_single = all(count[value] == 1 for count in counts)
            if is_single and all(sum(matching(image, key, value) for image in place) == 1 for place in places):
                found.append(f"{key}={value}")
    return tuple(found)


def differing(images: Iterable[Frame]) -> tuple[str, ...]:
    """Attributes that differ between images at one position, for the sentence of a refusal."""
    images = tuple(images)
    return tuple(
        key for key in (*_TELLING, _GRADIENT, *_RISING[4:]) if len({value_of(image, key) for image in images}) > 1
    )


def value_of(image: Frame, key: str) -> str:
    """An attribute as text in one spelling, "" where it is absent; keys are the standard's keywords or (hex) tags."""
    if key == _B_VALUE:
        return _b_value(image.header)
    if key == _GRADIENT:
        return _gradient(image.header)
    value = text(image.header, key) if not _is_tag(key) else _private(image.header, int(key, 16))
    return "/".join(map(_spelled, value.split("\\"))) if _is_number(image, key) else value.replace("\\", "/")


def _by_value(
    places: Sequence[Place], keys: Sequence[str], n_volumes: int
) -> dict[tuple[str, ...], list[Frame]] | None:
    """Images by the values of keys, if these are different at each position and there are as many as volumes."""
    part = _telling_part(places) if _IMAGE_TYPE in keys else None
    found: dict[tuple[str, ...], list[Frame]] = {}
    for place in places:
        values = [tuple(_part_of(image, key, part) for key in keys) for image in place]
        if len(set(values)) < len(values):
            return None
        for image, value in zip(place, values, strict=True):
            found.setdefault(value, []).append(image)
        if len(found) > n_volumes:
            return None
    return None if any(value == "" and len(keys) == 1 for value, *_ in found) else found


def _telling_part(places: Sequence[Place]) -> int | None:
    """Which component of ImageType takes most values at a position; the later of equals, vendors' words come last.

    None where only the whole tells: no component differs, or its words stand elsewhere in the type of others.
    """
    types = [[value_of(image, _IMAGE_TYPE).split("/") for image in place] for place in places]
    kinds = {tuple(words) for place in types for words in place}
    counts = [max(len({words[n] for words in place}) for place in types) for n in range(min(map(len, kinds)))]
    best = max(range(len(counts)), key=lambda n: (counts[n], n == 3), default=None)
    if best is None or counts[best] == 1:
        return None
    told = {words[best] for words in kinds}
    is_alone = all(told & set(words) == {words[best]} for words in kinds)
    return best if is_alone else None


def _part_of(image: Frame, key: str, part: int | None) -> str:
    value = value_of(image, key)
    return value.split("/")[part] if key == _IMAGE_TYPE and part is not None else value


def _by_rank(places: Sequence[Place], key: str, n_volumes: int, kinds: Sequence[str]) -> Volumes | None:
    """Volumes in the rising order of a key: at all positions the n-th values are below the (n+1)-th of any position.

    None of `kinds` differs within one of them (an echo of one time is no neighbour of another echo), and no other key
    says the contrary.
    """
    if any(len(place) != n_volumes for place in places):
        return None
    ranked = []
    for place in places:
        values = {image: _number(value_of(image, key)) for image in place}
        if None in values.values() or len(set(values.values())) < n_volumes:
            return None
        ranked.append(sorted(((value, image) for image, value in values.items() if value is not None), key=_first))
    columns = list(zip(*ranked, strict=True))
    ends = [(min(map(_first, column)), max(map(_first, column))) for column in columns]
    if any(before[1] >= after[0] for before, after in pairwise(ends)):
        return None
    images = tuple(tuple(image for _, image in column) for column in columns)
    if any(len({value_of(image, kind) for image in volume}) > 1 for volume in images for kind in kinds):
        return None
    if any(_falls(place, other) for place in zip(*images, strict=True) for other in _RISING):
        return None
    return Volumes(tuple(f"volume {n}" for n in range(n_volumes)), images, False, key)


def _falls(images: Sequence[Frame], key: str) -> bool:
    numbers = [number for image in images if (number := _number(value_of(image, key))) is not None]
    return any(after < before for before, after in pairwise(numbers))


def _first(pair: tuple[float, Frame]) -> float:
    return pair[0]


def _name(keys: Sequence[str], values: Sequence[str]) -> str:
    return ",".join(f"{key}={value}" for key, value in zip(keys, values, strict=True) if value)


def _rank(value: str) -> tuple[int, float, str]:
    number = _number(value)
    return (1, 0.0, value) if number is None else (0, number, value)


def _number(value: str) -> float | None:
    try:
        return float(value)
    except ValueError:
        return None


def _spelled(value: str) -> str:
    number = _number(value)
    return value if number is None else f"{number + 0.0:.7g}"


def _is_number(image: Frame, key: str) -> bool:
    if key in (_B_VALUE, _GRADIENT):
        return True
    try:
        return key in image.header and image.header[key].VR in _NUMBERS
    except DAMAGE:
        return False


def _is_tag(key: str) -> bool:
    return len(key) == 8 and all(c in "0123456789abcdefABCDEF" for c in key)


# Diffusion: the standard's attributes, else the private ones of Siemens, Philips, GE and United Imaging.

_GE_B_VALUE_OFFSET = 1_000_000_000
"""GE writes b-values of some sequences with this added."""


def _b_value(header: Dataset) -> str:
    value = text(header, _B_VALUE) or _first_private(header, (0x0019100C, 0x20011003, 0x00651009))
    if not value and "GE" in text(header, "Manufacturer").upper():
        value = _private(header, 0x00431039).partition("\\")[0]
        number = _number(value)
        value = "" if number is None else str(number % _GE_B_VALUE_OFFSET)
    return _spelled(value)


def _gradient(header: Dataset) -> str:
    value = text(header, _GRADIENT) or _first_private(header, (0x0019100E, 0x00651037))
    if not value:
        philips, ge = ([_private(header, first + n) for n in range(3)] for first in (0x200510B0, 0x001910BB))
        value = "\\".join(filter(None, philips)) or "\\".join(filter(None, ge))
    parts = [_number(part) for part in value.split("\\")]
    return "/".join(f"{round(part, 4) + 0.0:g}" for part in parts if part is not None)


def _first_private(header: Dataset, tags: Iterable[int]) -> str:
    return next(filter(None, (_private(header, tag) for tag in tags)), "")


def _private(header: Dataset, tag: int) -> str:
    """A private element as text; where its type was lost on the way (UN), bytes are taken as floats or as text."""
    try:
        with quietly():
            value = header[Tag(tag)].value if Tag(tag) in header else None
    except DAMAGE:
        return ""
    if isinstance(value, bytes):
        return _unknown(value)
    if value is None:
        return ""
    return str(value) if isinstance(value, str | int | float) else "\\".join(map(str, value))


def _unknown(value: bytes) -> str:
    words = value.strip(b" \0")
    if words and all(c in b"0123456789.+-eE\\ " for c in words):
        return words.decode("ascii")
    kind = {4: "<f", 8: "<d", 24: "<3d"}.get(len(value))
    return "\\".join(map(str, struct.unpack(kind, value))) if kind else ""
