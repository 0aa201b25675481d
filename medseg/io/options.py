"""How files are read where a file leaves a choice: what `--read KEY=VALUE` says, as one frozen value.

The options travel with a model, so that what was read one way in training is read the same way in prediction.
"""

from collections.abc import Mapping
from dataclasses import dataclass, fields
from difflib import get_close_matches
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Literal, get_args

from medseg.core.errors import InputError, UsageError
from medseg.core.labels import folded

__all__ = ["MODALITIES", "ReadOptions", "channels_of_volumes", "modality_code"]

_GeometryChoice = Literal["auto", "sform", "qform"]
_ChannelsChoice = Literal["auto", "last", "first"]
_SpaceChoice = Literal["auto", "lps", "ras"]
_JoinChoice = Literal["auto", "always", "never"]
_FramesChoice = Literal["refuse", "rising", "falling"]
_MissingChoice = Literal["refuse", "fill", "largest-run"]
_UnevenChoice = Literal["refuse", "resample"]
_PetChoice = Literal["suv", "raw"]
_DetectorChoice = Literal["refuse", "accept"]
_ContoursChoice = Literal["refuse", "project"]
_OrphanChoice = Literal["refuse", "own-grid"]
_ColourChoice = Literal["auto", "grey", "rgb"]
_LossyChoice = Literal["refuse", "threshold"]

_ALLOWED: Mapping[str, tuple[str, ...]] = {
    "geometry": get_args(_GeometryChoice),
    "channels": get_args(_ChannelsChoice),
    "space": get_args(_SpaceChoice),
    "join": get_args(_JoinChoice),
    "frames": get_args(_FramesChoice),
    "missing": get_args(_MissingChoice),
    "uneven": get_args(_UnevenChoice),
    "pet": get_args(_PetChoice),
    "detector_spacing": get_args(_DetectorChoice),
    "contours": get_args(_ContoursChoice),
    "orphan": get_args(_OrphanChoice),
    "colour": get_args(_ColourChoice),
    "lossy": get_args(_LossyChoice),
}


MODALITIES = frozenset({"CT", "MR", "PT", "NM", "US", "XA", "MG", "CR", "DX", "RF", "OP", "OCT", "OPT", "ES", "SM"})
"""What DICOM calls the modalities of images."""

_CODES = {"PET": "PT", "MRI": "MR"}
"""What people say → what DICOM writes."""

_MOST_DIGITS = 9

_EXAMPLES: Mapping[str, str] = {
    "series": "a SeriesInstanceUID or a SeriesNumber",
    "modality": "a modality as DICOM writes it, such as CT, MR or PT, or CT+PT for both as channels",
    "select": "attributes and their values, such as select=EchoTime=10 or select=EchoTime=10,ImageType=M",
    "overlaps": "regions, refuse, or names of structures in order, such as overlaps=tumour,liver",
    "structures": "names or patterns, such as structures=GTV*,Liver",
    "leave_out": "names or patterns, such as leave_out=Couch*,BODY",
}
"""What belongs into options of free text."""


@dataclass(frozen=True, slots=True)
class ReadOptions:
    """Choices that readers take; the defaults refuse what is in doubt.

    Attributes:
        geometry: Which of a NIfTI's two geometries counts; "auto" takes the sform and refuses if they contradict.
        channels: "last": the fourth axis of a 4-D file holds channels, as MSD's files do; "first": the first axis of an
            NRRD file does; "auto" refuses a file that does not say it.
        volume: Which volume of a 4-D file or DICOM series to take, counted from 0; None refuses such a one.
        space: Patient axes of an NRRD file that does not name them; "auto" refuses such a file.
        series: SeriesInstanceUID (or SeriesNumber) of the one DICOM series to take where a folder holds several; one
            for each channel of a case, joined by "+", where they are several series.
        modality: Modality ("CT", "MR", "PT") of the DICOM series to take where a folder holds several; "CT+PT" makes
            both the channels of one case, in this order.
        select: ATTRIBUTE=VALUE (EchoTime=10) of the images to take where a DICOM series holds several at each position
            or several stacks; several with commas (EchoTime=10,ImageType=M) must all hold. Attributes are numbers or
            codes, by the name of the standard or as eight hexadecimal digits; numbers fit within 1e-4, a word fits as
            one of several, and parts of a value are joined by slashes (PixelSpacing=0.5/0.5).
        join: Whether DICOM images that have a series each are slices of one: "auto" where patient, study, protocol and
            places agree, "always" where patient, modality and pixels do, "never".
        frames: On which side of the first the frames of a file lie that has a position for the first alone: "rising"
            along its normal, "falling" against it.
        missing: What to do where slices of a DICOM series are missing: "fill" interpolates them, "largest-run" takes
            the longest unbroken part.
        uneven: "resample" puts unevenly spaced slices of a DICOM series on an even grid.
        pet: "suv" reads PET in SUVbw or refuses; "raw" takes the rescaled values as they are.
        detector_spacing: "accept" takes ImagerPixelSpacing where PixelSpacing is absent.
        overlaps: What overlapping structures become: "regions" (each combination has a value of its own), "refuse", or
            names in order, "tumour,liver", of which the earlier wins.
        structures: Names or patterns ("GTV*,Liver") of the structures to read where a file holds several by name: "*"
            stands for any characters, "?" for one, and commas part. None: all.
        leave_out: Names or patterns of structures that are not read, and not judged; goes before `structures`.
        fraction: From which share on a voxel of a fractional DICOM SEG belongs to its segment.
        contours: "project" moves contours of an RTSTRUCT that lie between slices to the nearest slice.
        orphan: "own-grid" reads a DICOM SEG whose images are not there on a grid of its own.
        colour: What a picture (PNG, JPEG, …) becomes: "auto" takes one channel where it has no colour and else three,
            "rgb" always three, "grey" one, and refuses what has colours.
        lossy: "threshold" takes a JPEG mask for black and white: each pixel for the nearer of both.
    """

    geometry: _GeometryChoice = "auto"
    channels: _ChannelsChoice = "auto"
    volume: int | None = None
    space: _SpaceChoice = "auto"
    series: str | None = None
    modality: str | None = None
    select: str | None = None
    join: _JoinChoice = "auto"
    frames: _FramesChoice = "refuse"
    missing: _MissingChoice = "refuse"
    uneven: _UnevenChoice = "refuse"
    pet: _PetChoice = "suv"
    detector_spacing: _DetectorChoice = "refuse"
    overlaps: str = "regions"
    structures: str | None = None
    leave_out: str | None = None
    fraction: float = 0.5
    contours: _ContoursChoice = "refuse"
    orphan: _OrphanChoice = "refuse"
    colour: _ColourChoice = "auto"
    lossy: _LossyChoice = "refuse"

    @classmethod
    def parse(cls, pairs: Mapping[str, str]) -> "ReadOptions":
        """Options from KEY=VALUE pairs as a user writes them.

        Raises:
            UsageError: A key is unknown, or a value is not allowed for its key.
        """
        for key, value in pairs.items():
            _check(key, value)
        values: dict[str, str | int | float] = dict(pairs)
        if "volume" in values:
            values["volume"] = int(values["volume"])
        if "fraction" in values:
            values["fraction"] = float(values["fraction"])
        return cls(**values)  # type: ignore[arg-type]  # each value was checked against its key

    def updated(self, pairs: Mapping[str, str]) -> "ReadOptions":
        """These options with some said anew, as `parse` takes them."""
        return self.parse({**self.to_pairs(), **pairs})

    @property
    def modalities(self) -> tuple[str, ...]:
        """The modalities that are wanted, as DICOM writes them; none where any will do.

        >>> ReadOptions(modality="ct+PET").modalities
        ('CT', 'PT')
        """
        return tuple(modality_code(word) for word in (self.modality or "").split("+") if word)

    @property
    def wanted_series(self) -> tuple[str, ...]:
        """UIDs or numbers of the series that are wanted; none where any will do."""
        return tuple(word for word in (self.series or "").split("+") if word)

    def of_channel(self, number: int) -> "ReadOptions":
        """These options for one channel of a case, where `series` or `modality` name one for each.

        >>> ReadOptions(modality="CT+PT").of_channel(1).modality
        'PT'
        """
        chosen = {"series": self.wanted_series, "modality": self.modalities}
        one = {key: each[number] for key, each in chosen.items() if 1 < len(each) > number}
        return self.updated(one) if one else self

    def takes(self, structure: str) -> bool:
        """Whether a structure of this name is read.

        >>> options = ReadOptions(structures="GTV*, Liver", leave_out="*old")
        >>> [options.takes(name) for name in ("gtv 1", "LIVER", "GTV old", "Couch")]
        [True, True, False, False]
        """
        is_among = self.structures is None or _fits(structure, self.structures)
        return is_among and not (self.leave_out is not None and _fits(structure, self.leave_out))

    def to_pairs(self) -> dict[str, str]:
        """What differs from the defaults, as KEY: VALUE; the inverse of `parse`."""
        values = {option.name: getattr(self, option.name) for option in fields(self)}
        return {name: str(value) for name, value in values.items() if value != getattr(_DEFAULTS, name)}


def modality_code(word: str) -> str:
    """A modality as DICOM writes it, from what people call it.

    >>> modality_code("pet"), modality_code("MRI"), modality_code("ct")
    ('PT', 'MR', 'CT')
    """
    return _CODES.get(word.strip().upper(), word.strip().upper())


def channels_of_volumes(n_volumes: int, path: Path, options: ReadOptions) -> int:
    """How many channels an image of `n_volumes` > 1 volumes gives: all of them, one, or a refusal.

    Raises:
        InputError: The options do not say what the volumes are, or ask for one that is not there.
    """
    if options.volume is not None:
        if options.volume >= n_volumes:
            raise InputError(f"{path} has {n_volumes} volumes, counted from 0; there is no volume {options.volume}.")
        return 1
    if options.channels == "last":
        return n_volumes
    raise InputError(
        f"{path} has {n_volumes} volumes; say --read channels=last if they are channels, "
        "or --read volume=0 to take the first."
    )


def _check(key: str, value: str) -> None:
    known = [option.name for option in fields(ReadOptions)]
    if key not in known:
        nearest = get_close_matches(key, known, 1, 0.5)
        advice = f"did you mean '{nearest[0]}'?" if nearest else f"known are {', '.join(known)}."
        raise UsageError(f"'{key}' is no key of --read; {advice}")
    if key in _ALLOWED and value not in _ALLOWED[key]:
        raise UsageError(f"--read {key}={value} is not allowed; {key} is one of {', '.join(_ALLOWED[key])}.")
    if key == "volume" and not (value.isascii() and value.isdigit() and len(value) <= _MOST_DIGITS):
        raise UsageError(f"--read volume={value:.20} is not allowed; volume is a whole number, counted from 0.")
    if key in _EXAMPLES and not value.strip():
        raise UsageError(f"--read {key}= is empty; give {_EXAMPLES[key]}.")
    if key in ("modality", "series") and "+" in value:
        _check_several(key, value)
    if key == "select" and not all(word.strip() for part in value.split(",") for word in part.partition("=")):
        raise UsageError(f"--read select={value} is not allowed; give {_EXAMPLES['select']}.")
    if key == "fraction" and not _is_fraction(value):
        raise UsageError(f"--read fraction={value:.20} is not allowed; fraction is a number above 0 and up to 1.")


def _check_several(key: str, value: str) -> None:
    """Check the parts of CT+PT: one for each channel of a case, and no two that nothing tells apart."""
    words = [word.strip() for word in value.split("+")]
    codes = [modality_code(word) if key == "modality" else word for word in words]
    if not all(words):
        raise UsageError(f"--read {key}={value} is not allowed; join what is wanted by one +, as in {key}=CT+PT.")
    twice = next((code for code in codes if codes.count(code) > 1), None)
    if twice is not None:
        raise UsageError(
            f"--read {key}={value} names {twice} twice, and nothing tells two {twice} series of a patient apart. "
            "List the cases in a table with a column for each channel (image_T1, image_T2)."
        )


def _fits(name: str, patterns: str) -> bool:
    """Whether a name is one of several, or fits a pattern among them; brackets mean themselves."""
    return any(
        fnmatchcase(folded(name), folded(pattern).replace("[", "[[]"))
        for pattern in patterns.split(",")
        if pattern.strip()
    )


def _is_fraction(value: str) -> bool:
    try:
        return 0 < float(value) <= 1
    except ValueError:
        return False


_DEFAULTS = ReadOptions()
