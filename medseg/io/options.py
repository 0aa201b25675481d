"""How files are read where a file leaves a choice: what `--read KEY=VALUE` says, as one frozen value.

The options travel with a model, so that what was read one way in training is read the same way in prediction.
"""

from collections.abc import Mapping
from dataclasses import dataclass, fields
from difflib import get_close_matches
from pathlib import Path
from typing import Literal, get_args

from medseg.core.errors import InputError, UsageError

__all__ = ["ReadOptions", "channels_of_volumes"]

_GeometryChoice = Literal["auto", "sform", "qform"]
_ChannelsChoice = Literal["auto", "last"]
_SpaceChoice = Literal["auto", "lps", "ras"]

_ALLOWED: Mapping[str, tuple[str, ...]] = {
    "geometry": get_args(_GeometryChoice),
    "channels": get_args(_ChannelsChoice),
    "space": get_args(_SpaceChoice),
}


@dataclass(frozen=True, slots=True)
class ReadOptions:
    """Choices that readers take; the defaults refuse what is in doubt.

    Attributes:
        geometry: Which of a NIfTI's two geometries counts; "auto" takes the sform and refuses if they contradict.
        channels: "last": the fourth axis of a 4-D file holds channels, as MSD's files do; "auto" refuses such a file.
        volume: Which volume of a 4-D file to take, counted from 0; None refuses such a file.
        space: Patient axes of an NRRD file that does not name them; "auto" refuses such a file.
        series: SeriesInstanceUID (or SeriesNumber) of the one DICOM series to take where a folder holds several.
    """

    geometry: _GeometryChoice = "auto"
    channels: _ChannelsChoice = "auto"
    volume: int | None = None
    space: _SpaceChoice = "auto"
    series: str | None = None

    @classmethod
    def parse(cls, pairs: Mapping[str, str]) -> "ReadOptions":
        """Options from KEY=VALUE pairs as a user writes them.

        Raises:
            UsageError: A key is unknown, or a value is not allowed for its key.
        """
        for key, value in pairs.items():
            _check(key, value)
        values: dict[str, str | int] = dict(pairs)
        if "volume" in values:
            values["volume"] = int(values["volume"])
        return cls(**values)  # type: ignore[arg-type]  # each value was checked against its key

    def to_pairs(self) -> dict[str, str]:
        """What differs from the defaults, as KEY: VALUE; the inverse of `parse`."""
        values = {option.name: getattr(self, option.name) for option in fields(self)}
        return {name: str(value) for name, value in values.items() if value != getattr(_DEFAULTS, name)}


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
    if key == "volume" and not (value.isascii() and value.isdigit()):
        raise UsageError(f"--read volume={value} is not allowed; volume is a whole number, counted from 0.")
    if key == "series" and not value.strip():
        raise UsageError("--read series= is empty; give a SeriesInstanceUID or a SeriesNumber.")


_DEFAULTS = ReadOptions()
