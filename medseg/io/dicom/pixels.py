"""The values of one image in real-world units: stored values, padding found on them, rescaled; (rows, columns).

Slope and intercept (or the modality LUT) are those of the image itself. Whole numbers stay whole numbers; everything
else is computed in float64 and kept in float32. What a real-world value map says is not applied: it is a second opinion
about the same pixels. Which voxels are padding is said, not settled.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydicom.pixels.processing import apply_modality_lut

from medseg.core.errors import InputError
from medseg.io.dicom.find import DAMAGE, Frame, numbers, quietly, text
from medseg.io.dicom.stored import Layout, layout_of, stored_values

__all__ = ["Rescale", "SliceValues", "check_grey", "keeps_integers", "rescale_of", "slice_values"]

_COLOURS = ("PALETTE COLOR", "ARGB", "CMYK", "HSV")
"""Photometric interpretations that are refused by their name; RGB and YBR may hold nothing but greys."""

_FLOAT32_MAX = float(np.finfo(np.float32).max)


@dataclass(frozen=True)
class Rescale:
    """stored · slope + intercept; `has_table`: a modality LUT instead."""

    slope: float
    intercept: float
    has_table: bool

    @property
    def keeps_integers(self) -> bool:
        """Whether whole numbers stay whole numbers."""
        return self.slope == 1 and self.intercept.is_integer() and not self.has_table


@dataclass(frozen=True)
class SliceValues:
    """One slice (rows, columns) in real-world values, and where it is padding (None: nowhere).

    `values` are float32, or whole numbers: of the stored type with `added` still to be added, which lets the caller
    choose the type that holds them all.
    """

    values: NDArray[Any]
    padding: NDArray[np.bool_] | None
    added: int = 0


def check_grey(file: Frame) -> None:
    """Refuse what a header says is in colour; whether RGB holds nothing but greys is seen when it is read.

    Raises:
        InputError: The image is in colour.
    """
    photometric = text(file.header, "PhotometricInterpretation")
    if photometric in _COLOURS:
        raise InputError(f"{file.path} is in colour ({photometric}); medseg reads grey images from DICOM.")


def rescale_of(file: Frame) -> Rescale:
    """How stored values become real ones; a slope that is absent or 0 is 1.

    Raises:
        InputError: Slope or intercept are there and are no numbers.
    """
    slope, intercept = _number(file, "RescaleSlope", 1.0), _number(file, "RescaleIntercept", 0.0)
    if abs(slope) * 2.0**32 + abs(intercept) > _FLOAT32_MAX:
        raise InputError(f"{file.path} has a RescaleSlope of {slope:g} and a RescaleIntercept of {intercept:g}.")
    return Rescale(slope or 1.0, intercept, "ModalityLUTSequence" in file.header)


def keeps_integers(file: Frame) -> bool:
    """Whether the real-world values are whole numbers by their header: slope 1 and a whole intercept."""
    return rescale_of(file).keeps_integers


def slice_values(file: Frame, factor: float = 1.0) -> SliceValues:
    """Read or decode one image.

    Args:
        file: The image.
        factor: What the real-world values are multiplied with (SUV of PET).

    Raises:
        InputError: It is cut off, in colour, compressed in a way that cannot be decoded, or stores bits unusually.
    """
    layout, rescale = layout_of(file), rescale_of(file)
    stored = stored_values(file)
    padding = _padding(file, layout, stored)
    if rescale.keeps_integers and factor == 1:
        return SliceValues(stored, padding, int(rescale.intercept))
    if rescale.has_table:
        return SliceValues(_looked_up(file, stored, factor), padding)
    values = np.multiply(stored, rescale.slope, dtype=np.float64)
    values += rescale.intercept
    values *= factor
    return SliceValues(values.astype(np.float32), padding)


def _number(file: Frame, keyword: str, default: float) -> float:
    """A number that may be absent or empty, but not unreadable."""
    value = numbers(file.header, keyword)
    if value is None and text(file.header, keyword).strip():
        raise InputError(f"{file.path} has a {keyword} that is not a number; its values are unknown.")
    return default if value is None else value[0]


def _looked_up(file: Frame, stored: NDArray[Any], factor: float) -> NDArray[np.float32]:
    try:
        with quietly():
            values = np.asarray(apply_modality_lut(stored, file.header), np.float64) * factor
    except DAMAGE as error:
        raise InputError(f"{file.path} has a modality LUT that cannot be applied. Copy or export it again.") from error
    return values.astype(np.float32)


def _padding(file: Frame, layout: Layout, stored: NDArray[Any]) -> NDArray[np.bool_] | None:
    value = numbers(file.header, "PixelPaddingValue")
    if value is None:
        return None
    limit = numbers(file.header, "PixelPaddingRangeLimit") or value
    low, high = sorted(_as_stored(layout, end[0]) for end in (value, limit))
    if low == high:
        return np.asarray(stored == low)
    return np.asarray((stored >= low) & (stored <= high))


def _as_stored(layout: Layout, value: float) -> int:
    """A padding value by the sign rule of the pixels; files give it as signed or unsigned as they like."""
    bits, whole = layout.bits_stored, int(value)
    if not layout.is_signed and whole < 0:
        return whole + (1 << layout.bits_allocated)
    if layout.is_signed and whole >= 1 << (bits - 1):
        whole &= (1 << bits) - 1
        return whole - ((whole >> (bits - 1)) << bits)
    return whole
