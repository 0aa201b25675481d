"""PET in SUVbw: from what the headers say, the factor of each slice; or which attribute stands in the way.

SUVbw = real-world value · weight in g / activity in Bq at the moment that the values are corrected to (QIBA's vendor
neutral pseudo-code, IBSI's reference). That moment is the beginning of the scan (START) or the injection (ADMIN).
Only headers are read here, of all slices of a volume; what is missing, zero or implausible is refused by its name, and
nothing falls back to counts. Messages hold seconds, kilograms and becquerels, never a date or a name.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta, timezone
from typing import Any

import numpy as np
from pydicom.dataset import Dataset

from medseg.core.errors import InputError
from medseg.io.dicom.find import DAMAGE, Frame, numbers, quietly, text

__all__ = ["PetFacts", "Suv", "facts_of", "suv_of", "suvs_of_slices"]

_GE, _GE_SCAN = "GEMS_PETD_01", (0x0009, 0x0D)
_PHILIPS, _PHILIPS_SUV, _PHILIPS_ACTIVITY = "Philips PET Private Group", (0x7053, 0x00), (0x7053, 0x09)
"""Owners of private elements; group and last byte of the element."""

_NEEDED_CORRECTIONS = ("ATTN", "DECY")
_WEIGHTS_KG = (1.0, 400.0)
_DOSES_BQ = (1e6, 2e9)
_LARGEST_MEGABECQUEREL = 1e4
"""A dose below this was written in MBq."""

_MOST_HALF_LIVES = 6.0
_HALF_LIFE_TOLERANCE = 0.01

_HALF_LIVES_S = {
    ("C-105A1", "40565003"): 1221.8,  # C-11
    ("C-107A1", "21576001"): 597.9,  # N-13
    ("C-B1038", "129504001"): 122.2,  # O-15
    ("C-111A1", "77004003"): 6586.2,  # F-18
    ("C-127A1", "71425003"): 12_010.0,  # Cu-61
    ("C-127A5", "422934004"): 580.4,  # Cu-62
    ("C-127A2", "3932008"): 45_723.0,  # Cu-64
    ("C-131A3", "35337001"): 4_066.0,  # Ga-68
    ("C-113A2", "79523006"): 58_320.0,  # Br-76
    ("C-159A2", "79197006"): 75.9,  # Rb-82: 75.45 by newer, 76.4 by older tables
    ("C-162A3", "10738001"): 53_064.0,  # Y-86
    ("C-168A4", "63360001"): 282_280.0,  # Zr-89
    ("C-114A5", "40937006"): 360_800.0,  # I-124
    ("C-162A7", "14691008"): 230_600.0,  # Y-90
}
"""Codes of radionuclides (SRT or SNM3, and SNOMED CT) → half-life in seconds."""


_SAME = {
    "units": "Units",
    "suv_type": "SUVType",
    "corrections": "CorrectedImage",
    "decay": "DecayCorrection",
    "weight_kg": "PatientWeight",
    "n_injections": "RadiopharmaceuticalInformationSequence",
    "dose_bq": "RadionuclideTotalDose",
    "half_life_s": "RadionuclideHalfLife",
    "nuclide": "RadionuclideCodeSequence",
    "injected": "RadiopharmaceuticalStartDateTime",
    "injected_clock": "RadiopharmaceuticalStartTime",
    "series": "SeriesDate or SeriesTime",
}
"""What is the same for all slices of a volume, and its name in the header."""


@dataclass(frozen=True)
class PetFacts:
    """What the header of one slice says; None or "" where it says nothing.

    Attributes:
        units: What the rescaled values are: BQML, GML (g/ml: an SUV already), CNTS.
        suv_type: Of GML: "" or BW for body weight.
        corrections: What the values were corrected for.
        decay: START, ADMIN or NONE: to which moment the values are corrected for decay.
        weight_kg: Of the patient.
        n_injections: How many the header describes; what follows is of the first.
        dose_bq: Activity at the injection.
        half_life_s: Of the radionuclide.
        nuclide: Its code.
        injected: When, if date and time are given.
        injected_clock: When, if the time alone is given: since midnight.
        series: Date and time of the series.
        acquired: When this slice was acquired.
        ge_scan: When the scan began, by GE.
        philips_suv: Factor from rescaled values to SUVbw, by Philips.
        philips_activity: Factor from rescaled values to Bq/ml, by Philips.
    """

    units: str = ""
    suv_type: str = ""
    corrections: tuple[str, ...] = ()
    decay: str = ""
    weight_kg: float | None = None
    n_injections: int = 0
    dose_bq: float | None = None
    half_life_s: float | None = None
    nuclide: str = ""
    injected: datetime | None = None
    injected_clock: timedelta | None = None
    series: datetime | None = None
    acquired: datetime | None = None
    ge_scan: datetime | None = None
    philips_suv: float | None = None
    philips_activity: float | None = None


@dataclass(frozen=True)
class Suv:
    """What rescaled values are multiplied with, and how it was found."""

    factor: float
    how: str


class _Unknown(Exception):  # noqa: N818  the fact that SUV is unknown, and why
    """An attribute is missing, zero or implausible."""


def suvs_of_slices(frames: Sequence[Frame], number: str) -> tuple[tuple[float, ...], str]:
    """The factor of each slice, and a note on how they were found.

    Args:
        frames: All slices of the volume.
        number: What the sentence calls the series.

    Raises:
        InputError: SUV cannot be computed; the sentence names the attribute.
    """
    facts = [facts_of(frame.header) for frame in frames]
    scan = min((fact.ge_scan for fact in facts if fact.ge_scan is not None), default=None)
    facts = [replace(fact, ge_scan=scan) for fact in facts]
    try:
        _check_agreement(facts)
        earliest = min((fact.acquired for fact in facts if fact.acquired is not None), default=None)
        suvs = [suv_of(fact, earliest) for fact in facts]
    except _Unknown as reason:
        raise InputError(
            f"SUV cannot be computed for series {number}: {reason}. --read pet=raw takes the values as they are."
        ) from reason
    return tuple(suv.factor for suv in suvs), f"PET values are SUVbw: {suvs[0].how}."


def suv_of(facts: PetFacts, earliest: datetime | None) -> Suv:
    """The factor of one slice.

    Args:
        facts: What its header says.
        earliest: When the first slice of the volume was acquired.
    """
    if facts.units not in ("BQML", "GML", "CNTS"):
        raise _Unknown(f"Units is {'missing' if not facts.units else 'none of BQML, GML and CNTS'}")
    if facts.decay == "NONE":
        raise _Unknown("DecayCorrection is NONE")
    if facts.units == "GML":
        return _given(facts)
    lacking = [word for word in _NEEDED_CORRECTIONS if word not in facts.corrections]
    if lacking:
        raise _Unknown(f"CorrectedImage is {'missing' if not facts.corrections else f'without {lacking[0]}'}")
    if facts.decay not in ("START", "ADMIN"):
        raise _Unknown(f"DecayCorrection is {'missing' if not facts.decay else 'neither START nor ADMIN'}")
    if facts.units == "CNTS":
        return _philips(facts, earliest)
    return _by_activity(facts, earliest)


def facts_of(header: Dataset) -> PetFacts:
    """Read a header; what is unreadable is as if it were missing."""
    injections = _items(header, "RadiopharmaceuticalInformationSequence")
    injection = injections[0] if injections else Dataset()
    nuclides = _items(injection, "RadionuclideCodeSequence")
    zone = _zone(text(header, "TimezoneOffsetFromUTC"))
    return PetFacts(
        units=text(header, "Units").strip().upper(),
        suv_type=text(header, "SUVType").strip().upper(),
        corrections=tuple(word.strip().upper() for word in text(header, "CorrectedImage").split("\\") if word.strip()),
        decay=text(header, "DecayCorrection").strip().upper(),
        weight_kg=_first(numbers(header, "PatientWeight")),
        n_injections=len(injections),
        dose_bq=_first(numbers(injection, "RadionuclideTotalDose")),
        half_life_s=_first(numbers(injection, "RadionuclideHalfLife")),
        nuclide=text(nuclides[0], "CodeValue").strip() if nuclides else "",
        injected=_moment(text(injection, "RadiopharmaceuticalStartDateTime"), zone),
        injected_clock=_clock(text(injection, "RadiopharmaceuticalStartTime")),
        series=_moment_of(header, "Series"),
        acquired=_moment_of(header, "Acquisition"),
        ge_scan=_moment(_private(header, _GE, _GE_SCAN), zone),
        philips_suv=_number(_private(header, _PHILIPS, _PHILIPS_SUV)),
        philips_activity=_number(_private(header, _PHILIPS, _PHILIPS_ACTIVITY)),
    )


# The arithmetic.


def _given(facts: PetFacts) -> Suv:
    """GML is g/ml: values that were divided by the activity a gram before."""
    if facts.suv_type not in ("", "BW"):
        raise _Unknown("SUVType is not BW (values are for another measure of the body)")
    lacking = [word for word in _NEEDED_CORRECTIONS if facts.corrections and word not in facts.corrections]
    if lacking:
        raise _Unknown(f"CorrectedImage is without {lacking[0]}")
    return Suv(1.0, "the files hold them already (Units GML)")


def _philips(facts: PetFacts, earliest: datetime | None) -> Suv:
    if facts.philips_suv:
        return Suv(_positive(facts.philips_suv, "(7053,1000)"), "counts times Philips' own factor (7053,1000)")
    if facts.philips_activity:
        suv = _by_activity(facts, earliest)
        activity = _positive(facts.philips_activity, "(7053,1009)")
        return Suv(activity * suv.factor, f"counts times Philips' factor (7053,1009) in Bq/ml, {suv.how}")
    zero = 0 in (facts.philips_suv, facts.philips_activity)
    raise _Unknown(f"Units is CNTS, and Philips' factor (7053,1000) is {'zero' if zero else 'missing'}")


def _by_activity(facts: PetFacts, earliest: datetime | None) -> Suv:
    """Bq/ml → SUVbw."""
    if facts.n_injections != 1:
        several = f"implausible ({facts.n_injections} injections)"
        raise _Unknown(f"RadiopharmaceuticalInformationSequence is {several if facts.n_injections else 'missing'}")
    weight_kg = _within(facts.weight_kg, "PatientWeight", _WEIGHTS_KG, "kg")
    if facts.dose_bq is not None and 0 < facts.dose_bq < _LARGEST_MEGABECQUEREL:
        raise _Unknown(f"RadionuclideTotalDose is implausible ({facts.dose_bq:g} Bq, probably MBq)")
    dose_bq = _within(facts.dose_bq, "RadionuclideTotalDose", _DOSES_BQ, "Bq")
    if facts.decay == "ADMIN":
        return Suv(weight_kg * 1000 / dose_bq, "Bq/ml by weight and dose, decay corrected to the injection")
    half_life_s = _half_life(facts)
    elapsed_s = (_reference(facts, earliest) - _injection(facts, _reference(facts, earliest))).total_seconds()
    if not 0 <= elapsed_s <= _MOST_HALF_LIVES * half_life_s:
        raise _Unknown(
            f"RadiopharmaceuticalStartDateTime is implausible ({elapsed_s:.0f} s before the scan, with a half-life of "
            f"{half_life_s:g} s)"
        )
    left_bq = dose_bq * 2.0 ** (-elapsed_s / half_life_s)
    how = f"Bq/ml by weight and dose, injected {elapsed_s:.0f} s before the scan, with a half-life of {half_life_s:g} s"
    return Suv(weight_kg * 1000 / left_bq, how)


def _reference(facts: PetFacts, earliest: datetime | None) -> datetime:
    """The moment that START corrects to: of a series that was processed later, not that of its making."""
    if facts.series is None:
        raise _Unknown("SeriesDate or SeriesTime is missing")
    if earliest is None:
        raise _Unknown("AcquisitionDate or AcquisitionTime is missing")
    if facts.series <= earliest:
        return facts.series
    return min(facts.ge_scan, earliest) if facts.ge_scan is not None else earliest


def _injection(facts: PetFacts, reference: datetime) -> datetime:
    """When it was; a time alone is the last one before the scan."""
    if facts.injected is not None:
        return facts.injected
    if facts.injected_clock is None or facts.series is None:
        raise _Unknown("RadiopharmaceuticalStartDateTime is missing")
    injected = datetime.combine(facts.series.date(), datetime.min.time()) + facts.injected_clock
    return injected - timedelta(days=1) if injected > reference else injected


def _half_life(facts: PetFacts) -> float:
    """The header's, if it is that of the radionuclide (of any, where none is named)."""
    half_life_s = _positive(facts.half_life_s, "RadionuclideHalfLife")
    named = [value for codes, value in _HALF_LIVES_S.items() if facts.nuclide in codes]
    if facts.nuclide and not named:
        return half_life_s
    known = named or list(_HALF_LIVES_S.values())
    if min(abs(half_life_s / value - 1) for value in known) > _HALF_LIFE_TOLERANCE:
        expected = f"; that of the radionuclide is {named[0]:g} s" if named else "; no usual radionuclide has it"
        raise _Unknown(f"RadionuclideHalfLife is implausible ({half_life_s:g} s{expected})")
    return half_life_s


def _check_agreement(facts: Sequence[PetFacts]) -> None:
    """All slices of a volume must tell the same, but for what a slice has of its own."""
    for field, attribute in _SAME.items():
        if len({getattr(fact, field) for fact in facts}) > 1:
            raise _Unknown(f"{attribute} differs between the slices")


def _positive(value: float | None, name: str) -> float:
    if not value:
        raise _Unknown(f"{name} is {'missing' if value is None else 'zero'}")
    if value < 0:
        raise _Unknown(f"{name} is implausible ({value:g})")
    return value


def _within(value: float | None, name: str, bounds: tuple[float, float], unit: str) -> float:
    value = _positive(value, name)
    if not bounds[0] <= value <= bounds[1]:
        raise _Unknown(f"{name} is implausible ({value:g} {unit})")
    return value


# Headers.


def _items(header: Dataset, keyword: str) -> Sequence[Dataset]:
    try:
        with quietly():
            items = header.get(keyword)
    except DAMAGE:
        return ()
    return [item for item in items if isinstance(item, Dataset)] if isinstance(items, Iterable) else ()


def _private(header: Dataset, owner: str, element: tuple[int, int]) -> str:
    """A private element's text; "" if its owner has none here."""
    try:
        with quietly():
            value: Any = header.private_block(element[0], owner)[element[1]].value
    except DAMAGE:
        return ""
    if isinstance(value, bytes):  # its type is not known where the data set does not say it
        return value.decode("ascii", "replace").strip(" \0")
    return "" if value is None else str(value)


def _first(values: tuple[float, ...] | None) -> float | None:
    return None if values is None else values[0]


def _number(word: str) -> float | None:
    try:
        value = float(word)
    except ValueError:
        return None
    return value if np.isfinite(value) else None


def _moment_of(header: Dataset, event: str) -> datetime | None:
    """SeriesDate and SeriesTime, AcquisitionDate and AcquisitionTime."""
    clock = _clock(text(header, f"{event}Time"))
    day = _day(text(header, f"{event}Date"))
    return None if clock is None or day is None else day + clock


def _moment(stamp: str, zone: timezone | None) -> datetime | None:
    """YYYYMMDDHHMMSS.FFFFFF&ZZXX; an offset from UTC counts where the file says its own."""
    sign = max(stamp.rfind("+"), stamp.rfind("-"))
    offset = _zone(stamp[sign:]) if sign > 0 else None
    digits = stamp[:sign] if offset is not None else stamp
    day, clock = _day(digits[:8]), _clock(digits[8:])
    if day is None or clock is None:
        return None
    if offset is not None and zone is not None:
        return (day + clock).replace(tzinfo=offset).astimezone(zone).replace(tzinfo=None)
    return day + clock


def _day(word: str) -> datetime | None:
    try:
        return datetime.strptime(word.strip().replace(".", ""), "%Y%m%d")
    except ValueError:
        return None


def _clock(word: str) -> timedelta | None:
    """HHMMSS.FFFFFF, its end may be left out; HH:MM:SS of older files."""
    whole, _, fraction = word.strip().replace(":", "").partition(".")
    if (
        not (whole.isascii() and whole.isdigit())
        or len(whole) not in (2, 4, 6)
        or (fraction and not fraction.isdigit())
    ):
        return None
    hours, minutes, seconds = (int(whole[at : at + 2] or 0) for at in (0, 2, 4))
    if hours > 23 or minutes > 59 or seconds > 60:
        return None
    return timedelta(hours=hours, minutes=minutes, seconds=seconds + float(f"0.{fraction or 0}"))


def _zone(word: str) -> timezone | None:
    """&ZZXX: sign, hours, minutes from UTC."""
    word = word.strip()
    if len(word) != 5 or word[0] not in "+-" or not word[1:].isdigit() or int(word[1:3]) > 14:
        return None
    offset = timedelta(hours=int(word[1:3]), minutes=int(word[3:]))
    return timezone(-offset if word[0] == "-" else offset)
