"""FreeSurfer's MGH files (.mgh, .mgz), read only; nibabel knows the header, and its world is RAS+ mm as ours is.

The bytes are read here, to the end of the stream, as those of NIfTI are. Behind the voxels a file may hold further
text and numbers, which are no part of the image.
"""

from dataclasses import replace
from io import BytesIO
from math import prod
from pathlib import Path
from typing import Any

import numpy as np
from nibabel.freesurfer.mghformat import MGHError, MGHHeader
from numpy.typing import NDArray

from medseg.core.errors import InputError
from medseg.core.geometry import Geometry, is_solid
from medseg.core.volume import LabelMap, Meta, Volume
from medseg.io.binary import voxels_behind
from medseg.io.options import ReadOptions, channels_of_volumes
from medseg.io.streams import ByteStream
from medseg.io.values import NotALabelMapError, as_image, as_labels

__all__ = ["read", "read_geometry", "read_labels"]

_HEADER_BYTES = 284
_VERSION = 1
_TYPES = {0: ">u1", 1: ">i4", 3: ">f4", 4: ">i2", 10: ">u2"}
"""NumPy's word for FreeSurfer's codes (mri.h: MRI_UCHAR, MRI_INT, MRI_FLOAT, MRI_SHORT, MRI_USHRT)."""

_NO_PLACE = "The file has no place in space (goodRASFlag is 0); its axes were taken as FreeSurfer does, coronal."


def read(path: Path, options: ReadOptions) -> Volume:
    """The image in a file: channels first, in the file's own type."""
    stored, grid, meta = _read_whole(path, options)
    array, mended = as_image(stored, str(path))
    return Volume(array, grid, replace(meta, warnings=meta.warnings + mended))


def read_labels(path: Path, options: ReadOptions) -> LabelMap:
    """The label map in a file; a file of several frames is refused."""
    stored, grid, meta = _read_whole(path, options)
    if len(stored) > 1:
        raise NotALabelMapError(f"{path} is not a label map: it holds {len(stored)} frames; a label map has one.")
    array, mended = as_labels(stored[0], str(path))
    return LabelMap(array, grid, meta=replace(meta, warnings=meta.warnings + mended))


def read_geometry(path: Path, options: ReadOptions) -> tuple[Geometry, int]:
    """Grid and number of channels; only the header is read."""
    with ByteStream(path) as stream:
        header = _header(stream, path)
    n_frames = int(header["dims"][3])
    return _grid(header, path), channels_of_volumes(n_frames, path, options) if n_frames > 1 else 1


def _read_whole(path: Path, options: ReadOptions) -> tuple[NDArray[Any], Geometry, Meta]:
    """Voxels (c, i, j, k) as stored, their grid, and what is known of it."""
    with ByteStream(path) as stream:
        header = _header(stream, path)
        grid, dtype = _grid(header, path), np.dtype(_TYPES[int(header["type"])])
        sides = tuple(int(n) for n in header["dims"])
        voxels, _ = voxels_behind(stream, _HEADER_BYTES, prod(sides) * dtype.itemsize, path)
    array = voxels.view(dtype).astype(dtype.newbyteorder("="), copy=False).reshape(sides, order="F")
    stored = np.moveaxis(array, -1, 0)
    if sides[3] > 1:
        channels_of_volumes(sides[3], path, options)
        stored = stored if options.volume is None else stored[options.volume : options.volume + 1]
    is_placed = int(header["goodRASFlag"]) > 0
    meta = Meta("mgh", is_placed, {"dtype": str(array.dtype)}, () if is_placed else (_NO_PLACE,))
    return stored, grid, meta


def _header(stream: ByteStream, path: Path) -> MGHHeader:
    start = stream.read(_HEADER_BYTES)
    if len(start) < _HEADER_BYTES:
        cause = stream.damage or "it ends inside its header"
        raise InputError(f"{path} is damaged: {cause}, after {len(start)} of {_HEADER_BYTES} bytes. Copy it again.")
    if int.from_bytes(start[:4], "big") != _VERSION:
        raise InputError(f"{path} is not an MGH file: it does not begin with version {_VERSION} of its header.")
    try:
        header: MGHHeader = MGHHeader.from_fileobj(BytesIO(start), check=False)
    except (MGHError, KeyError, ValueError, OverflowError) as error:  # what nibabel makes of odd types and sizes
        raise InputError(f"{path} has a damaged header: no size or an unknown type of its voxels.") from error
    if int(header["type"]) not in _TYPES:
        raise InputError(f"{path} holds numbers of an unknown type (code {int(header['type'])}).")
    if min(int(n) for n in header["dims"]) < 1:
        raise InputError(f"{path} has the dimensions {[int(n) for n in header['dims']]}; each must be one or more.")
    return header


def _grid(header: MGHHeader, path: Path) -> Geometry:
    affine = header.get_affine().astype(np.float64)
    if not (np.isfinite(affine).all() and is_solid(affine)):
        raise InputError(f"{path} has a damaged header: its axes do not span a space.")
    i, j, k = (int(n) for n in header["dims"][:3])
    return Geometry((i, j, k), affine)
