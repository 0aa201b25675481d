"""Fields of MetaImage and NRRD headers that change what others mean: units of length, and the scale of stored numbers.

The libraries that read these formats leave both to their users, and so microns become millimetres and a CT loses its
1024 HU without a word. Here they are honoured, or refused where they cannot be understood.
"""

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from medseg.core.errors import InputError
from medseg.io.text_headers import TextHeader
from medseg.io.values import Scaling

__all__ = ["axis_units_mm", "stored_scaling", "world_units_mm"]

_MM: Mapping[str, float] = {
    **dict.fromkeys(("", "?", "???", "none", "unknown", "mm", "millimeter", "millimetre", "millimeters"), 1.0),
    **dict.fromkeys(("millimetres", "millimeter(s)"), 1.0),
    **dict.fromkeys(("um", "µm", "μm", "micron", "microns", "micrometer", "micrometre", "micrometers"), 1e-3),
    **dict.fromkeys(("micrometres",), 1e-3),
    **dict.fromkeys(("nm", "nanometer", "nanometre", "nanometers", "nanometres"), 1e-6),
    **dict.fromkeys(("cm", "centimeter", "centimetre", "centimeters", "centimetres"), 10.0),
    **dict.fromkeys(("m", "meter", "metre", "meters", "metres"), 1000.0),
    **dict.fromkeys(("in", "inch", "inches"), 25.4),
}
"""Units of length in mm; one that is not given is taken for mm."""


def world_units_mm(header: TextHeader, n_space: int, path: Path) -> NDArray[np.float64]:
    """Millimetres of a step along each axis of the world, (n_space,): `space units`, or MetaImage's `DistanceUnits`.

    Raises:
        InputError: A unit is not known.
    """
    if header.is_meta_image:
        return np.full(n_space, _mm(header.fields.get("distanceunits", ""), "DistanceUnits", path))
    units = _words(header.fields.get("space units", ""))
    return np.array([_mm(unit, "space units", path) for unit in (*units, *[""] * n_space)[:n_space]])


def axis_units_mm(header: TextHeader, axes: tuple[int, ...], path: Path) -> NDArray[np.float64]:
    """Millimetres of a unit of NRRD's `spacings` and `axis mins` along some axes of the array.

    Raises:
        InputError: A unit is not known.
    """
    units = (*_words(header.fields.get("units", "")), *[""] * len(header.sizes))
    return np.array([_mm(units[axis], "units", path) for axis in axes])


def stored_scaling(header: TextHeader, dtype: np.dtype[Any], path: Path) -> Scaling:
    """What makes values of stored numbers.

    MetaImage: value = ElementToIntensityFunctionSlope · stored + ElementToIntensityFunctionOffset.
    NRRD: `old min` and `old max` are the values that the smallest and the largest number of an integer type stand for
    (format definition of NRRD, "Basic field specifications"); they say nothing of real numbers.

    Raises:
        InputError: A field is no number, or says that all numbers mean one value.
    """
    if header.is_meta_image:
        slope = _real(header, "elementtointensityfunctionslope", 1.0, path)
        return _checked(Scaling(slope, _real(header, "elementtointensityfunctionoffset", 0.0, path)), path)
    low, high = (_real(header, key, np.nan, path) for key in ("old min", "old max"))
    if dtype.kind not in "ui" or not (np.isfinite(low) and np.isfinite(high)):
        return Scaling()
    smallest, largest = float(np.iinfo(dtype).min), float(np.iinfo(dtype).max)
    slope = (high - low) / (largest - smallest)
    return _checked(Scaling(slope, low - slope * smallest), path)


def _checked(scaling: Scaling, path: Path) -> Scaling:
    if scaling.slope == 0 or not (np.isfinite(scaling.slope) and np.isfinite(scaling.intercept)):
        raise InputError(
            f"{path} has a damaged header: it scales its numbers by {scaling.slope:g} and adds {scaling.intercept:g}."
        )
    return scaling


def _real(header: TextHeader, key: str, default: float, path: Path) -> float:
    try:
        return float(header.fields.get(key, default))
    except ValueError:
        raise InputError(
            f"{path} has a damaged header: '{key}' is '{header.fields[key][:80]}', not a number."
        ) from None


def _words(text: str) -> list[str]:
    """Quoted words, as `"mm" "mm" ""`; some programs leave the quotes out."""
    return re.findall(r'"([^"]*)"', text) if '"' in text else text.split()


def _mm(unit: str, key: str, path: Path) -> float:
    try:
        return _MM[unit.strip().lower()]
    except KeyError:
        raise InputError(
            f"{path} gives its lengths in '{unit[:40]}' ({key}), which medseg does not know; correct the unit "
            "(mm, um, nm, cm, m or inch)."
        ) from None
