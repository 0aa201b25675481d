"""From slices in order to one array (i, j, k): every slice decoded and rescaled, padding and MONOCHROME1 settled.

The array lies in memory slice by slice, so that a slice is filled in one run. int16 where that loses nothing, else
float32 (int32 for whole numbers that are larger). Nothing is placed here; which slices there are, and in which order,
was settled before.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from medseg.io.dicom.find import Frame, numbers, text
from medseg.io.dicom.pixels import keeps_integers, slice_values

__all__ = ["assemble"]

_AIR_HU = -1024
_RELATIVE_MODALITIES = frozenset({"DX", "CR", "MG", "XA", "RF"})
"""Modalities without a scale of their own: there MONOCHROME1 means that dark is high, and values are turned."""

_INT16 = np.iinfo(np.int16)


def assemble(slices: Sequence[Frame | None]) -> tuple[NDArray[Any], tuple[str, ...]]:
    """The values of slices of one size, and notes on what was done to them.

    Args:
        slices: In the order of the third axis. Where one is None, zeros are left for the caller to fill.

    Raises:
        InputError: A slice is cut off, in colour, or cannot be decoded.
    """
    frames = [frame for frame in slices if frame is not None]
    is_whole = all(keeps_integers(frame) for frame in frames)
    (n_columns,), (n_rows,) = (numbers(frames[0].header, key) or (0.0,) for key in ("Columns", "Rows"))
    shape = (int(n_columns), int(n_rows), len(slices))
    array = np.zeros(shape, np.int32 if is_whole else np.float32, order="F")
    padding = np.zeros(shape, bool, order="F") if any("PixelPaddingValue" in f.header for f in frames) else None
    for k, frame in enumerate(slices):
        if frame is None:
            continue
        values = slice_values(frame)
        array[..., k] = values.values.T
        if padding is not None and values.padding is not None:
            padding[..., k] = values.padding.T
    notes: tuple[str, ...] = ()
    if padding is not None and padding.any():
        notes += _fill(array, padding, text(frames[0].header, "Modality"))
    if text(frames[0].header, "PhotometricInterpretation") == "MONOCHROME1":
        notes += _turn(array, text(frames[0].header, "Modality"))
    notes += _about_compression(frames)
    if is_whole and _INT16.min <= array.min() and array.max() <= _INT16.max:
        return array.astype(np.int16), notes
    return array, notes


def _fill(array: NDArray[Any], padding: NDArray[np.bool_], modality: str) -> tuple[str, ...]:
    """Give padded voxels a value that means "outside": in CT that of air or lower, else the smallest real one."""
    if padding.all():
        return ("All voxels have the padding value; they were left as they are.",)
    fill = min(_AIR_HU, array[padding].min()) if modality == "CT" else array[~padding].min()
    array[padding] = fill
    return (f"{np.count_nonzero(padding)} padded voxels were set to {fill:g}.",)


def _turn(array: NDArray[Any], modality: str) -> tuple[str, ...]:
    if modality not in _RELATIVE_MODALITIES:
        return (f"MONOCHROME1 concerns display only; the values of {modality} were left as they are.",)
    np.subtract(array.max() + array.min(), array, out=array)
    return ("MONOCHROME1: the values were turned, so that bright is high.",)


def _about_compression(frames: Sequence[Frame]) -> tuple[str, ...]:
    lossy = [frame.header for frame in frames if text(frame.header, "LossyImageCompression") == "01"]
    if not lossy:
        return ()
    ratio = numbers(lossy[0], "LossyImageCompressionRatio")
    return (f"{len(lossy)} slices were compressed with loss{f' (ratio {ratio[0]:g})' if ratio else ''}.",)
