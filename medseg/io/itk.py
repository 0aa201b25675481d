"""MetaImage (.mha, .mhd), its grid as SimpleITK reads it; and the writing of NRRD, which `io.nrrd` reads.

ITK's world is LPS+ mm and its arrays are (k, j, i): both are turned here, at the door, and nowhere else. A grid without
right angles cannot be said in these formats and is refused in writing.
"""

import errno
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import SimpleITK as sitk  # noqa: N813  as everybody calls it
from numpy.typing import NDArray

from medseg.core.errors import InputError, MachineError
from medseg.core.geometry import Geometry
from medseg.core.labels import Labels
from medseg.core.volume import LabelMap, Meta, Volume
from medseg.io.header_units import stored_scaling, world_units_mm
from medseg.io.kinds import kind_of, suffix_of
from medseg.io.options import ReadOptions, channels_of_volumes
from medseg.io.segments_write import segmented
from medseg.io.text_headers import TextHeader, read_text_header
from medseg.io.text_voxels import check_voxels, voxels
from medseg.io.values import Scaling, as_image, as_labels, label_dtype

__all__ = ["check_grid", "read", "read_geometry", "read_labels", "several_layers", "write"]

_LPS_RAS = np.diag([-1.0, -1.0, 1.0, 1.0])
"""Turns LPS into RAS, and back."""


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


def read(path: Path, options: ReadOptions) -> Volume:
    """The image in a file: channels first, in the file's own type where it is not scaled, else float32."""
    stored, scaling, grid, meta = _read_whole(path, options)
    array, mended = as_image(stored, str(path), scaling)
    return Volume(array, grid, replace(meta, warnings=meta.warnings + mended))


def read_labels(path: Path, options: ReadOptions) -> LabelMap:
    """The label map in a file."""
    stored, scaling, grid, meta = _read_whole(path, options)
    if stored.shape[0] > 1:
        raise InputError(several_layers(path, stored.shape[0]))
    layers, mended = as_labels(stored, str(path), scaling)
    return LabelMap(layers[0], grid, meta=replace(meta, warnings=meta.warnings + mended))


def several_layers(path: Path, n: int) -> str:
    """Why a file of several layers or channels is no label map: a sentence."""
    return (
        f"{path} is not one label map: it holds {n} layers or channels. "
        "Export overlapping segments as one label map (Slicer: 'Export visible segments to labelmap')."
    )


def read_geometry(path: Path, options: ReadOptions) -> tuple[Geometry, int]:
    """Grid and number of channels; only the header is read."""
    header = _header(path)
    reader = _opened(path)
    grid, _ = _place(reader, header, path)
    n_volumes = reader.GetSize()[3] if reader.GetDimension() == 4 else 1
    return grid, _n_channels(n_volumes, reader.GetNumberOfComponents(), path, options)


def check_grid(grid: Geometry, final: Path) -> None:
    """Refuse a grid that the format of a file cannot say.

    Raises:
        InputError: The grid is sheared.
    """
    if not grid.is_orthogonal:
        raise InputError(
            f"The grid of {final} is sheared (gantry tilt), which {kind_of(final.name)} cannot say; write NIfTI "
            "(.nii.gz, -f nifti), or a DICOM SEG (-f dicom-seg) for a DICOM series."
        )


def write(thing: Volume | LabelMap, path: Path, like: Meta, final: Path) -> None:
    """Write to `path` (what will be `final`), compressed; a plane of a 2-D source becomes 2-D again.

    A label map with names becomes a segmentation of Slicer's where the name ends so (.seg.nrrd).

    Raises:
        InputError: The grid is sheared.
        MachineError: SimpleITK could not write it.
    """
    check_grid(thing.geometry, final)
    is_segmentation = suffix_of(final) == ".seg.nrrd" and isinstance(thing, LabelMap)
    is_plane = like.kind in ("mha", "nrrd") and like.header.get("n_dims") == 2 and thing.geometry.shape[2] == 1
    n_layers = 1
    if is_segmentation and isinstance(thing, LabelMap):
        image, n_layers = _to_segmentation(thing)
    else:
        image = _to_image(thing, n_dims=2 if is_plane else 3)
    try:
        sitk.WriteImage(image, str(path), useCompression=True)
        if n_layers > 1:
            _call_layers_a_list(path)
    except RuntimeError as error:
        reason = _last_line(error)
        if "space left" in reason or "too large" in reason:
            raise OSError(errno.ENOSPC, "no space left", str(path)) from error
        raise MachineError(f"{final} could not be written ({reason}). Is the disk full?") from error
    # A full disk is not always an error to the library: look whether everything has arrived.
    try:
        check_voxels(read_text_header(path), final)
    except InputError as error:
        raise OSError(errno.ENOSPC, "the file came out incomplete", str(path)) from error


def _header(path: Path) -> TextHeader:
    header = read_text_header(path)
    if not header.is_meta_image:
        raise InputError(f"{path} is not a MetaImage file: it begins as NRRD does. Call it .nrrd.")
    return header


def _read_whole(path: Path, options: ReadOptions) -> tuple[NDArray[Any], Scaling, Geometry, Meta]:
    """Voxels (c, i, j, k) as stored, what scales them, their grid, and what is known of it."""
    header = _header(path)
    reader = _opened(path)
    grid, meta = _place(reader, header, path)
    dtype, n_components = _dtype(header, path), reader.GetNumberOfComponents()
    array = voxels(header, dtype, (n_components, *header.sizes), path)
    stored = _channels_first(array, path, options)
    scaling = stored_scaling(header, stored.dtype, path)
    return stored, scaling, grid, replace(meta, header={**meta.header, "dtype": str(stored.dtype)})


def _dtype(header: TextHeader, path: Path) -> np.dtype[Any]:
    name = header.fields.get("elementtype", "").upper().removesuffix("_ARRAY")
    if name not in _TYPES:
        raise InputError(f"{path} holds numbers of an unknown type ('{name[:40]}').")
    order = (header.fields.get(key, "") for key in ("binarydatabyteordermsb", "elementbyteordermsb"))
    return np.dtype((">" if any(word.lower() in ("true", "1") for word in order) else "<") + _TYPES[name])


def _opened(path: Path) -> sitk.ImageFileReader:
    """A reader that knows the header of a file and none of its voxels."""
    reader = sitk.ImageFileReader()
    reader.SetImageIO("MetaImageIO")
    reader.SetFileName(str(path))
    try:
        reader.ReadImageInformation()
    except RuntimeError as error:
        raise _unreadable(path, error) from error
    return reader


def _place(image: sitk.ImageFileReader, header: TextHeader, path: Path) -> tuple[Geometry, Meta]:
    """The grid in RAS and the conventions of the file, read from its header."""
    n_dims = image.GetDimension()
    if n_dims not in (2, 3, 4):
        raise InputError(f"{path} has {n_dims} dimensions; medseg reads two or three of space and one of channels.")
    n_space = min(n_dims, 3)
    direction = np.array(image.GetDirection()).reshape(n_dims, n_dims)[:n_space, :n_space]
    affine = np.eye(4)
    affine[:n_space, :n_space] = direction * np.array(image.GetSpacing()[:n_space])
    affine[:n_space, 3] = image.GetOrigin()[:n_space]
    affine[:n_space] *= world_units_mm(header, n_space, path)[:, None]
    i, j, k = (*image.GetSize()[:n_space], 1)[:3]
    has_axes = any(key in header.fields for key in ("transformmatrix", "orientation", "rotation"))
    has_origin = any(key in header.fields for key in ("offset", "position", "origin"))
    warning = "The file does not say how its axes lie; they were taken along L, P and S."
    grid = Geometry((i, j, k), _LPS_RAS @ affine)
    return grid, Meta("mha", has_axes or has_origin, {"n_dims": n_space}, () if has_axes else (warning,))


def _n_channels(n_volumes: int, n_components: int, path: Path, options: ReadOptions) -> int:
    if n_volumes == 1:
        return n_components
    if n_components > 1:
        raise InputError(f"{path} has {n_volumes} volumes of {n_components} channels; medseg reads one of the two.")
    return channels_of_volumes(n_volumes, path, options)


def _channels_first(array: NDArray[Any], path: Path, options: ReadOptions) -> NDArray[Any]:
    """(c, i, j, k) of (c, i, j), (c, i, j, k) or (1, i, j, k, t)."""
    if array.ndim == 3:
        return array[..., None]
    if array.ndim == 4:
        return array
    _n_channels(array.shape[4], array.shape[0], path, options)
    chosen = array[0] if options.volume is None else array[0][..., options.volume : options.volume + 1]
    return np.moveaxis(chosen, -1, 0) if array.shape[4] > 1 else array[..., 0]


def _to_image(thing: Volume | LabelMap, n_dims: int) -> sitk.Image:
    array = thing.array.astype(label_dtype(thing.array))[None] if isinstance(thing, LabelMap) else thing.array
    kinds = {"b": np.dtype(np.uint8), "f": np.dtype(np.float64 if array.dtype.itemsize > 4 else np.float32)}
    array = array.astype(kinds.get(array.dtype.kind, array.dtype.newbyteorder("=")), copy=False)
    moved = array.transpose(3, 2, 1, 0) if n_dims == 3 else array[..., 0].transpose(2, 1, 0)
    is_vector = array.shape[0] > 1
    image = sitk.GetImageFromArray(np.ascontiguousarray(moved if is_vector else moved[..., 0]), isVector=is_vector)
    affine = (_LPS_RAS @ thing.geometry.affine)[:n_dims, [*range(n_dims), 3]]
    spacing_mm = np.array(thing.geometry.spacing_mm[:n_dims])
    image.SetSpacing(spacing_mm.tolist())
    image.SetOrigin(affine[:, -1].tolist())
    image.SetDirection((affine[:, :-1] / spacing_mm).ravel().tolist())
    return image


def _to_segmentation(label_map: LabelMap) -> tuple[sitk.Image, int]:
    """Layers with the names of their segments, and how many layers there are."""
    labels = label_map.labels or Labels.from_values(int(value) for value in np.unique(label_map.array))
    arrays, texts = segmented(label_map, labels)
    arrays = arrays.astype(label_dtype(arrays), copy=False)
    image = _to_image(Volume(arrays, label_map.geometry), n_dims=3)
    for key, text in texts.items():
        image.SetMetaData(key, text)
    return image, len(arrays)


def _call_layers_a_list(path: Path) -> None:
    """ITK calls the axis of channels a vector; Slicer takes layers from a list."""
    content = path.read_bytes()
    end = content.index(b"\n\n")
    path.write_bytes(content[:end].replace(b"\nkinds: vector ", b"\nkinds: list ") + content[end:])


def _unreadable(path: Path, error: RuntimeError) -> InputError:
    """What SimpleITK refuses, in our words: its own hold memory addresses and names of source files."""
    if "orthonormal" in str(error) or "direction" in str(error).lower():
        return InputError(
            f"{path} has axes that are not at right angles; SimpleITK cannot read that. Convert it to NIfTI."
        )
    return InputError(
        f"{path} cannot be read: its header is whole, and ITK does not know what it says "
        "(keys of MetaImage are case-sensitive, such as NDims and DimSize). Correct it, or convert the image to NIfTI."
    )


def _last_line(error: RuntimeError) -> str:
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return lines[-1] if lines else "no reason given"
