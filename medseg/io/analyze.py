"""Headers of Analyze 7.5 (.hdr with an .img), as SPM understands them, in the words of NIfTI, their successor.

Analyze says nothing of where an image lies, nor which side is left. SPM's users added an origin to the header or a
matrix in a `.mat` file beside it; where there is either it is taken, as nibabel reads it (x runs from right to left
unless the matrix says otherwise). Where there is neither, the image has no place in space.
"""

from io import BytesIO
from pathlib import Path

import numpy as np
from nibabel.nifti1 import Nifti1PairHeader
from nibabel.spm2analyze import Spm2AnalyzeHeader, Spm2AnalyzeImage
from numpy.typing import NDArray

from medseg.core.errors import InputError

__all__ = ["NO_PLACE", "FromAnalyze", "as_nifti"]

NO_PLACE = "The file has no place in space (Analyze says neither where an image lies nor which side is left)."

_ALIGNED = 2
"""NIfTI's code of a grid that was brought to another one, as by SPM."""

_MILLIMETRES = 2


class FromAnalyze(Nifti1PairHeader):
    """A NIfTI header that was made from one of Analyze's."""


def as_nifti(start: bytes, path: Path) -> FromAnalyze:
    """What an Analyze header says, as the header of a NIfTI pair.

    Args:
        start: Its 348 bytes.
        path: Its file; a `.mat` is looked for beside it.

    Raises:
        InputError: The matrix beside it cannot be read.
    """
    source = Spm2AnalyzeHeader.from_fileobj(BytesIO(start), check=False)
    header = FromAnalyze(endianness=source.endianness)  # type: ignore[no-untyped-call]
    for key in ("dim", "datatype", "bitpix", "pixdim"):
        header[key] = source[key]
    header["vox_offset"] = max(0.0, float(np.nan_to_num(source["vox_offset"])))
    slope, intercept = source.get_slope_inter()
    header["scl_slope"], header["scl_inter"] = slope or 1, intercept or 0
    header["xyzt_units"] = _MILLIMETRES
    header["magic"] = b"ni1"
    affine = _affine(source, path)
    if affine is not None:
        header.set_sform(affine, _ALIGNED)  # type: ignore[no-untyped-call]
    return header


def _affine(source: Spm2AnalyzeHeader, path: Path) -> NDArray[np.float64] | None:
    """Voxel → RAS mm by the matrix beside the header or the origin in it; None where there is neither."""
    if path.with_suffix(".mat").is_file():
        try:
            return np.asarray(Spm2AnalyzeImage.from_filename(path).affine, np.float64)
        except Exception as error:  # scipy and nibabel have dozens of their own for a damaged matrix
            matrix = path.with_suffix(".mat")
            raise InputError(
                f"{matrix} holds no matrix that says where {path.name} lies. Mend it, or move it away."
            ) from error
    if not np.any(source["origin"][:3]):
        return None
    placed: NDArray[np.float64] = source.get_origin_affine()
    return placed
