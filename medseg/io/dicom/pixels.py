"""The values of one slice: decoded, cut to the stored bits, padding found, rescaled; (rows, columns).

pydicom decodes (with whichever plugins are installed). Padding is found on the stored values, before the rescale; slope
and intercept are those of the slice itself. What is not a grey image of whole numbers is refused.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from pydicom import dcmread
from pydicom.dataset import Dataset
from pydicom.pixels.processing import apply_modality_lut
from pydicom.pixels.utils import pixel_array
from pydicom.uid import UID, ExplicitVRBigEndian, ExplicitVRLittleEndian, ImplicitVRLittleEndian

from medseg.core.errors import InputError
from medseg.io.dicom.find import DAMAGE, Frame, numbers, quietly, text

__all__ = ["SliceValues", "check_grey", "keeps_integers", "slice_values"]

_PLUGINS = {
    "JPEG 2000": "pylibjpeg-openjpeg",
    "HTJ2K": "pylibjpeg-openjpeg",
    "High-Throughput": "pylibjpeg-openjpeg",
} | {
    "JPEG-LS": "pyjpegls",
    "RLE": "pylibjpeg-rle",
}
"""Part of a transfer syntax's name → the package that decodes it."""


@dataclass(frozen=True)
class SliceValues:
    """One slice (rows, columns) in real-world values, and where it is padding (None: nowhere)."""

    values: NDArray[np.floating] | NDArray[np.int64]
    padding: NDArray[np.bool_] | None


def check_grey(file: Frame) -> None:
    """Refuse colours, by the header.

    Raises:
        InputError: The image is in colour.
    """
    samples = numbers(file.header, "SamplesPerPixel") or (1.0,)
    photometric = text(file.header, "PhotometricInterpretation")
    if samples[0] != 1 or photometric not in ("MONOCHROME1", "MONOCHROME2", ""):
        raise InputError(f"{file.path} is in colour ({photometric}); medseg reads grey images from DICOM.")


def keeps_integers(file: Frame) -> bool:
    """Whether the real-world values are whole numbers by their header: slope 1 and a whole intercept."""
    slope, intercept = _rescale(file.header)
    return slope == 1 and intercept.is_integer() and "ModalityLUTSequence" not in file.header


def slice_values(file: Frame) -> SliceValues:
    """Decode one file.

    Raises:
        InputError: It is cut off, compressed in a way that cannot be decoded here, or stores bits unusually.
    """
    with quietly():
        try:
            return _slice_values(file)
        except DAMAGE as error:
            raise InputError(f"{file.path} is cut off or damaged. Copy it again.") from error


def _slice_values(file: Frame) -> SliceValues:
    dataset = dcmread(file.path, force=True)
    stored = _stored(file, dataset)
    padding = _padding(dataset, stored)
    if "ModalityLUTSequence" in dataset:
        return SliceValues(np.asarray(apply_modality_lut(stored, dataset), np.float64), padding)
    slope, intercept = _rescale(dataset)
    if keeps_integers(file):
        return SliceValues(stored + int(intercept), padding)
    return SliceValues(stored * slope + intercept, padding)


def _stored(file: Frame, dataset: Dataset) -> NDArray[np.int64]:
    """Stored values, whatever the allocation: only BitsStored bits count, the highest is the sign if there is one."""
    if not hasattr(dataset.file_meta, "TransferSyntaxUID"):
        # A file without its head: pydicom guessed the encoding of the elements, the pixels are encoded likewise.
        dataset.file_meta.TransferSyntaxUID = _guessed_syntax(dataset)
    bits = _bits(file, dataset)
    _check_length(file, dataset)
    raw = _decoded(file, dataset)
    values = raw.astype(np.int64) & ((1 << bits) - 1)
    if int(text(dataset, "PixelRepresentation") or 0) == 1:
        values = _signed(values, bits)
    return values


def _guessed_syntax(dataset: Dataset) -> UID:
    is_implicit, is_little = dataset.original_encoding
    if is_implicit:
        return ImplicitVRLittleEndian
    return ExplicitVRLittleEndian if is_little else ExplicitVRBigEndian


def _bits(file: Frame, dataset: Dataset) -> int:
    allocated, stored, high = (numbers(dataset, key) for key in ("BitsAllocated", "BitsStored", "HighBit"))
    if allocated is None or stored is None or not 1 <= stored[0] <= allocated[0]:
        raise InputError(f"{file.path} does not say how its pixels are stored (BitsAllocated, BitsStored).")
    if high is not None and high[0] != stored[0] - 1:
        raise InputError(
            f"{file.path} stores bits in an unusual place (HighBit {high[0]:.0f}, BitsStored {stored[0]:.0f})."
        )
    return int(stored[0])


def _check_length(file: Frame, dataset: Dataset) -> None:
    if "PixelData" not in dataset:
        raise InputError(f"{file.path} is cut off or damaged: it has no pixels.")
    if dataset.file_meta.TransferSyntaxUID.is_encapsulated:
        return
    expected = int(text(dataset, "Rows")) * int(text(dataset, "Columns")) * int(text(dataset, "BitsAllocated")) // 8
    found = len(dataset.PixelData)
    if found < expected:
        raise InputError(f"{file.path} is cut off: {found} bytes of pixels, {expected} expected. Copy it again.")


def _decoded(file: Frame, dataset: Dataset) -> NDArray[np.integer]:
    syntax = dataset.file_meta.TransferSyntaxUID
    try:
        raw = pixel_array(dataset, raw=True)
    except DAMAGE as error:
        raise InputError(_undecoded(file, syntax)) from error
    expected = (int(text(dataset, "Rows")), int(text(dataset, "Columns")))
    if raw.shape != expected or raw.dtype.kind not in "ui":
        raise InputError(
            f"{file.path} holds pixels of shape {raw.shape} and type {raw.dtype}; {expected} was expected."
        )
    return np.asarray(raw)


def _undecoded(file: Frame, syntax: UID) -> str:
    if not syntax.is_encapsulated:
        return f"{file.path} is damaged: its pixels cannot be decoded. Copy it again."
    plugin = next((package for part, package in _PLUGINS.items() if part in syntax.name), None)
    advice = f"install {plugin}" if plugin else "decompress it first, for example with gdcmconv --raw"
    return f"{file.path} is compressed with {syntax.name} and cannot be decoded here: {advice}; or it is damaged."


def _signed(values: NDArray[np.int64], bits: int) -> NDArray[np.int64]:
    return values - ((values >> (bits - 1)) << bits)


def _padding(dataset: Dataset, stored: NDArray[np.int64]) -> NDArray[np.bool_] | None:
    value = numbers(dataset, "PixelPaddingValue")
    if value is None:
        return None
    limit = numbers(dataset, "PixelPaddingRangeLimit") or value
    low, high = sorted(_as_stored(dataset, end[0]) for end in (value, limit))
    return (stored >= low) & (stored <= high)


def _as_stored(dataset: Dataset, value: float) -> int:
    """A padding value by the sign rule of the pixels; files give it as signed or unsigned as they like."""
    bits = int(text(dataset, "BitsStored"))
    if int(text(dataset, "PixelRepresentation") or 0) == 0 or value < 0:
        return int(value)
    return int(_signed(np.array(int(value) & ((1 << bits) - 1)), bits)) if value >= 1 << (bits - 1) else int(value)


def _rescale(header: Dataset) -> tuple[float, float]:
    """Slope and intercept; a slope that is absent or 0 is 1."""
    slope, intercept = (numbers(header, key) for key in ("RescaleSlope", "RescaleIntercept"))
    return (slope[0] if slope is not None and slope[0] != 0 else 1.0), (intercept[0] if intercept is not None else 0.0)
