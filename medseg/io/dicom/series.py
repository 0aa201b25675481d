"""A DICOM series of one file a slice → a volume: find, group, place, then decode slice by slice.

Only the regular case is read so far: one stack of evenly spaced grey slices at right angles. Everything else is refused
by the step that sees it. Values are those after the rescale of each slice (HU in CT), int16 where that loses nothing.
"""

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from medseg.core.errors import InputError
from medseg.core.geometry import Geometry
from medseg.core.volume import LabelMap, Meta, Volume
from medseg.io.dicom.find import Frame, find_images, numbers, text
from medseg.io.dicom.group import choose_stack
from medseg.io.dicom.pixels import check_grey, keeps_integers, slice_values
from medseg.io.dicom.place import PlacedSeries, place
from medseg.io.options import ReadOptions

__all__ = ["read", "read_geometry", "read_labels"]

_AIR_HU = -1024
_RELATIVE_MODALITIES = frozenset({"DX", "CR", "MG", "XA", "RF"})
"""Modalities without a scale of their own: there MONOCHROME1 means that dark is high, and values are turned."""

_INT16 = np.iinfo(np.int16)


def read(path: Path, options: ReadOptions) -> Volume:
    """The volume of the one series in a folder (or a file), one channel."""
    series, notes = _placed(path, options)
    array, further = _assembled(series)
    header = {"modality": text(series.files[0].header, "Modality")}
    meta = Meta("dicom", header=header, warnings=notes + series.notes + further + _about_compression(series))
    return Volume(array[None], series.grid, meta)


def read_labels(path: Path, options: ReadOptions, image: Path | None = None) -> LabelMap:  # noqa: ARG001  the door's signature
    """Refused: a DICOM image series is no label map, and DICOM SEG and RTSTRUCT are not read yet.

    Raises:
        InputError: Always.
    """
    find_images(path)  # says what a SEG or RTSTRUCT is
    raise InputError(f"{path} is a DICOM image series; give the label map as NIfTI, NRRD, MetaImage or PNG.")


def read_geometry(path: Path, options: ReadOptions) -> tuple[Geometry, int]:
    """Grid and number of channels (always 1); pixels are read only to tell copies of a slice."""
    return _placed(path, options)[0].grid, 1


def _placed(path: Path, options: ReadOptions) -> tuple[PlacedSeries, tuple[str, ...]]:
    found = find_images(path)
    stack, notes = choose_stack(found.images, path, options.series)
    for file in stack.files:
        check_grey(file)
    return place(stack), found.notes + notes


def _assembled(series: PlacedSeries) -> tuple[NDArray[Any], tuple[str, ...]]:
    """The array (i, j, k) of all slices, padding filled, and notes."""
    files = series.files
    is_whole = all(keeps_integers(file) for file in files)
    array = np.empty(series.grid.shape, np.int32 if is_whole else np.float32)
    padding = np.zeros(series.grid.shape, bool) if _may_be_padded(files) else None
    for k, file in enumerate(files):
        values = slice_values(file)
        array[..., k] = values.values.T
        if padding is not None and values.padding is not None:
            padding[..., k] = values.padding.T
    notes: tuple[str, ...] = ()
    if padding is not None and padding.any():
        notes += _fill(array, padding, text(files[0].header, "Modality"))
    if text(files[0].header, "PhotometricInterpretation") == "MONOCHROME1":
        notes += _turn(array, text(files[0].header, "Modality"))
    if is_whole and _INT16.min <= array.min() and array.max() <= _INT16.max:
        return array.astype(np.int16), notes
    return array, notes


def _may_be_padded(files: tuple[Frame, ...]) -> bool:
    return any("PixelPaddingValue" in file.header for file in files)


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


def _about_compression(series: PlacedSeries) -> tuple[str, ...]:
    lossy = [file.header for file in series.files if text(file.header, "LossyImageCompression") == "01"]
    if not lossy:
        return ()
    ratio = numbers(lossy[0], "LossyImageCompressionRatio")
    return (f"{len(lossy)} slices were compressed with loss{f' (ratio {ratio[0]:g})' if ratio else ''}.",)
