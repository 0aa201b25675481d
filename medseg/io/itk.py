"""The writing of MetaImage and NRRD through SimpleITK; `io.metaimage` and `io.nrrd` read them.

ITK's world is LPS+ mm and its arrays are (k, j, i): both are turned here, at the door, and nowhere else. A grid without
right angles cannot be said in these formats and is refused in writing.
"""

import errno
from pathlib import Path
from shutil import copyfileobj
from tempfile import TemporaryDirectory

import numpy as np
import SimpleITK as sitk  # noqa: N813  as everybody calls it

from medseg.core.errors import InputError, MachineError
from medseg.core.geometry import Geometry
from medseg.core.labels import Labels
from medseg.core.volume import LabelMap, Meta, Volume
from medseg.io.files import grow
from medseg.io.kinds import kind_of, suffix_of
from medseg.io.segments_write import segmented
from medseg.io.text_headers import read_text_header
from medseg.io.text_voxels import check_voxels
from medseg.io.values import label_dtype

__all__ = ["check_grid", "write"]

_LPS_RAS = np.diag([-1.0, -1.0, 1.0, 1.0])
"""Turns LPS into RAS, and back."""


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
        _write_image(image, path)
        if n_layers > 1:
            _call_layers_a_list(path)
    except RuntimeError as error:
        # The library keeps to itself why: the system says it to the next bytes.
        grow(path)
        raise MachineError(f"{final} could not be written ({_last_line(error)}).") from error
    # A full disk is not always an error to the library: look whether everything has arrived.
    try:
        check_voxels(read_text_header(path), final)
    except InputError as error:
        raise OSError(errno.ENOSPC, "the file came out incomplete", str(path)) from error


def _write_image(image: sitk.Image, path: Path) -> None:
    """Write by SimpleITK, which ends the process at a path that is no UTF-8: then it writes elsewhere, and we copy."""
    if _is_utf8(str(path)):
        sitk.WriteImage(image, str(path), useCompression=True)
        return
    with TemporaryDirectory() as folder:
        elsewhere = Path(folder, f"image{suffix_of(path)}")
        sitk.WriteImage(image, str(elsewhere), useCompression=True)
        with elsewhere.open("rb") as source, path.open("wb") as target:
            copyfileobj(source, target)


def _is_utf8(text: str) -> bool:
    return not any("\ud800" <= character <= "\udfff" for character in text)


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
        image.SetMetaData(key, text.encode("utf-8", "backslashreplace").decode("utf-8"))
    return image, len(arrays)


def _call_layers_a_list(path: Path) -> None:
    """ITK calls the axis of channels a vector; Slicer takes layers from a list."""
    content = path.read_bytes()
    end = content.index(b"\n\n")
    path.write_bytes(content[:end].replace(b"\nkinds: vector ", b"\nkinds: list ") + content[end:])


def _last_line(error: RuntimeError) -> str:
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return lines[-1] if lines else "no reason given"
