"""From slices in order to one array (i, j, k): every slice decoded and rescaled, padding and MONOCHROME1 settled.

The array lies in memory slice by slice, so that a slice is filled in one run, and nothing of its size is kept beside.
int16 where that loses nothing, else int32 for whole numbers and float32. Nothing is placed here; which slices there
are, and in which order, was settled before.
"""

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydicom.dataset import Dataset

from medseg.io.binary import refuse_more_than_free
from medseg.io.dicom.encoded import forget
from medseg.io.dicom.find import Frame, numbers, text
from medseg.io.dicom.pixels import SliceValues, keeps_integers, slice_values
from medseg.io.dicom.stored import n_zeros_after

__all__ = ["assemble"]

_AIR_HU = -1024
_RELATIVE_MODALITIES = frozenset({"DX", "CR", "MG", "XA", "RF"})
"""Modalities without a scale of their own: there MONOCHROME1 means that dark is high, and values are turned."""


def assemble(
    slices: Sequence[Frame | None], factors: Sequence[float] | None = None
) -> tuple[NDArray[Any], tuple[str, ...]]:
    """The values of slices of one size, and notes on what was done to them.

    Args:
        slices: In the order of the third axis. Where one is None, zeros are left for the caller to fill.
        factors: What the real-world values of each slice are multiplied with; None: with nothing.

    Raises:
        InputError: A slice is cut off, in colour, or cannot be decoded.
    """
    factors = [1.0] * len(slices) if factors is None else factors
    present = [(k, frame, factor) for k, (frame, factor) in enumerate(zip(slices, factors, strict=True)) if frame]
    frames = [frame for _, frame, _ in present]
    (n_columns,), (n_rows,) = (numbers(frames[0].header, key) or (0.0,) for key in ("Columns", "Rows"))
    is_whole = all(factor == 1 and keeps_integers(frame) for _, frame, factor in present)
    dtype = np.dtype(np.int16 if is_whole else np.float32)
    refuse_more_than_free(int(n_columns) * int(n_rows) * len(slices) * dtype.itemsize, frames[0].path.parent)
    assembly = _Assembly((int(n_columns), int(n_rows), len(slices)), dtype)
    try:
        for k, frame, factor in present:
            assembly.add(k, slice_values(frame, factor))
    finally:
        forget()
    modality = text(frames[0].header, "Modality")
    notes = assembly.settle_padding(modality)
    if text(frames[0].header, "PhotometricInterpretation") == "MONOCHROME1":
        notes += assembly.settle_polarity(modality)
    return assembly.array, notes + _about(frames)


class _Assembly:
    """The array as it grows; of the padding one bit a voxel is kept, and only of slices that have some."""

    def __init__(self, shape: tuple[int, int, int], dtype: np.dtype[Any]) -> None:
        self.array: NDArray[Any] = np.zeros(shape, dtype, order="F")
        self._padding: dict[int, NDArray[np.uint8]] = {}
        self._n_padded = 0
        self._lowest_padding = np.inf
        self._low, self._high = np.inf, -np.inf  # of what is not padding

    def add(self, k: int, slice_: SliceValues) -> None:
        """Fill slice k."""
        values, real = slice_.values, slice_.values
        if slice_.padding is not None and slice_.padding.any():
            real = values[~slice_.padding]
            self._padding[k] = np.packbits(slice_.padding)
            self._n_padded += values.size - real.size
            self._lowest_padding = min(self._lowest_padding, values[slice_.padding].min().item() + slice_.added)
        if real.size == 0:
            return
        low, high = real.min().item() + slice_.added, real.max().item() + slice_.added
        self._low, self._high = min(self._low, low), max(self._high, high)
        self._make_room(low, high)
        target = self._slice(k)
        np.copyto(target, values, casting="unsafe")  # integers wrap around, and back when the rest is added
        if slice_.added:
            target += self._wrapped(slice_.added)

    def settle_padding(self, modality: str) -> tuple[str, ...]:
        """Give padded voxels a value that means "outside": in CT that of air or lower, else the smallest real one."""
        if not self._padding:
            return ()
        if self._n_padded == self.array.size:
            self._make_room(self._lowest_padding, self._lowest_padding)
            self.array[...] = self._lowest_padding
            return ("All voxels have the padding value.",)
        fill = min(_AIR_HU, self._lowest_padding) if modality == "CT" else self._low
        self._make_room(fill, fill)
        n_columns, n_rows, _ = self.array.shape
        for k, packed in self._padding.items():
            mask = np.unpackbits(packed, count=n_rows * n_columns).view(bool).reshape(n_rows, n_columns)
            self._slice(k)[mask] = fill
        self._low, self._high = min(self._low, fill), max(self._high, fill)
        return (f"{self._n_padded} padded voxels were set to {fill:g}.",)

    def settle_polarity(self, modality: str) -> tuple[str, ...]:
        """Turn values that mean "dark is high", but only where they have no scale of their own."""
        if modality not in _RELATIVE_MODALITIES:
            return (f"MONOCHROME1 concerns display only; the values of {modality} were left as they are.",)
        np.subtract(self._wrapped(self._low + self._high), self.array, out=self.array)
        return ("MONOCHROME1: the values were turned, so that bright is high.",)

    def _slice(self, k: int) -> NDArray[Any]:
        return self.array[..., k].T

    def _make_room(self, low: float, high: float) -> None:
        """A larger type of whole numbers, if the present one does not hold these."""
        if self.array.dtype.kind != "i":
            return
        fits = (t for t in (np.int16, np.int32, np.int64) if np.iinfo(t).min <= low and high <= np.iinfo(t).max)
        needed = np.promote_types(self.array.dtype, next(fits, np.int64))
        if needed != self.array.dtype:
            self.array = self.array.astype(needed)

    def _wrapped(self, value: float) -> Any:  # noqa: ANN401  a numpy scalar of the array's type
        if self.array.dtype.kind != "i":
            return self.array.dtype.type(value)
        return np.array(int(value), np.int64).astype(self.array.dtype)[()]


def _about(frames: Sequence[Frame]) -> tuple[str, ...]:
    """What a reader of the values should know of the files."""
    notes = []
    lossy = [frame.header for frame in frames if text(frame.header, "LossyImageCompression") == "01"]
    if lossy:
        notes.append(f"{_slices(len(lossy), 'was', 'were')} compressed with loss{_ratio(lossy[0])}.")
    n_burnt = sum(text(frame.header, "BurnedInAnnotation").upper() == "YES" for frame in frames)
    if n_burnt:
        notes.append(f"{_slices(n_burnt, 'has', 'have')} text burnt in (BurnedInAnnotation), which may name someone.")
    photometric = text(frames[0].header, "PhotometricInterpretation")
    if not photometric.startswith("MONOCHROME") and photometric:
        notes.append(f"The pixels are declared as colour ({photometric}) and hold greys only; one channel was read.")
    n_zeros = n_zeros_after(frames[0])
    if n_zeros:
        notes.append(f"{n_zeros} bytes of zeros after the pixels of a slice were left aside.")
    return tuple(notes)


def _slices(n: int, one: str, several: str) -> str:
    return f"1 slice {one}" if n == 1 else f"{n} slices {several}"


def _ratio(header: Dataset) -> str:
    ratios = text(header, "LossyImageCompressionRatio").split("\\")  # one for each time that it was compressed
    return f" (ratio {float(ratios[-1]):g})" if _is_number(ratios[-1]) else ""


def _is_number(word: str) -> bool:
    try:
        return math.isfinite(float(word))
    except ValueError:
        return False
