"""NIfTI files (.nii, .nii.gz, pairs of .hdr and .img): header, geometry, voxels, and writing like a source.

nibabel knows the headers; the bytes are read here, to the end of the stream, because a cut or altered gzip file is
otherwise half an image without a word. NIfTI's world is RAS+ mm, as is ours; metres and microns are converted.

Geometry: the sform if its code is positive and it can be inverted, else the qform, else none: then the grid is
axis-aligned by pixdim and `placed` is False (it is written back with both codes 0, so that every other reader lays
mask and image on each other too). Where both have codes and contradict each other, the file is refused.
"""

import gzip
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from io import BytesIO
from math import prod
from pathlib import Path
from typing import Any, BinaryIO

import nibabel as nib
import numpy as np
from numpy.typing import NDArray

from medseg._version import __version__
from medseg.core.errors import InputError
from medseg.core.geometry import Geometry, Voxels, is_solid
from medseg.core.volume import LabelMap, Meta, Volume
from medseg.io.analyze import NO_PLACE, FromAnalyze, as_nifti
from medseg.io.binary import voxels_behind
from medseg.io.options import ReadOptions, channels_of_volumes
from medseg.io.pairs import voxels_beside
from medseg.io.streams import ByteStream
from medseg.io.values import NotALabelMapError, Scaling, as_image, as_labels, check_real, label_dtype

__all__ = ["read", "read_geometry", "read_labels", "write"]

_MM_PER_UNIT: Mapping[int, float] = {0: 1.0, 1: 1000.0, 2: 1.0, 3: 0.001}
"""Spatial units of xyzt_units (unknown, metre, millimetre, micron) in mm; unknown is taken for mm."""

_PLAUSIBLE_SPACING_MM = (0.001, 100.0)
_ORTHONORMAL = 1e-4
"""How far from right angles axes may be for a quaternion to hold them."""

_AFFINE_NOISE_MM = 0.1
"""sform and qform may differ by this (or a tenth of a voxel) without a word: the quaternion alone costs 0.07 mm."""

_LARGEST_OFFSET_BYTES = 2**30
"""Header extensions above a gigabyte mean a damaged header, not a long text."""

_PAIR_MARKS = (b"ni1", b"ni2")
"""The mark of a header whose voxels lie in another file."""

_ANALYZE_BYTES = 348

_LABEL_INTENT = 1002
_VECTOR_INTENT = 1007
_LARGEST_SIDE_NIFTI1 = 32_767
_GZIP_LEVEL_LABELS, _GZIP_LEVEL_IMAGE = 6, 1


@dataclass(frozen=True)
class _Head:
    """What the header says, judged: `shape` as stored, `grid` in space, `n_channels` of the image that is asked for."""

    header: nib.Nifti1Header
    shape: tuple[int, ...]
    grid: Geometry
    meta: Meta
    n_channels: int
    volume: int | None

    @property
    def n_bytes(self) -> int:
        return prod(self.shape) * int(self.header.get_data_dtype().itemsize)

    @property
    def is_pair(self) -> bool:
        return bytes(self.header["magic"])[:3] in _PAIR_MARKS

    @property
    def data_start(self) -> int:
        if self.is_pair:
            return max(0, int(self.header["vox_offset"]))
        # Some writers leave 0; voxels never begin before the header and the four bytes behind it.
        return max(int(self.header["vox_offset"]), int(self.header["sizeof_hdr"]) + 4)

    @property
    def scaling(self) -> Scaling:
        return Scaling(float(self.header["scl_slope"]), float(self.header["scl_inter"]))


def read(path: Path, options: ReadOptions) -> Volume:
    """The image in a file: channels first, its own type where unscaled, else float32."""
    head, stored, noticed = _read_whole(path, options)
    array, mended = as_image(_channels_first(stored, head), str(path), head.scaling)
    return Volume(array, head.grid, _with_warnings(head.meta, noticed + mended))


def read_labels(path: Path, options: ReadOptions) -> LabelMap:
    """The label map in a file; a file of several volumes or channels is refused."""
    head, stored, noticed = _read_whole(path, options)
    if head.n_channels > 1:
        raise NotALabelMapError(f"{path} is not a label map: it holds {head.n_channels} channels; a label map has one.")
    array, mended = as_labels(_channels_first(stored, head)[0], str(path), head.scaling)
    return LabelMap(array, head.grid, meta=_with_warnings(head.meta, noticed + mended))


def read_geometry(path: Path, options: ReadOptions) -> tuple[Geometry, int]:
    """Grid and number of channels; only the header is read."""
    with ByteStream(path) as stream:
        head = _read_head(stream, path, options)
    return head.grid, head.n_channels


def check_grid(grid: Geometry, final: Path) -> None:
    """Refuse nothing: NIfTI can say any grid."""


def write(thing: Volume | LabelMap, path: Path, like: Meta, final: Path) -> None:
    """Write to `path` (what will be `final`) with a new header: only what `like` says of the source, so no text leaks.

    One channel is (x, y, z); several are a vector image (x, y, z, 1, C), or (x, y, z, C) if the source was so.
    """
    array, is_label = _as_stored(thing, like), isinstance(thing, LabelMap)
    header = _new_header(array, thing.geometry, like, is_label=is_label)
    with path.open("wb") as file:
        if final.suffix.lower() != ".gz":
            _write_bytes(file, header, array)
            return
        # No time and no name in the gzip header: the same array gives the same bytes.
        level = _GZIP_LEVEL_LABELS if is_label else _GZIP_LEVEL_IMAGE
        with gzip.GzipFile("", "wb", level, file, mtime=0) as packed:
            _write_bytes(packed, header, array)


def _read_whole(path: Path, options: ReadOptions) -> tuple[_Head, NDArray[Any], tuple[str, ...]]:
    """Header, voxels as stored (a view in file order) and what was noticed; the stream is read to its end."""
    with ByteStream(path) as stream:
        head = _read_head(stream, path, options)
        check_real(head.header.get_data_dtype(), str(path))
        if not head.is_pair:
            voxels, n_behind = voxels_behind(stream, head.data_start, head.n_bytes, path)
    if head.is_pair:
        data_path = voxels_beside(path)
        if data_path is None:
            raise InputError(f"{path} is the header of a pair, and its .img is not there. Copy both files.")
        with ByteStream(data_path) as stream:
            voxels, n_behind = voxels_behind(stream, head.data_start, head.n_bytes, data_path)
    dtype = head.header.get_data_dtype()
    stored = voxels.view(dtype).reshape(head.shape, order="F")
    if not dtype.isnative:
        stored = stored.astype(dtype.newbyteorder("="))
    return head, stored, (f"{n_behind} bytes behind the voxels were left out.",) if n_behind else ()


def _read_head(stream: ByteStream, path: Path, options: ReadOptions) -> _Head:
    header = _parse(stream, path)
    shape = _stored_shape(header, path)
    spatial = _spatial_shape(shape)
    affine, placed, warnings = _affine(header, spatial, path, options)
    grid = Geometry(spatial, affine)
    _check_spacing(grid, path)
    n_channels, volume = _n_channels(shape, path, options)
    conventions = {
        "sform_code": int(header["sform_code"]),
        "qform_code": int(header["qform_code"]),
        "dim_info": int(header["dim_info"]),
        "n_dims": 2 if len(shape) == 2 else 3,
        "channel_axis": 4 if len(shape) == 5 else 3,
        "version": 2 if int(header["sizeof_hdr"]) == 540 else 1,
        "dtype": str(header.get_data_dtype().newbyteorder("=")),
    }
    return _Head(header, shape, grid, Meta("nifti", placed, conventions, warnings), n_channels, volume)


def _parse(stream: ByteStream, path: Path) -> nib.Nifti1Header:
    """The header at the start of the stream, NIfTI-1 or -2, either byte order.

    Raises:
        InputError: There is none, it is cut, or it describes what medseg does not read.
    """
    start = stream.read(4)
    kinds = {348: nib.Nifti1Header, 540: nib.Nifti2Header}
    size = next((n for n in kinds if start in (n.to_bytes(4, "little"), n.to_bytes(4, "big"))), None)
    if size is None:
        raise InputError(_no_header(path, stream))
    start += stream.read(size - len(start))
    if len(start) < size:
        raise InputError(f"{path} is damaged: it ends inside its header, after {stream.position} of {size} bytes.")
    header: nib.Nifti1Header = kinds[size].from_fileobj(BytesIO(start), check=False)
    mark = bytes(header["magic"])[:3]
    is_named_pair = path.suffix.lower() == ".hdr"
    if mark not in (b"n+1", b"n+2", *_PAIR_MARKS) and is_named_pair and size == _ANALYZE_BYTES:
        header, mark = as_nifti(start, path), b"ni1"
    if mark in _PAIR_MARKS and not is_named_pair:
        raise InputError(f"{path} is the header of a pair, whose voxels lie in another file; call it .hdr again.")
    if mark not in (b"n+1", b"n+2", *_PAIR_MARKS):
        raise InputError(f"{path} lacks NIfTI's mark 'n+1' (it may be an Analyze file); convert it to NIfTI.")
    if not 0 <= float(header["vox_offset"]) <= _LARGEST_OFFSET_BYTES:
        raise InputError(f"{path} is damaged: its header says that voxels begin at byte {header['vox_offset']}.")
    try:
        header.get_data_dtype()
    except (KeyError, nib.spatialimages.HeaderDataError) as error:
        code = int(header["datatype"])
        raise InputError(f"{path} holds numbers of an unknown type (datatype {code}).") from error
    return header


def _no_header(path: Path, stream: ByteStream) -> str:
    if path.stat().st_size == 0:
        return f"{path} is empty (0 bytes). Copy it again."
    if stream.damage is not None:
        return f"{path} is damaged: {stream.damage}, after {stream.position} bytes. Copy it again."
    return f"{path} is not a NIfTI file: it does not begin with a NIfTI header."


def _stored_shape(header: nib.Nifti1Header, path: Path) -> tuple[int, ...]:
    """The sides of the array, trailing ones behind the third dropped."""
    n_dims = int(header["dim"][0])
    sides = [int(n) for n in header["dim"][1 : 1 + n_dims]] if 0 < n_dims <= 7 else []
    if len(sides) < 2 or min(sides) < 1:
        raise InputError(
            f"{path} has the dimensions {sides or n_dims}; an image has at least two, each of one voxel or more."
        )
    while len(sides) > 3 and sides[-1] == 1:
        sides.pop()
    return tuple(sides)


def _spatial_shape(shape: Sequence[int]) -> Voxels:
    return (shape[0], shape[1], shape[2] if len(shape) > 2 else 1)


def _n_channels(shape: Sequence[int], path: Path, options: ReadOptions) -> tuple[int, int | None]:
    """How many channels the image has by its dimensions and the options, and which volume is taken (None: all).

    Raises:
        InputError: Nothing says what a further dimension means.
    """
    if len(shape) == 3 or len(shape) == 2:
        return 1, None
    if len(shape) == 5 and shape[3] == 1:
        return shape[4], None
    if len(shape) == 4:
        return channels_of_volumes(shape[3], path, options), options.volume
    raise InputError(f"{path} has the dimensions {tuple(shape)}; medseg reads three of space and one of channels.")


def _channels_first(stored: NDArray[Any], head: _Head) -> NDArray[Any]:
    """A view (c, i, j, k) of the stored array."""
    spatial = head.grid.shape
    if head.volume is not None:
        return stored[..., head.volume][None]
    return np.moveaxis(stored.reshape(*spatial, head.n_channels, order="F"), -1, 0)


def _affine(
    header: nib.Nifti1Header, shape: Voxels, path: Path, options: ReadOptions
) -> tuple[NDArray[np.float64], bool, tuple[str, ...]]:
    """Voxel → RAS mm, whether the file says so, and warnings."""
    scale = _mm_per_unit(header, path)
    sform, qform = _sform(header, scale), _qform(header, scale)
    if options.geometry != "auto":
        chosen = sform if options.geometry == "sform" else qform
        if chosen is None:
            raise InputError(f"{path} has no {options.geometry} (its code is 0 or it cannot be inverted).")
        return chosen, True, ()
    if sform is not None and qform is not None:
        grids = Geometry(shape, sform), Geometry(shape, qform)
        return sform, True, () if _is_rounded(*grids) else _compare(*grids, path)
    if sform is not None:
        return sform, True, ()
    if qform is not None:
        return qform, True, ()
    pixdim = np.abs(header["pixdim"][1:4].astype(np.float64)) * scale
    pixdim[pixdim == 0] = 1.0
    warning = "The file has no place in space (sform and qform codes are 0)."
    return np.diag([*pixdim, 1.0]), False, (NO_PLACE if isinstance(header, FromAnalyze) else warning,)


def _mm_per_unit(header: nib.Nifti1Header, path: Path) -> float:
    code = int(header["xyzt_units"]) & 0b111
    if code not in _MM_PER_UNIT:
        raise InputError(f"{path} gives its spacing in an unknown unit (code {code}); correct xyzt_units.")
    return _MM_PER_UNIT[code]


def _sform(header: nib.Nifti1Header, mm_per_unit: float) -> NDArray[np.float64] | None:
    affine = header.get_sform().astype(np.float64)
    return _usable(affine, mm_per_unit) if int(header["sform_code"]) > 0 else None


def _qform(header: nib.Nifti1Header, mm_per_unit: float) -> NDArray[np.float64] | None:
    if int(header["qform_code"]) <= 0:
        return None
    mended = header.copy()
    # Readers take a negative step for its size and 0 for 1 mm; qfac alone says which way the third axis runs.
    steps = np.abs(mended["pixdim"][1:4])
    mended["pixdim"][1:4] = np.where(steps == 0, 1, steps)
    mended["pixdim"][0] = -1 if mended["pixdim"][0] < 0 else 1
    try:
        with np.errstate(invalid="ignore"):  # quaternions of damaged headers
            affine = mended.get_qform().astype(np.float64)
    except (ValueError, nib.spatialimages.HeaderDataError):
        return None
    return _usable(affine, mm_per_unit)


def _usable(affine: NDArray[np.float64], mm_per_unit: float) -> NDArray[np.float64] | None:
    if not np.isfinite(affine).all():
        return None
    affine[:3] *= mm_per_unit
    return affine if is_solid(affine) else None


def _is_rounded(sform: Geometry, qform: Geometry) -> bool:
    """Whether the qform is what float32 quaternions make of the sform: near a half turn that alone is 0.3 mm."""
    if not sform.is_orthogonal:
        return False
    header = nib.Nifti1Header()
    header.set_data_shape(sform.shape)
    header.set_qform(sform.affine, code=1)
    return Geometry(sform.shape, header.get_qform()).distance_mm(qform) <= _AFFINE_NOISE_MM


def _compare(sform: Geometry, qform: Geometry, path: Path) -> tuple[str, ...]:
    """A warning where the two geometries differ a little.

    Raises:
        InputError: They differ by more than a voxel at a corner.
    """
    distance_mm, voxel_mm = sform.distance_mm(qform), min(sform.spacing_mm)
    if distance_mm > max(voxel_mm, 1e-3):
        raise InputError(
            f"{path} has two geometries that differ by {distance_mm:.3g} mm (sform, qform); "
            "fix it or say --read geometry=sform or --read geometry=qform."
        )
    if distance_mm > max(_AFFINE_NOISE_MM, 0.1 * voxel_mm):
        return (f"sform and qform differ by {distance_mm:.3g} mm; the sform was used.",)
    return ()


def _check_spacing(grid: Geometry, path: Path) -> None:
    low, high = _PLAUSIBLE_SPACING_MM
    if not all(low <= spacing <= high for spacing in grid.spacing_mm):
        listed = " × ".join(f"{spacing:.4g}" for spacing in grid.spacing_mm)
        raise InputError(
            f"{path} has a voxel spacing of {listed} mm, outside {low:g}…{high:g} mm; "
            "correct its affine or its units (xyzt_units)."
        )


def _as_stored(thing: Volume | LabelMap, like: Meta) -> NDArray[Any]:
    """The array in file order of axes and in a type that NIfTI has."""
    if isinstance(thing, LabelMap):
        array: NDArray[Any] = thing.array.astype(label_dtype(thing.array), copy=False)
    elif thing.n_channels == 1:
        array = thing.array[0]
    else:
        array = np.moveaxis(thing.array, 0, -1)
        if like.header.get("channel_axis") != 3 or like.kind != "nifti":
            array = array[:, :, :, None]
    if array.dtype == np.float16:
        array = array.astype(np.float32)
    if array.dtype.kind == "b":
        array = array.astype(np.uint8)
    if array.ndim == 3 and like.kind == "nifti" and like.header.get("n_dims") == 2 and array.shape[2] == 1:
        array = array[..., 0]
    return array


def _new_header(array: NDArray[Any], grid: Geometry, like: Meta, *, is_label: bool) -> nib.Nifti1Header:
    source = like.header if like.kind == "nifti" else {}
    needs_2 = source.get("version") == 2 or max(array.shape) > _LARGEST_SIDE_NIFTI1
    kind: type[nib.Nifti1Header] = nib.Nifti2Header if needs_2 else nib.Nifti1Header
    header = kind(endianness="<")
    header.set_data_dtype(array.dtype.newbyteorder("<"))
    header.set_data_shape(array.shape)
    header.set_xyzt_units("mm")
    header["pixdim"][1:4] = grid.spacing_mm
    _place(header, grid, like, source)
    header["dim_info"] = source.get("dim_info", 0)
    header["scl_slope"], header["scl_inter"] = 1, 0
    header["vox_offset"] = header["sizeof_hdr"] + 4
    header["descrip"] = f"medseg {__version__}".encode()
    header["intent_code"] = _LABEL_INTENT if is_label else _VECTOR_INTENT if array.ndim == 5 else 0
    return header


def _place(header: nib.Nifti1Header, grid: Geometry, like: Meta, source: Mapping[str, Any]) -> None:
    """The affine into sform and, where its axes are at right angles, qform, with the source's codes (0 becomes 1)."""
    if not like.placed and np.array_equal(grid.affine, np.diag([*grid.spacing_mm, 1.0])):
        return  # Both codes stay 0, as in the source.
    header.set_sform(grid.affine, source.get("sform_code") or 1)
    axes = grid.affine[:3, :3] / np.array(grid.spacing_mm)
    if np.abs(axes.T @ axes - np.eye(3)).max() <= _ORTHONORMAL:
        header.set_qform(grid.affine, source.get("qform_code") or 1)


def _write_bytes(file: BinaryIO | gzip.GzipFile, header: nib.Nifti1Header, array: NDArray[Any]) -> None:
    file.write(header.binaryblock + b"\0\0\0\0")
    little = array.dtype.newbyteorder("<")
    # Piece by piece along the last axis, the slowest in the file: no second copy of a large image.
    for piece in range(array.shape[-1]):
        file.write(np.asarray(array[..., piece], little).tobytes(order="F"))


def _with_warnings(meta: Meta, further: tuple[str, ...]) -> Meta:
    return replace(meta, warnings=meta.warnings + further)
