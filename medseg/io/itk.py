"""MetaImage (.mha, .mhd) and NRRD (.nrrd, .nhdr) through SimpleITK.

ITK's world is LPS+ mm and its arrays are (k, j, i): both are turned here, at the door, and nowhere else. A grid without
right angles cannot be said in these formats and is refused in writing.
"""

import errno
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
from medseg.io.kinds import kind_of, suffix_of
from medseg.io.options import ReadOptions, channels_of_volumes
from medseg.io.segments import composed, reference_grid, segments_in
from medseg.io.segments_write import segmented
from medseg.io.text_headers import TextHeader, check_voxels, read_text_header
from medseg.io.values import as_image, as_labels, check_real, label_dtype

__all__ = ["check_grid", "read", "read_geometry", "read_labels", "write"]

_LPS_RAS = np.diag([-1.0, -1.0, 1.0, 1.0])
"""Turns LPS into RAS, and back."""

_NAMED_SPACES = frozenset(
    {
        *("ras", "right-anterior-superior", "las", "left-anterior-superior", "lps", "left-posterior-superior"),
        *("rast", "right-anterior-superior-time", "last", "left-anterior-superior-time"),
        *("lpst", "left-posterior-superior-time"),
    }
)
"""Spaces of NRRD that name patient axes; SimpleITK turns all of them into LPS."""


def read(path: Path, options: ReadOptions) -> Volume:
    """The image in a file: channels first, in the file's own type."""
    stored, grid, meta = _read_whole(path, options)
    array, mended = as_image(stored, str(path))
    return Volume(array, grid, replace(meta, warnings=meta.warnings + mended))


def read_labels(path: Path, options: ReadOptions) -> LabelMap:
    """The label map in a file, with names and layers where it is a segmentation of Slicer's (.seg.nrrd)."""
    stored, grid, meta = _read_whole(path, options)
    texts = read_text_header(path).texts
    segments = segments_in(texts, str(path))
    if stored.shape[0] > 1 and not segments:
        raise InputError(
            f"{path} is not one label map: it holds {stored.shape[0]} layers or channels. "
            "Export overlapping segments as one label map (Slicer: 'Export visible segments to labelmap')."
        )
    layers, mended = as_labels(stored, str(path))
    array, labels = layers[0], None
    if segments:
        array, labels, notes = composed(layers, segments, str(path), options.overlaps)
        mended += notes
    whole = reference_grid(texts, grid)
    if whole is not None:
        array, grid = _padded(array, *whole), whole[0]
        mended += ("The segmentation is cut to its segments; it was put back into the grid that it was drawn on.",)
    return LabelMap(array, grid, labels, replace(meta, warnings=meta.warnings + mended))


def _padded(array: NDArray[Any], whole: Geometry, start: tuple[int, int, int]) -> NDArray[Any]:
    padded = np.zeros(whole.shape, array.dtype)
    padded[tuple(slice(a, a + n) for a, n in zip(start, array.shape, strict=True))] = array
    return padded


def read_geometry(path: Path, options: ReadOptions) -> tuple[Geometry, int]:
    """Grid and number of channels; only the header is read."""
    header = read_text_header(path)
    reader = _opened(path)
    grid, _ = _place(reader, header, path, options)
    whole = reference_grid(header.texts, grid)
    grid = grid if whole is None else whole[0]
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


def _read_whole(path: Path, options: ReadOptions) -> tuple[NDArray[Any], Geometry, Meta]:
    """Voxels (c, i, j, k) as stored, their grid, and what is known of it."""
    header = read_text_header(path)
    check_voxels(header, path)
    reader = _opened(path)
    grid, meta = _place(reader, header, path, options)
    try:
        image = reader.Execute()
    except RuntimeError as error:
        raise _unreadable(path, error) from error
    stored = _channels_first(image, path, options)
    check_real(stored.dtype, str(path))
    return stored, grid, replace(meta, header={**meta.header, "dtype": str(stored.dtype)})


def _opened(path: Path) -> sitk.ImageFileReader:
    """A reader that knows the header of a file and none of its voxels."""
    reader = sitk.ImageFileReader()
    reader.SetFileName(str(path))
    try:
        reader.ReadImageInformation()
    except RuntimeError as error:
        raise _unreadable(path, error) from error
    return reader


def _place(image: sitk.ImageFileReader, header: TextHeader, path: Path, options: ReadOptions) -> tuple[Geometry, Meta]:
    """The grid in RAS and the conventions of the file, read from its header."""
    n_dims = image.GetDimension()
    if n_dims not in (2, 3, 4):
        raise InputError(f"{path} has {n_dims} dimensions; medseg reads two or three of space and one of channels.")
    n_space = min(n_dims, 3)
    direction = np.array(image.GetDirection()).reshape(n_dims, n_dims)[:n_space, :n_space]
    affine = np.eye(4)
    affine[:n_space, :n_space] = direction * np.array(image.GetSpacing()[:n_space])
    affine[:n_space, 3] = image.GetOrigin()[:n_space]
    is_ras, placed, warnings = _space(header, path, options)
    i, j, k = (*image.GetSize()[:n_space], 1)[:3]
    grid = Geometry((i, j, k), affine if is_ras else _LPS_RAS @ affine)
    kind = "mha" if "elementdatafile" in header.fields else "nrrd"
    return grid, Meta(kind, placed, {"n_dims": n_space}, warnings)


def _space(header: TextHeader, path: Path, options: ReadOptions) -> tuple[bool, bool, tuple[str, ...]]:
    """Whether SimpleITK's numbers are RAS already, whether the file says where its grid lies, and warnings."""
    fields = header.fields
    if "elementdatafile" in fields:
        has_axes = any(key in fields for key in ("transformmatrix", "orientation", "rotation"))
        has_origin = any(key in fields for key in ("offset", "position", "origin"))
        warning = "The file does not say how its axes lie; they were taken along L, P and S."
        return False, has_axes or has_origin, () if has_axes else (warning,)
    if fields.get("space", "").lower() in _NAMED_SPACES:
        return False, True, ()
    if "space" not in fields and "space dimension" not in fields:
        return False, False, ("The file has no place in space (no NRRD space); its axes were taken along L, P and S.",)
    if fields.get("space dimension") == "2":
        return False, False, ()
    if options.space == "auto":
        raise InputError(
            f"{path} does not say which patient axes its space uses "
            f"(space: {fields.get('space', 'no name')}); say --read space=lps or --read space=ras."
        )
    return options.space == "ras", True, ()


def _n_channels(n_volumes: int, n_components: int, path: Path, options: ReadOptions) -> int:
    if n_volumes == 1:
        return n_components
    if n_components > 1:
        raise InputError(f"{path} has {n_volumes} volumes of {n_components} channels; medseg reads one of the two.")
    return channels_of_volumes(n_volumes, path, options)


def _channels_first(image: sitk.Image, path: Path, options: ReadOptions) -> NDArray[Any]:
    """(c, i, j, k) of (k, j, i), (k, j, i, c), (t, k, j, i), or a plane of them."""
    array = sitk.GetArrayFromImage(image)
    n_components, n_dims = image.GetNumberOfComponentsPerPixel(), image.GetDimension()
    n_volumes = image.GetSize()[3] if n_dims == 4 else 1
    _n_channels(n_volumes, n_components, path, options)
    if n_components == 1:
        array = array[..., None]
    if n_dims == 2:
        array = array[None]
    if n_dims == 4:
        chosen = array[..., 0] if options.volume is None else array[options.volume : options.volume + 1, ..., 0]
        return chosen.transpose(0, 3, 2, 1)
    return array.transpose(3, 2, 1, 0)


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
    if "orthonormal" in str(error) or "direction" in str(error).lower():
        return InputError(
            f"{path} has axes that are not at right angles; SimpleITK cannot read that. Convert it to NIfTI."
        )
    return InputError(f"{path} cannot be read ({_last_line(error)}).")


def _last_line(error: RuntimeError) -> str:
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return lines[-1] if lines else "no reason given"
