"""NRRD files (.nrrd, .nhdr), Slicer's segmentations (.seg.nrrd) among them: read here, written by SimpleITK.

The definition of the format (teem.sourceforge.net/nrrd/format.html) is short, and ITK reads less than it: no units, no
scale, no four axes unless their kinds are given, no bzip2. The world is turned to RAS+ mm by the name of the space.
"""

from collections.abc import Collection, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from medseg.core.errors import InputError
from medseg.core.geometry import Geometry
from medseg.core.volume import LabelMap, Meta, Volume
from medseg.io import itk
from medseg.io.chosen import chosen
from medseg.io.header_units import stored_scaling
from medseg.io.itk import check_grid
from medseg.io.nrrd_axes import Axes, axes_of, grid_of
from medseg.io.options import ReadOptions
from medseg.io.segments import composed, reference_grid, segments_in
from medseg.io.text_headers import TextHeader, read_text_header
from medseg.io.text_voxels import voxels
from medseg.io.values import Scaling, as_image, as_labels, check_real, several_layers

__all__ = ["check_grid", "read", "read_geometry", "read_labels", "write"]

_TYPES: Mapping[str, str] = {
    **dict.fromkeys(("char", "signed char", "int8", "int8_t"), "i1"),
    **dict.fromkeys(("uchar", "unsigned char", "uint8", "uint8_t"), "u1"),
    **dict.fromkeys(("short", "short int", "signed short", "signed short int", "int16", "int16_t"), "i2"),
    **dict.fromkeys(("ushort", "unsigned short", "unsigned short int", "uint16", "uint16_t"), "u2"),
    **dict.fromkeys(("int", "signed int", "int32", "int32_t"), "i4"),
    **dict.fromkeys(("uint", "unsigned int", "uint32", "uint32_t"), "u4"),
    **dict.fromkeys(("longlong", "long long", "long long int", "signed long long"), "i8"),
    **dict.fromkeys(("signed long long int", "int64", "int64_t"), "i8"),
    **dict.fromkeys(("ulonglong", "unsigned long long", "unsigned long long int", "uint64", "uint64_t"), "u8"),
    "float": "f4",
    "double": "f8",
}
"""NumPy's word for NRRD's."""


def read(path: Path, options: ReadOptions) -> Volume:
    """The image in a file: channels first, in the file's own type where it is not scaled, else float32."""
    stored, scaling, grid, meta, _ = _read_whole(path, options)
    array, mended = as_image(stored, str(path), scaling)
    return Volume(array, grid, replace(meta, warnings=meta.warnings + mended))


def read_labels(path: Path, options: ReadOptions, wanted: Collection[str] | None = None) -> LabelMap:
    """The label map in a file, with names and layers where it is a segmentation of Slicer's (.seg.nrrd).

    Of that the segments that are wanted are read; None: all.
    """
    stored, scaling, grid, meta, header = _read_whole(path, options)
    segments = segments_in(header.texts, str(path))
    if stored.shape[0] > 1 and not segments:
        raise InputError(several_layers(str(path), stored.shape[0]))
    layers, mended = as_labels(stored, str(path), scaling)
    array, labels = layers[0], None
    if segments:
        names = chosen([segment.name for segment in segments], path, options, wanted)
        array, labels, notes = composed(layers, segments, str(path), options.overlaps, names.names)
        mended += names.notes + notes
    whole = reference_grid(header.texts, grid)
    if whole is not None:
        array, grid = _padded(array, *whole), whole[0]
        mended += ("The segmentation is cut to its segments; it was put back into the grid that it was drawn on.",)
    return LabelMap(array, grid, labels, replace(meta, warnings=meta.warnings + mended))


def read_geometry(path: Path, options: ReadOptions) -> tuple[Geometry, int]:
    """Grid and number of channels; only the header is read."""
    header = _header(path)
    axes = axes_of(header, path, options)
    grid = grid_of(header, axes, path, options).grid
    whole = reference_grid(header.texts, grid)
    return grid if whole is None else whole[0], axes.n_channels


def write(thing: Volume | LabelMap, path: Path, like: Meta, final: Path) -> None:
    """Write to `path` (what will be `final`), compressed, as `io.itk` does."""
    itk.write(thing, path, like, final)


def _header(path: Path) -> TextHeader:
    header = read_text_header(path)
    if header.is_meta_image or "type" not in header.fields:
        raise InputError(f"{path} is not an NRRD file: it does not begin with 'NRRD', or its header has no type.")
    return header


def _read_whole(path: Path, options: ReadOptions) -> tuple[NDArray[Any], Scaling, Geometry, Meta, TextHeader]:
    """Voxels (c, i, j, k) as stored, what scales them, their grid, and what is known of it."""
    header = _header(path)
    axes = axes_of(header, path, options)
    placing = grid_of(header, axes, path, options)
    dtype = _dtype(header, path)
    stored = _channels_first(voxels(header, dtype, header.sizes, path), axes)
    meta = Meta("nrrd", placing.placed, {"n_dims": len(axes.space), "dtype": str(stored.dtype)}, placing.warnings)
    check_real(stored.dtype, str(path))
    return stored, stored_scaling(header, dtype, path), placing.grid, meta, header


def _dtype(header: TextHeader, path: Path) -> np.dtype[Any]:
    name = header.fields["type"].lower()
    if name not in _TYPES:
        raise InputError(f"{path} holds numbers of an unknown type ('{name[:40]}').")
    dtype = np.dtype(_TYPES[name])
    order = {"little": "<", "big": ">"}.get(header.fields.get("endian", "").lower())
    if order is None and dtype.itemsize > 1 and header.packing != "text":
        raise InputError(f"{path} has a damaged header: it does not say the order of bytes (endian: little or big).")
    return dtype if order is None else np.dtype(order + _TYPES[name])


def _channels_first(stored: NDArray[Any], axes: Axes) -> NDArray[Any]:
    """A view (c, i, j, k) of the stored array."""
    others = tuple(axis for axis in range(stored.ndim) if axis not in axes.space)
    moved = stored.transpose(*others, *axes.space)
    moved = moved.reshape(-1, *moved.shape[len(others) :]) if len(others) != 1 else moved
    if len(axes.space) == 2:
        moved = moved[..., None]
    return moved if axes.volume is None else moved[axes.volume : axes.volume + 1]


def _padded(array: NDArray[Any], whole: Geometry, start: tuple[int, int, int]) -> NDArray[Any]:
    padded = np.zeros(whole.shape, array.dtype)
    padded[tuple(slice(a, a + n) for a, n in zip(start, array.shape, strict=True))] = array
    return padded
