"""From images in no order to slices in space: sorted by position, judged, and given one affine (RAS mm).

Order and step come from ImagePositionPatient along the slice normal; never from InstanceNumber, SliceLocation,
SliceThickness or file names. PixelSpacing is (distance of rows, distance of columns). What is not a stack of evenly
spaced slices at right angles is refused: two images at one place, a gap, uneven steps, a tilted gantry.
"""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from pydicom import dcmread

from medseg.core.errors import InputError
from medseg.core.geometry import Geometry
from medseg.io.dicom.find import Frame, numbers, quietly, text
from medseg.io.dicom.group import Stack

__all__ = ["PlacedSeries", "place"]

_LPS_RAS = np.diag([-1.0, -1.0, 1.0, 1.0])
_SAME_PLACE_MM = 0.01
_SAME_PLACE_SHARE = 0.01
"""Two slices nearer than 0.01 mm or 1 % of the step are at one place; steps may differ by as much."""

_DRIFT_SHARE = 0.05
"""How far, in steps, a slice may lie from its place on the even grid (a slow drift), or a gap from k steps."""

_LATERAL_SHARE = 0.05
"""How far, in pixels, a slice may lie beside the line through the first and the last."""

_LARGEST_TILT_DEG = 0.1
_ORTHONORMAL = 1e-3

_TELLING = (
    *("TemporalPositionIdentifier", "TriggerTime", "DiffusionBValue", "EchoTime", "InversionTime"),
    *("AcquisitionNumber", "ImageType", "ContentTime", "AcquisitionTime"),
)
"""What usually differs between the volumes of a 4-D series, for the sentence."""


@dataclass(frozen=True)
class PlacedSeries:
    """Slices in the order of the third array axis, their grid, and what was noticed."""

    files: tuple[Frame, ...]
    grid: Geometry
    notes: tuple[str, ...]


def place(stack: Stack) -> PlacedSeries:
    """Put the images of a stack in order on one grid.

    Raises:
        InputError: It cannot be placed without guessing; the sentence says why.
    """
    for file in stack.files:
        _check_kind(file)
    rows, columns = _axes(stack.first)
    spacing = [_required(file, "PixelSpacing", 2) for file in stack.files]
    if min(min(s) for s in spacing) <= 0:
        raise InputError(f"{stack.first.path} has a PixelSpacing that is not positive.")
    for file in stack.files[1:]:
        _axes(file)
    positions = np.array([_required(file, "ImagePositionPatient", 3) for file in stack.files])
    normal = np.cross(rows, columns)
    along = positions @ normal
    order = np.argsort(along, kind="stable")
    order, notes = _without_copies(stack, order, along)
    files, along, positions = [stack.files[n] for n in order], along[order], positions[order]
    step, further = _step(stack, files, along, positions, normal, min(spacing[0]))
    between_rows, between_columns = spacing[0]
    affine = np.eye(4)
    affine[:3, :3] = np.column_stack([rows * between_columns, columns * between_rows, step])
    affine[:3, 3] = positions[0]
    (n_columns,), (n_rows,) = (_required(stack.first, key, 1) for key in ("Columns", "Rows"))
    shape = (int(n_columns), int(n_rows), len(files))
    return PlacedSeries(tuple(files), Geometry(shape, _LPS_RAS @ affine), notes + further)


def _check_kind(file: Frame) -> None:
    """Refuse what holds more than one slice in a file, or is no section through the body."""
    n_frames = numbers(file.header, "NumberOfFrames")
    if "Enhanced" in file.class_name or "Multi-frame" in file.class_name or (n_frames is not None and n_frames[0] > 1):
        raise InputError(
            f"{file.path} is a multi-frame object ({file.class_name}); medseg reads series of one file a slice. "
            "Convert it to NIfTI first, for example with dcm2niix."
        )
    words = text(file.header, "ImageType").upper().split("\\")
    tiled = next((word for word in ("MOSAIC", "VFRAME") if word in words), None)
    if tiled:
        raise InputError(
            f"{file.path} holds many slices tiled in one picture ({tiled}). "
            "Convert it to NIfTI first, for example with dcm2niix."
        )


def _required(file: Frame, keyword: str, n: int) -> tuple[float, ...]:
    values = numbers(file.header, keyword, n)
    if values is None:
        raise InputError(f"{file.path} has no {keyword}, so its place in the patient is unknown.")
    return values


def _axes(file: Frame) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Unit vectors (LPS) along a row (to the next column) and along a column (to the next row)."""
    cosines = np.array(_required(file, "ImageOrientationPatient", 6))
    along_row, along_column = cosines[:3], cosines[3:]
    lengths = np.linalg.norm(along_row), np.linalg.norm(along_column)
    dot = float(along_row @ along_column)
    if max(abs(length - 1) for length in lengths) > _ORTHONORMAL or abs(dot) > _ORTHONORMAL:
        raise InputError(
            f"{file.path} has direction cosines that are not at right angles or not of length 1 "
            f"(dot product {dot:.4g}, lengths {lengths[0]:.4g} and {lengths[1]:.4g})."
        )
    along_row = along_row / lengths[0]
    along_column = along_column - (along_column @ along_row) * along_row
    return along_row, along_column / np.linalg.norm(along_column)


def _without_copies(
    stack: Stack, order: NDArray[np.intp], along: NDArray[np.float64]
) -> tuple[NDArray[np.intp], tuple[str, ...]]:
    """The order with exact copies of a slice dropped.

    Raises:
        InputError: Different images lie at one place.
    """
    places = _places(order, along)
    kept = [_distinct([stack.files[n] for n in place]) for place in places]
    most = max(len(files) for files in kept)
    if most > 1:
        n_places = sum(len(files) > 1 for files in kept)
        example = next(files for files in kept if len(files) > 1)
        raise InputError(_same_place(stack, n_places, most, example))
    n_copies = len(order) - len(places)
    notes = (f"{n_copies} exact copies of slices were left aside.",) if n_copies else ()
    return np.array([place[0] for place in places]), notes


def _places(order: NDArray[np.intp], along: NDArray[np.float64]) -> list[list[int]]:
    """Indices of the images at each position, positions ascending."""
    gaps = np.diff(along[order])
    steps = gaps[gaps > _SAME_PLACE_MM]
    step = float(np.median(steps)) if steps.size else 0.0
    tolerance = max(_SAME_PLACE_MM, _SAME_PLACE_SHARE * step)
    places = [[int(order[0])]]
    for gap, n in zip(gaps, order[1:], strict=True):
        if gap <= tolerance:
            places[-1].append(int(n))
        else:
            places.append([int(n)])
    return places


def _distinct(files: Sequence[Frame]) -> list[Frame]:
    """The files without exact copies: same instance, same pixels."""
    if len(files) == 1:
        return list(files)
    return list({(text(file.header, "SOPInstanceUID"), _pixel_digest(file)): file for file in reversed(files)}.values())


def _pixel_digest(file: Frame) -> str:
    with quietly():
        pixels = dcmread(file.path, force=True).get("PixelData", b"")
    return hashlib.sha256(pixels).hexdigest()


def _same_place(stack: Stack, n_places: int, most: int, example: Sequence[Frame]) -> str:
    telling = [key for key in _TELLING if len({text(file.header, key) for file in example}) > 1]
    names = f"{example[0].path.name} and {example[1].path.name}"
    what = f", differing in {', '.join(telling)}" if telling else ", and nothing in the headers tells them apart"
    return (
        f"{n_places} positions of series {stack.number} hold up to {most} images each{what} ({names} are at the same "
        "place). Put the files of one volume in a folder of its own."
    )


def _step(
    stack: Stack,
    files: Sequence[Frame],
    along: NDArray[np.float64],
    positions: NDArray[np.float64],
    normal: NDArray[np.float64],
    pixel_mm: float,
) -> tuple[NDArray[np.float64], tuple[str, ...]]:
    """The vector (LPS mm) from one slice to the next."""
    if len(files) == 1:
        thickness = numbers(files[0].header, "SliceThickness")
        if thickness is not None and thickness[0] > 0:
            return normal * thickness[0], ("A single slice; its spacing is its SliceThickness.",)
        return normal, ("A single slice without SliceThickness; 1 mm was taken.",)
    _check_gaps(stack, along)
    step = (positions[-1] - positions[0]) / (len(files) - 1)
    tilt_deg = np.rad2deg(np.arccos(np.clip(step @ normal / np.linalg.norm(step), -1, 1)))
    line = positions[0] + np.arange(len(files))[:, None] * step
    beside = positions - line
    beside_mm = float(np.linalg.norm(beside - np.outer(beside @ normal, normal), axis=1).max())
    if beside_mm > _LATERAL_SHARE * pixel_mm:
        raise InputError(
            f"The slices of series {stack.number} do not lie on one straight line (off by {beside_mm:.3g} mm); "
            "this cannot be a volume."
        )
    if tilt_deg > _LARGEST_TILT_DEG:
        raise InputError(
            f"The slices of series {stack.number} are not stacked along their normal (gantry tilt of {tilt_deg:.1f}°); "
            "convert it to a grid at right angles first, for example with dcm2niix."
        )
    return step, ()


def _check_gaps(stack: Stack, along: NDArray[np.float64]) -> None:
    """Refuse missing and unevenly spaced slices."""
    gaps = np.diff(along)
    step = float(np.median(gaps))
    tolerance = max(_SAME_PLACE_MM, _SAME_PLACE_SHARE * step)
    even = np.linspace(along[0], along[-1], len(along))
    is_even = np.abs(gaps - step).max() <= tolerance and np.abs(along - even).max() <= _DRIFT_SHARE * step
    if is_even:
        return
    multiples = np.rint(gaps / step)
    if np.all(multiples >= 1) and np.abs(gaps - multiples * step).max() <= _DRIFT_SHARE * step and multiples.max() > 1:
        n_missing = int(multiples.sum()) - len(gaps)
        first = int(np.argmax(multiples > 1))
        raise InputError(
            f"Series {stack.number} lacks {n_missing} slices (between {along[first]:.1f} and {along[first + 1]:.1f} mm "
            "along its normal); complete the folder."
        )
    raise InputError(
        f"Series {stack.number} has uneven slice distances ({gaps.min():.3g} to {gaps.max():.3g} mm); "
        "medseg reads evenly spaced series only."
    )
