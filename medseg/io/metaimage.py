"""MetaImage files (.mha, .mhd): read here by their own header, written by SimpleITK.

A header is a dozen fields (MetaIO's documentation); its world is LPS+ mm and is turned to RAS+ here. ITK's own
parser prints to the screen what it does not like, and some damaged headers end the whole process inside of it.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from medseg.core.errors import InputError
from medseg.core.geometry import Geometry, is_solid
from medseg.core.volume import LabelMap, Meta, Volume
from medseg.io import itk
from medseg.io.header_units import stored_scaling, world_units_mm
from medseg.io.itk import check_grid
from medseg.io.options import ReadOptions, channels_of_volumes
from medseg.io.text_headers import TextHeader, read_text_header
from medseg.io.text_voxels import voxels
from medseg.io.values import Scaling, as_image, as_labels, several_layers

__all__ = ["check_grid", "read", "read_geometry", "read_labels", "write"]

_LPS_RAS = np.diag([-1.0, -1.0, 1.0, 1.0])
"""Turns LPS into RAS."""

_TYPES: Mapping[str, str] = {
    "MET_CHAR": "i1",
    "MET_UCHAR": "u1",
    "MET_SHORT": "i2",
    "MET_USHORT": "u2",
    "MET_INT": "i4",
    "MET_UINT": "u4",
    "MET_LONG": "i4",
    "MET_ULONG": "u4",
    "MET_LONG_LONG": "i8",
    "MET_ULONG_LONG": "u8",
    "MET_FLOAT": "f4",
    "MET_DOUBLE": "f8",
}
"""NumPy's word for MetaImage's; a long has four bytes in it, whatever the machine."""

_AXES = ("transformmatrix", "rotation", "orientation")
_ORIGIN = ("offset", "position", "origin")
"""The names that a field has had in the course of time."""

_UNIT = 0.01
"""How far from 1 the length of a direction may be: some headers have two digits."""

_NO_AXES = "The file does not say how its axes lie; they were taken along L, P and S."


@dataclass(frozen=True)
class _Head:
    """What a header says: the grid, how many of its axes are of space, volumes and numbers in each voxel."""

    header: TextHeader
    grid: Geometry
    n_space: int
    n_volumes: int
    n_components: int
    meta: Meta


def read(path: Path, options: ReadOptions) -> Volume:
    """The image in a file: channels first, in the file's own type where it is not scaled, else float32."""
    stored, scaling, head = _read_whole(path, options)
    array, mended = as_image(stored, str(path), scaling)
    return Volume(array, head.grid, replace(head.meta, warnings=head.meta.warnings + mended))


def read_labels(path: Path, options: ReadOptions) -> LabelMap:
    """The label map in a file."""
    stored, scaling, head = _read_whole(path, options)
    if stored.shape[0] > 1:
        raise InputError(several_layers(str(path), stored.shape[0]))
    layers, mended = as_labels(stored, str(path), scaling)
    return LabelMap(layers[0], head.grid, meta=replace(head.meta, warnings=head.meta.warnings + mended))


def read_geometry(path: Path, options: ReadOptions) -> tuple[Geometry, int]:
    """Grid and number of channels; only the header is read."""
    head = _head(path)
    return head.grid, _n_channels(head, path, options)


def write(thing: Volume | LabelMap, path: Path, like: Meta, final: Path) -> None:
    """Write to `path` (what will be `final`), compressed, as `io.itk` does."""
    itk.write(thing, path, like, final)


def _read_whole(path: Path, options: ReadOptions) -> tuple[NDArray[Any], Scaling, _Head]:
    """Voxels (c, i, j, k) as stored, what scales them, and what the header says."""
    head = _head(path)
    n_channels = _n_channels(head, path, options)
    dtype = _dtype(head.header, path)
    array = voxels(head.header, dtype, (head.n_components, *head.header.sizes), path)
    array = array.reshape((head.n_components, *head.grid.shape, head.n_volumes), order="F")
    if head.n_volumes > 1:
        chosen = array[0] if options.volume is None else array[0][..., options.volume : options.volume + 1]
        stored = np.moveaxis(chosen, -1, 0)[:n_channels]
    else:
        stored = array[..., 0]
    meta = replace(head.meta, header={**head.meta.header, "dtype": str(stored.dtype)})
    return stored, stored_scaling(head.header, stored.dtype, path), replace(head, meta=meta)


def _head(path: Path) -> _Head:
    header = read_text_header(path)
    if not header.is_meta_image:
        raise InputError(f"{path} is not a MetaImage file: it begins as NRRD does. Call it .nrrd.")
    n_dims = len(header.sizes)
    if n_dims not in (2, 3, 4):
        raise InputError(f"{path} has {n_dims} dimensions; medseg reads two or three of space and one of channels.")
    if header.fields.get("ndims", str(n_dims)).strip() != str(n_dims):
        raise InputError(
            f"{path} has a damaged header: NDims is {header.fields['ndims'][:20]}, and DimSize has {n_dims} lengths."
        )
    n_space = min(n_dims, 3)
    has_axes, has_origin = _first(header, _AXES) is not None, _first(header, _ORIGIN) is not None
    meta = Meta("mha", has_axes or has_origin, {"n_dims": n_space}, () if has_axes else (_NO_AXES,))
    n_volumes = header.sizes[3] if n_dims == 4 else 1
    n_components = int(header.fields.get("elementnumberofchannels", 1))
    return _Head(header, _grid(header, n_dims, path), n_space, n_volumes, n_components, meta)


def _grid(header: TextHeader, n_dims: int, path: Path) -> Geometry:
    """The grid in RAS mm. A row of the file's matrix is the direction of an axis of the array."""
    n_space = min(n_dims, 3)
    rows = np.eye(n_dims)
    axes = _first(header, _AXES)
    if axes is not None:
        rows = _numbers(header, axes, n_dims * n_dims, path).reshape(n_dims, n_dims)
    directions = rows[:n_space, :n_space]
    if np.abs(np.linalg.norm(directions, axis=1) - 1).max() > _UNIT:
        raise InputError(
            f"{path} has a damaged header: the rows of {axes} are no directions (their lengths are not 1)."
        )
    spacing = np.ones(n_dims)
    for key in ("elementspacing", "elementsize"):
        if key in header.fields:
            spacing = _numbers(header, key, n_dims, path)
            break
    affine = np.eye(4)
    affine[:n_space, :n_space] = directions.T * spacing[:n_space]
    origin = _first(header, _ORIGIN)
    if origin is not None:
        affine[:n_space, 3] = _numbers(header, origin, n_dims, path)[:n_space]
    affine[:n_space] *= world_units_mm(header, n_space, path)[:, None]
    if not is_solid(affine):
        raise InputError(f"{path} has a damaged header: its axes do not span a space.")
    i, j, k = (*header.sizes[:n_space], 1)[:3]
    return Geometry((i, j, k), _LPS_RAS @ affine)


def _first(header: TextHeader, keys: tuple[str, ...]) -> str | None:
    return next((key for key in keys if key in header.fields), None)


def _numbers(header: TextHeader, key: str, n: int, path: Path) -> NDArray[np.float64]:
    """So many finite numbers of a field; more are left out, as ITK does."""
    try:
        found = np.array([float(word) for word in header.fields[key].split()[:n]])
    except ValueError:
        found = np.empty(0)
    if found.size < n or not np.isfinite(found).all():
        raise InputError(f"{path} has a damaged header: '{key}' is '{header.fields[key][:80]}', not {n} numbers.")
    return found


def _n_channels(head: _Head, path: Path, options: ReadOptions) -> int:
    if head.n_volumes == 1:
        return head.n_components
    if head.n_components > 1:
        raise InputError(
            f"{path} has {head.n_volumes} volumes of {head.n_components} channels; medseg reads one of the two."
        )
    return channels_of_volumes(head.n_volumes, path, options)


def _dtype(header: TextHeader, path: Path) -> np.dtype[Any]:
    name = header.fields.get("elementtype", "").upper().removesuffix("_ARRAY")
    if name not in _TYPES:
        raise InputError(f"{path} holds numbers of an unknown type ('{name[:40]}').")
    order = (header.fields.get(key, "") for key in ("binarydatabyteordermsb", "elementbyteordermsb"))
    return np.dtype((">" if any(word.lower() in ("true", "1") for word in order) else "<") + _TYPES[name])
