"""From images in no order to slices in space: sorted by position, judged, and given one affine (RAS mm).

Order and step come from ImagePositionPatient along the slice normal; never from InstanceNumber, SliceLocation,
SliceThickness or file names. PixelSpacing is (distance of rows, distance of columns). A tilted gantry gives a sheared
grid: voxels stay where they were taken. What cannot be placed without guessing is refused.
"""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from pydicom import dcmread

from medseg.core.errors import InputError
from medseg.core.geometry import Geometry
from medseg.io.archive import opened
from medseg.io.dicom.digits import half_digit, line_through
from medseg.io.dicom.find import DAMAGE, Frame, numbers, quietly, text
from medseg.io.dicom.gaps import ROUNDING, SAME_PLACE_MM, SAME_PLACE_SHARE, Interpolation, Laid, lay
from medseg.io.dicom.group import Stack
from medseg.io.dicom.select import Volumes, differing, single_volumes, told_apart
from medseg.io.dicom.words import few, left_aside
from medseg.io.options import ReadOptions

__all__ = ["PlacedSeries", "place"]

_LPS_RAS = np.diag([-1.0, -1.0, 1.0, 1.0])

_LATERAL_SHARE = 0.05
"""How far, in pixels, a slice may lie beside the line through the first and the last."""

_COARSEST_LATERAL_SHARE = 0.25
"""Digits coarser than this share of a pixel excuse no slice that lies beside the line."""

_TILT_DEG = 0.1
_LARGEST_TILT_DEG = 45.0
"""Above the first a tilt is told (0.1° over 300 mm is 0.5 mm); no gantry tilts as far as the second."""

_ORTHONORMAL = 1e-3
"""How far direction cosines may be from right angles and from length 1, if more digits are written."""

_FEWEST_DECIMALS_OF_COSINES = 2
"""Of direction cosines with so many decimals, rounding explains a hundredth; of fewer it would explain anything."""

_FEW_OPTIONS = 3
_FEW = 6
"""How many values a sentence lists."""


@dataclass(frozen=True, eq=False)
class PlacedSeries:
    """Slices in the order of the third array axis, their grid, and what was noticed.

    Attributes:
        files: The images that are used, rising along the normal.
        grid: Where the volume lies; it has other slices than `files` where some are interpolated.
        notes: What was left aside, guessed or done.
        interpolation: How the grid's slices come from `files`; None if they are these.
        rounding_mm: How far the positions that are written lie from the grid, where only their digits make it even.
    """

    files: tuple[Frame, ...]
    grid: Geometry
    notes: tuple[str, ...]
    interpolation: Interpolation | None = None
    rounding_mm: float = 0.0

    @property
    def frames(self) -> tuple[Frame | None, ...]:
        """The image that each slice of the grid is, None where it is interpolated."""
        if self.interpolation is None:
            return self.files
        return tuple(None if n is None else self.files[n] for n in self.interpolation.sources())


@dataclass(frozen=True, eq=False)
class _Plane:
    """What the slices of a stack have in common: unit vectors (LPS) along a row and a column, and pixel distances."""

    along_row: NDArray[np.float64]
    along_column: NDArray[np.float64]
    between_rows_mm: float
    between_columns_mm: float

    @property
    def normal(self) -> NDArray[np.float64]:
        return np.cross(self.along_row, self.along_column)

    @property
    def pixel_mm(self) -> tuple[float, float]:
        """The distances of pixels along a row and along a column."""
        return self.between_columns_mm, self.between_rows_mm

    @property
    def axes(self) -> NDArray[np.float64]:
        """The unit vectors along a row, along a column and along the normal, as rows."""
        return np.stack([self.along_row, self.along_column, self.normal])


def place(stack: Stack, options: ReadOptions) -> PlacedSeries:
    """Put the images of a stack in order on one grid.

    Raises:
        InputError: It cannot be placed without guessing; the sentence says why.
    """
    planes = {file: _plane(file, options) for file in stack.files}
    plane = planes[stack.files[0]]
    positions = {file: np.array(_required(file, "ImagePositionPatient", 3)) for file in stack.files}
    files, notes = _one_at_each_place(stack, positions, plane.normal, options)
    points = np.array([positions[file] for file in files])
    if len(files) == 1:
        step, further = _thickness(files[0], plane)
        return PlacedSeries(tuple(files), _grid(files[0], plane, points[0], step, 1), notes + further)
    half = half_digit((file.header for file in files), "ImagePositionPatient")
    laid = _laid(stack, points, plane, half, options)
    files, points = [files[n] for n in laid.kept], points[laid.kept]
    if len(files) == 1:
        raise InputError(f"Series {stack.number} has no two slices that follow each other; this cannot be a volume.")
    run = _run(stack, points, laid, plane, half)
    grid = _grid(files[0], plane, run.origin, run.step, laid.n_slices)
    apart_mm = _apart_mm(grid, laid, points, [planes[file] for file in files])
    further = run.notes + _about_commas(files) + _about_spread(grid, apart_mm, 2 * half if run.is_rounded else None)
    further += _about_two(files, abs(float((points[-1] - points[0]) @ plane.normal)), half)
    rounding_mm = apart_mm if run.is_rounded else 0.0
    return PlacedSeries(tuple(files), grid, notes + laid.notes + further, laid.interpolation, rounding_mm)


def _required(file: Frame, keyword: str, n: int) -> tuple[float, ...]:
    values = numbers(file.header, keyword, n)
    if values is None:
        raise InputError(f"{file.path} has no {keyword}, so its place in the patient is unknown.")
    return values


def _plane(file: Frame, options: ReadOptions) -> _Plane:
    cosines = np.array(_required(file, "ImageOrientationPatient", 6))
    along_row, along_column = cosines[:3], cosines[3:]
    lengths = np.linalg.norm(along_row), np.linalg.norm(along_column)
    dot = float(along_row @ along_column)
    off = max(abs(dot), abs(float(lengths[0]) - 1), abs(float(lengths[1]) - 1))
    if off > _ORTHONORMAL and off > _rounding_of_cosines(file, cosines):
        raise InputError(
            f"{file.path} has direction cosines that are not at right angles or not of length 1 "
            f"(dot product {dot:.4g}, lengths {lengths[0]:.4g} and {lengths[1]:.4g})."
        )
    along_row = along_row / lengths[0]
    along_column = along_column - (along_column @ along_row) * along_row
    return _Plane(along_row, along_column / np.linalg.norm(along_column), *_spacing(file, options))


def _rounding_of_cosines(file: Frame, cosines: NDArray[np.float64]) -> float:
    """How far rounding alone moves lengths from 1 and the dot product from 0, at worst."""
    half = half_digit([file.header], "ImageOrientationPatient")
    if not 0 < half <= 0.5 * 10.0**-_FEWEST_DECIMALS_OF_COSINES:
        return 0.0
    return ROUNDING * half * float(np.abs(cosines).sum())


def _spacing(file: Frame, options: ReadOptions) -> tuple[float, float]:
    """Distances of rows and of columns."""
    spacing, of_detector = (numbers(file.header, key, 2) for key in ("PixelSpacing", "ImagerPixelSpacing"))
    if spacing is None and of_detector is not None:
        if options.detector_spacing == "refuse":
            raise InputError(
                f"{file.path} has no PixelSpacing, only that of the detector (ImagerPixelSpacing), at which nothing "
                "in the patient lies; --read detector_spacing=accept takes it."
            )
        spacing = of_detector
    between_rows, between_columns = spacing or _required(file, "PixelSpacing", 2)
    if min(between_rows, between_columns) <= 0:
        raise InputError(f"{file.path} has a PixelSpacing that is not positive.")
    return between_rows, between_columns


def _grid(
    first: Frame, plane: _Plane, origin: NDArray[np.float64], step: NDArray[np.float64], n_slices: int
) -> Geometry:
    affine = np.eye(4)
    affine[:3, :3] = np.column_stack(
        [plane.along_row * plane.between_columns_mm, plane.along_column * plane.between_rows_mm, step]
    )
    affine[:3, 3] = origin
    (n_columns,), (n_rows,) = (_required(first, key, 1) for key in ("Columns", "Rows"))
    return Geometry((int(n_columns), int(n_rows), n_slices), _LPS_RAS @ affine)


# One image at each place.


def _one_at_each_place(
    stack: Stack, positions: dict[Frame, NDArray[np.float64]], normal: NDArray[np.float64], options: ReadOptions
) -> tuple[list[Frame], tuple[str, ...]]:
    """The images in the order of their positions, copies dropped and one volume of a 4-D series taken.

    Raises:
        InputError: Different images lie at one place, and nothing was said about which to take.
    """
    along = {file: float(position @ normal) for file, position in positions.items()}
    order = sorted(stack.files, key=lambda file: along[file])
    everywhere = _places(order, along)
    digests: dict[Path, str] = {}
    places = [_distinct(place, digests) for place in everywhere]
    n_copies = sum(map(len, everywhere)) - sum(map(len, places))
    notes = (left_aside(n_copies, "exact copy", " of slices"),) if n_copies else ()
    if max(map(len, places)) == 1:
        return [place[0] for place in places], notes
    volumes = told_apart(places)
    if volumes is None or options.volume is None:
        raise InputError(_same_place(stack, places, volumes))
    if options.volume >= len(volumes.images):
        n = len(volumes.images)
        raise InputError(f"Series {stack.number} has {n} volumes, counted from 0; there is no volume {options.volume}.")
    chosen = sorted(volumes.images[options.volume], key=lambda file: along[file])
    what = f"Volume {options.volume} of {len(volumes.images)} was taken"
    how = volumes.names[options.volume] if volumes.are_values else f"in the order of {volumes.key}"
    return chosen, (*notes, f"{what} ({how}).")


def _places(order: Sequence[Frame], along: dict[Frame, float]) -> list[list[Frame]]:
    """The images at each position, positions rising."""
    gaps = np.diff([along[file] for file in order])
    steps = gaps[gaps > SAME_PLACE_MM]
    step = float(np.median(steps)) if steps.size else 0.0
    tolerance = max(SAME_PLACE_MM, SAME_PLACE_SHARE * step)
    places = [[order[0]]]
    for gap, file in zip(gaps, order[1:], strict=True):
        if gap <= tolerance:
            places[-1].append(file)
        else:
            places.append([file])
    return places


def _distinct(files: Sequence[Frame], digests: dict[Path, str]) -> list[Frame]:
    """The images without exact copies: the same instance, the same frame of it, the same place, the same pixels.

    Two frames of one file are never copies of each other, even if both are empty. `digests` remembers what was read.
    """
    if len(files) == 1:
        return list(files)
    named: dict[tuple[str, int | None, str], list[Frame]] = {}
    for file in files:
        name = text(file.header, "SOPInstanceUID"), file.index, text(file.header, "ImagePositionPatient")
        named.setdefault(name, []).append(file)
    distinct: list[Frame] = []
    for alike in named.values():
        seen = {_pixel_digest(file, digests): file for file in reversed(alike)} if len(alike) > 1 else {"": alike[0]}
        distinct += reversed(seen.values())
    return distinct


def _pixel_digest(file: Frame, known: dict[Path, str]) -> str:
    if file.path in known:
        return known[file.path]
    try:
        with quietly(), opened(file.path) as stream:
            pixels = dcmread(stream, force=True).get("PixelData") or b""
    except DAMAGE as error:
        raise InputError(f"{file.path} is damaged. Copy it again.") from error
    known[file.path] = hashlib.sha256(pixels).hexdigest()
    return known[file.path]


def _same_place(stack: Stack, places: Sequence[Sequence[Frame]], volumes: Volumes | None) -> str:
    most = max(map(len, places))
    n_full = sum(len(place) > 1 for place in places)
    if len(places) == 1:
        what = f"All {most} images of series {stack.number} lie at one position; this is no volume"
    elif n_full == 1:
        what = f"1 position of series {stack.number} holds {most} images"
    else:
        what = (
            f"{n_full} positions of series {stack.number} hold {'' if _alike(places) else 'up to '}{most} images each"
        )
    single = "" if volumes is not None and volumes.are_values else _offered(single_volumes(places))
    if volumes is not None:
        return f"{what}, {_choice(volumes)}{single}"
    example = next(place for place in places if len(place) > 1)
    telling = differing(example)
    names_of_two = f"{_name(example[0])} and {_name(example[1])} are at the same place"
    if telling:
        differs = f"{what}, differing in {', '.join(telling)} ({names_of_two})"
        return f"{differs}.{single or ' Take all but one of each position out of the folder.'}"
    return f"{what}, and nothing in the headers tells them apart; {names_of_two}. Take all but one out of the folder."


def _offered(single: Sequence[str]) -> str:
    """A sentence on what takes one image at each position, "" if nothing does."""
    options = " or ".join(f"--read select={words}" for words in single[:_FEW_OPTIONS])
    return f" One image at each position is left by {options}." if single else ""


def _choice(volumes: Volumes) -> str:
    by_number = f"--read volume=0 to {len(volumes.names) - 1}"
    if not volumes.are_values:
        return f"{len(volumes.names)} volumes in the order of {volumes.key}: choose one with {by_number}."
    return (
        f"differing in {volumes.key} ({few(volumes.names, _FEW, '; ')}): "
        f"choose one with --read select={volumes.names[0]}, or in this order with {by_number}."
    )


def _alike(places: Sequence[Sequence[Frame]]) -> bool:
    return len({len(place) for place in places}) == 1


def _name(file: Frame) -> str:
    return file.path.name if file.index is None else f"frame {file.index + 1} of {file.path.name}"


# The step from slice to slice.


def _thickness(file: Frame, plane: _Plane) -> tuple[NDArray[np.float64], tuple[str, ...]]:
    """The step of a single slice."""
    thickness = numbers(file.header, "SliceThickness")
    if thickness is not None and thickness[0] > 0:
        return plane.normal * thickness[0], ("A single slice; its spacing is its SliceThickness.",)
    return plane.normal, ("A single slice without SliceThickness; 1 mm was taken.",)


@dataclass(frozen=True, eq=False)
class _Run:
    """How the slices follow each other: the first one's origin and the vector to the next (LPS mm)."""

    origin: NDArray[np.float64]
    step: NDArray[np.float64]
    is_rounded: bool = False
    notes: tuple[str, ...] = ()


def _laid(stack: Stack, points: NDArray[np.float64], plane: _Plane, half: float, options: ReadOptions) -> Laid:
    """The slices on an even grid; no option is offered for slices that do not lie on one line.

    Args:
        stack: Whose slices they are.
        points: Their positions in order (LPS mm).
        plane: What they have in common.
        half: Half of the last digit of the positions, in mm.
        options: How gaps are filled.
    """
    along = points @ plane.normal
    try:
        return lay(along, stack.number, options, half * float(np.abs(plane.normal).sum()))
    except InputError:
        straight = np.arange(len(points))
        _run(stack, points, Laid(straight, (along - along[0]) / (along[-1] - along[0])), plane, half)
        raise


def _run(stack: Stack, points: NDArray[np.float64], laid: Laid, plane: _Plane, half: float) -> _Run:
    """How slices on an even grid follow each other: through the first and the last, or within the written digits.

    Raises:
        InputError: They lie on no straight line, or on one that no gantry gives.
    """
    origin, step = points[0], (points[-1] - points[0]) / laid.places[-1]
    beside = points - points[0] - laid.places[:, None] * step
    beside_mm = float(np.linalg.norm(beside - np.outer(beside @ plane.normal, plane.normal), axis=1).max())
    run = _Run(origin, step)
    is_crooked = beside_mm > _LATERAL_SHARE * min(plane.between_rows_mm, plane.between_columns_mm)
    if is_crooked or laid.is_rounded or _tilt_deg(step, plane) > _TILT_DEG:
        within = _within_digits(points, laid, plane, half)
        if within is None and is_crooked:
            raise InputError(
                f"The slices of series {stack.number} do not lie on one straight line (off by {beside_mm:.3g} mm); "
                "this cannot be a volume."
            )
        if within is not None and (is_crooked or laid.is_rounded or _tilt_deg(within.step, plane) <= _TILT_DEG):
            run = within
    tilt_deg = _tilt_deg(run.step, plane)
    if tilt_deg > _LARGEST_TILT_DEG:
        raise InputError(
            f"The slices of series {stack.number} are stacked {tilt_deg:.0f}° off their normal, more than any gantry "
            "tilts; this cannot be a volume."
        )
    if tilt_deg > _TILT_DEG:
        note = f"The gantry was tilted by {tilt_deg:.1f}°; the grid is sheared, voxels lie where they were taken."
        return replace(run, notes=(note,))
    return run


def _tilt_deg(step: NDArray[np.float64], plane: _Plane) -> float:
    """The angle between the way from slice to slice and the normal."""
    return float(np.rad2deg(np.arccos(np.clip(step @ plane.normal / np.linalg.norm(step), -1, 1))))


def _within_digits(points: NDArray[np.float64], laid: Laid, plane: _Plane, half: float) -> _Run | None:
    """An even line that positions rounded to these could have had: upright if one was, None if there is none.

    Each coordinate is off by half a digit at most; what that comes to along a row, a column and the normal is the sum
    over the coordinates. Uneven slices have no places but their own positions: those are kept along the normal.
    """
    allowed = ROUNDING * half * np.abs(plane.axes).sum(axis=1)
    if half == 0 or (allowed[:2] > _COARSEST_LATERAL_SHARE * np.array(plane.pixel_mm)).any():
        return None
    offsets, slopes = np.zeros(3), np.zeros(3)
    for n, values in enumerate((points @ plane.axes.T).T):
        if n < 2 and np.ptp(values) <= 2 * allowed[n]:
            offsets[n] = (values.min() + values.max()) / 2
            continue
        if n == 2 and not laid.is_rounded:
            offsets[n], slopes[n] = values[0], (values[-1] - values[0]) / laid.places[-1]
            continue
        line = line_through(values, laid.places)
        if line.off > allowed[n]:
            return None
        offsets[n], slopes[n] = line.offset, line.slope
    return _Run(offsets @ plane.axes, slopes @ plane.axes, is_rounded=True)


def _apart_mm(grid: Geometry, laid: Laid, points: NDArray[np.float64], planes: Sequence[_Plane]) -> float:
    """How far corners of slices, by their own headers, lie from where the grid has them."""
    lps = _LPS_RAS @ grid.affine
    ends = np.array([(i, j) for i in (0, grid.shape[0] - 1) for j in (0, grid.shape[1] - 1)])
    across = np.array([(p.along_row * p.between_columns_mm, p.along_column * p.between_rows_mm) for p in planes])
    own = points[:, None] + np.einsum("cd,ndx->ncx", ends, across)
    given = lps[:3, 3] + ends @ lps[:3, :2].T + laid.places[:, None, None] * lps[:3, 2]
    return float(np.linalg.norm(own - given, axis=-1).max())


def _about_spread(grid: Geometry, apart_mm: float, digit_mm: float | None) -> tuple[str, ...]:
    """A note where slices say of themselves, though within what is even, other places than the grid gives them.

    In nearly all real series they agree to a thousandth of that, so a digit may have been changed on the way.
    """
    if digit_mm is not None:
        return (
            f"The positions of the slices are rounded to {digit_mm:.1g} mm and even within that; by their headers, "
            f"slices lie up to {apart_mm:.2g} mm from the grid that was made of them.",
        )
    # The first and the last slice decide the grid: one of them moved by x leaves half of x, at least, for the others.
    if apart_mm <= grid.tolerance_mm / 2:
        return ()
    return (f"By their headers, slices lie up to {apart_mm:.2g} mm from the grid that was made of them.",)


def _about_commas(files: Sequence[Frame]) -> tuple[str, ...]:
    """A note on numbers that were written the way of some countries."""
    keys = ("ImagePositionPatient", "ImageOrientationPatient", "PixelSpacing")
    with_commas = [key for key in keys if any("," in text(file.header, key) for file in files)]
    return (f"Decimal commas in {few(with_commas, _FEW)} were read as points.",) if with_commas else ()


def _about_two(files: Sequence[Frame], gap_mm: float, half: float) -> tuple[str, ...]:
    """A note on the distance of two slices, which no third confirms, where the header has another."""
    said = numbers(files[0].header, "SpacingBetweenSlices") or numbers(files[0].header, "SliceThickness")
    if len(files) != 2 or said is None or abs(abs(said[0]) - gap_mm) <= SAME_PLACE_SHARE * gap_mm + 2 * half:
        return ()
    return (f"Two slices lie {gap_mm:.4g} mm apart, though their header says {abs(said[0]):g} mm; places count.",)
