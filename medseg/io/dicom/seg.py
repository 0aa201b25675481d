"""DICOM SEG → label map: every frame placed by its own position and orientation, and by the segment that it names.

BINARY, FRACTIONAL and LABELMAP segmentations. A slice without a frame is empty, frames may come in any order, flipped
or turned against the image, and cut to a part of it; where they do not lie on the grid they are refused. What segments
are called is settled by `seg_names`; their codes are kept beside the names.
"""

from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydicom.dataset import Dataset

from medseg.core.errors import InputError
from medseg.core.geometry import Geometry
from medseg.core.structures import Structures
from medseg.core.volume import LabelMap, Meta
from medseg.io.dicom.digits import half_digit
from medseg.io.dicom.find import DAMAGE, Frame, numbers, quietly, text
from medseg.io.dicom.gaps import COARSEST_SHARE, ROUNDING
from medseg.io.dicom.misfits import Misfits, UnfitError
from medseg.io.dicom.objects import items
from medseg.io.dicom.onto import Target
from medseg.io.dicom.seg_names import Segment, segments_of
from medseg.io.dicom.stored import stored_frames
from medseg.io.options import ReadOptions

__all__ = ["own_grid", "read_seg"]

_LPS_RAS = np.diag([-1.0, -1.0, 1.0, 1.0])
_ON_GRID_MM = 0.01
_ON_GRID_SHARE = 0.01
"""How far a frame may lie from the grid's voxels: 0.01 mm or 1 % of their distance, the larger."""

_WHERE = {
    "position": ("PlanePositionSequence", "ImagePositionPatient", 3),
    "orientation": ("PlaneOrientationSequence", "ImageOrientationPatient", 6),
    "pixel spacing": ("PixelMeasuresSequence", "PixelSpacing", 2),
    "segment": ("SegmentIdentificationSequence", "ReferencedSegmentNumber", 1),
}
"""What a frame must say: in which functional group, of the frame or of all frames, and how many numbers."""

_ANY: tuple[float, ...] = ()
"""Instead of a segment's number: the frame is a label map, its values are the numbers."""


@dataclass(frozen=True, eq=False)
class _Place:
    """Where a frame lies.

    Attributes:
        affine: (column, row, 1) of a pixel's centre → RAS mm, 4×3.
        segment: The number of its segment; None in a label map.
        spacing_mm: Of pixels: distance of columns, of rows.
    """

    affine: NDArray[np.float64]
    segment: int | None
    spacing_mm: tuple[float, float]


def read_seg(file: Frame, target: Target, options: ReadOptions, wanted: Collection[str] | None = None) -> LabelMap:
    """The segments of a SEG on a grid, those that are wanted (None: all); one without frames is there, and empty.

    `meta.header["codes"]` holds the `codes.Meaning` of each name.

    Raises:
        InputError: The file is damaged, a frame lies at no slice or off the grid, or segments overlap and may not.
    """
    try:
        with quietly():
            return _read(file, target, options, wanted)
    except DAMAGE as error:
        raise InputError(f"{file.path} is cut off or damaged. Copy it again.") from error


def _read(file: Frame, target: Target, options: ReadOptions, wanted: Collection[str] | None) -> LabelMap:
    misfits = Misfits(options)
    segments, notes = segments_of(file, options, wanted, misfits, is_map=_kind(file) == "LABELMAP")
    places = _places(file, frozenset(number for number, segment in segments.items() if segment.name is None))
    kind = _kind(file)
    names = dict.fromkeys(segment.name for segment in segments.values() if segment.name is not None)
    map_ = Structures(target.grid.shape, names, options.overlaps)
    if kind == "FRACTIONAL":
        notes += (_about_fractions(file, options),)
    n_beyond = 0
    drawn = set(misfits.found)
    for place, pixels in zip(places, stored_frames(file, len(places)), strict=True):
        if place is None:
            continue
        for number, mask in _masks(file, kind, place, pixels, options):
            segment = segments.get(number)
            if segment is None:
                raise InputError(
                    f"{file.path} holds voxels of segment {number} ({np.count_nonzero(mask)} in one frame), which it "
                    "does not declare. Export it again."
                )
            if segment.name is not None:
                drawn.add(segment.name)
                with misfits.of(segment.name):
                    n_beyond += not _paint(map_, segment, mask, place, file, target)
    misfits.refuse(len(drawn))
    if n_beyond:
        notes += (f"{n_beyond} frames beyond the slices that were taken are left out.",)
    array, labels = map_.finish()
    codes = {segment.name: segment.meaning for segment in reversed(segments.values()) if segment.name is not None}
    meta = Meta("dicom", header={"modality": "SEG", "codes": codes}, warnings=target.notes + notes)
    return LabelMap(array, target.grid, labels, meta)


def _masks(
    file: Frame, kind: str, place: _Place, pixels: NDArray[Any], options: ReadOptions
) -> Iterable[tuple[int, NDArray[np.bool_]]]:
    """Segment number and mask (rows, columns) of what a frame holds; nothing where it is empty."""
    if place.segment is None:
        nothing = numbers(file.header, "PixelPaddingValue")
        values = np.flatnonzero(np.bincount(pixels.ravel()))
        yield from ((int(v), pixels == v) for v in values if nothing is None or v != nothing[0])
        return
    mask = pixels != 0 if kind != "FRACTIONAL" else pixels >= options.fraction * _whole(file)
    if mask.any():
        yield place.segment, mask


def _kind(file: Frame) -> str:
    """BINARY, FRACTIONAL or LABELMAP."""
    kind = text(file.header, "SegmentationType") or ("LABELMAP" if "Label Map" in file.class_name else "BINARY")
    if kind not in ("BINARY", "FRACTIONAL", "LABELMAP"):
        raise InputError(f"{file.path} is a segmentation of an unknown type ({kind}).")
    return kind


def _whole(file: Frame) -> float:
    """The stored value that means all of a voxel."""
    return (numbers(file.header, "MaximumFractionalValue") or (255.0,))[0]


def _about_fractions(file: Frame, options: ReadOptions) -> str:
    kind = {"PROBABILITY": "probabilities", "OCCUPANCY": "occupancies"}
    what = kind.get(text(file.header, "SegmentationFractionalType"), "fractions")
    return f"The segments are {what}; voxels from {options.fraction:g} on belong to them (--read fraction=…)."


def _places(file: Frame, unread: frozenset[int] = frozenset()) -> list[_Place | None]:
    """Where each frame lies; None for one of a segment that is not read.

    Raises:
        InputError: The file does not say it for one of them, or describes another number of frames than it holds.
    """
    header = file.header
    shared = next(items(header, "SharedFunctionalGroupsSequence"), Dataset())
    frames = list(items(header, "PerFrameFunctionalGroupsSequence"))
    promised = int((numbers(header, "NumberOfFrames") or (1.0,))[0])
    if promised != len(frames):
        raise InputError(
            f"{file.path} promises {promised} frames and describes {len(frames)}. Copy or export it again."
        )
    only = list(items(header, "SegmentSequence"))
    default = numbers(only[0], "SegmentNumber") if len(only) == 1 else None
    for_all = {what: _said(shared, *where) for what, where in _WHERE.items()}
    for_all["segment"] = for_all["segment"] or default
    if _kind(file) == "LABELMAP":
        for_all["segment"] = _ANY
    return [_place(file, n, frame, for_all, unread) for n, frame in enumerate(frames, start=1)]


def _place(
    file: Frame, n: int, frame: Dataset, for_all: Mapping[str, tuple[float, ...] | None], unread: frozenset[int]
) -> _Place | None:
    said = {
        what: for_all[what] if for_all[what] == _ANY else _said(frame, *where) or for_all[what]
        for what, where in _WHERE.items()
    }
    position, cosines, spacing, segment = said.values()
    if segment is not None and segment != _ANY and int(segment[0]) in unread:
        return None
    if position is None or cosines is None or spacing is None or segment is None:
        names = ", ".join(what for what, value in said.items() if value is None)
        raise InputError(f"Frame {n} of {file.path} has no {names}, so its place in the patient is unknown.")
    between_rows, between_columns = spacing
    affine = np.zeros((4, 3))
    affine[:3] = np.column_stack(
        [np.array(cosines[:3]) * between_columns, np.array(cosines[3:]) * between_rows, position]
    )
    affine[3, 2] = 1
    return _Place(_LPS_RAS @ affine, None if segment == _ANY else int(segment[0]), (between_columns, between_rows))


def _said(holder: Dataset, group: str, keyword: str, n: int) -> tuple[float, ...] | None:
    """The numbers of an attribute in a functional group, None where it is not there."""
    sequence = holder.get(group)
    return numbers(sequence[0], keyword, n) if sequence else None


def _paint(
    map_: Structures, segment: Segment, mask: NDArray[np.bool_], place: _Place, file: Frame, target: Target
) -> bool:
    """Put a mask (rows, columns) at its place; False where that is beyond the slices that were taken.

    Raises:
        UnfitError: It lies off the grid.
    """
    grid = target.grid
    steps = np.linalg.inv(grid.affine[:3, :3]) @ place.affine[:3, :2]
    start = grid.to_voxel(place.affine[:3, 2])
    whole, first = np.rint(steps), np.rint(start)
    axes = [int(np.abs(whole[:, n]).argmax()) for n in range(2)]
    if axes[0] == axes[1] or (np.abs(whole).sum(axis=0) != 1).any():
        raise UnfitError(_other_grid(segment, file, place, target, "its pixels run in other directions"))
    (normal,) = {0, 1, 2} - {*axes}
    n_rows, n_columns = mask.shape
    corners = np.array([(c, r) for c in (0, n_columns - 1) for r in (0, n_rows - 1)])
    off_mm = np.abs((start - first)[:, None] + (steps - whole) @ corners.T).max(axis=1) * grid.spacing_mm
    allowed = np.maximum(_ON_GRID_MM, _ON_GRID_SHARE * np.array(grid.spacing_mm)) + target.rounding_mm
    if (off_mm > allowed)[axes].any():
        raise UnfitError(_other_grid(segment, file, place, target, f"it lies up to {off_mm[axes].max():.3g} mm beside"))
    level = int(first[normal])
    is_beyond = not 0 <= level < grid.shape[normal]
    if is_beyond and target.is_part:
        return False
    if is_beyond or off_mm[normal] > allowed[normal]:
        at = target.position_mm(place.affine[:3, 2], normal)
        raise UnfitError(
            f"Segment {segment.number} ({segment.name}) of {file.path} has a frame at {at:.2f} mm where {target.name} "
            "has no slice"
        )
    columns, rows = (
        _Run.of(int(first[axis]), int(whole[axis, n]), mask.shape[1 - n], grid.shape[axis])
        for n, axis in enumerate(axes)
    )
    inside = mask[rows.taken, columns.taken]
    if np.count_nonzero(inside) != np.count_nonzero(mask):
        raise UnfitError(
            f"Segment {segment.number} ({segment.name}) of {file.path} reaches beyond the images of {target.name}"
        )
    box: list[slice | int] = [level, level, level]
    box[axes[0]], box[axes[1]] = columns.given, rows.given
    map_.paint(segment.name or "", inside.T if axes[0] < axes[1] else inside, tuple(box))
    return True


@dataclass(frozen=True, slots=True)
class _Run:
    """Pixels along one direction of a frame (`taken`) and the voxels that they are (`given`), in rising order."""

    taken: slice
    given: slice

    @classmethod
    def of(cls, first: int, sign: int, n_pixels: int, n_voxels: int) -> "_Run":
        """Pixel p is voxel first + sign · p; those outside are left out."""
        if sign > 0:
            low, high = max(0, -first), max(0, min(n_pixels, n_voxels - first))
            return cls(slice(low, max(low, high)), slice(first + low, first + max(low, high)))
        low, high = max(0, first - n_voxels + 1), max(0, min(n_pixels, first + 1))
        high = max(low, high)
        backwards = slice(high - 1, low - 1 if low else None, -1) if high > low else slice(0, 0)
        return cls(backwards, slice(first - high + 1, first - low + 1))


def _other_grid(segment: Segment, file: Frame, place: _Place, target: Target, what: str) -> str:
    theirs = " × ".join(f"{mm:.4g}" for mm in place.spacing_mm)
    ours = " × ".join(f"{mm:.4g}" for mm in target.grid.spacing_mm)
    return (
        f"Segment {segment.number} ({segment.name}) of {file.path} does not lie on the grid of {target.name}: {what} "
        f"(its pixels: {theirs} mm; the grid: {ours} mm)"
    )


def own_grid(file: Frame) -> Target:
    """The grid that the frames of a SEG span: for one whose images are not there.

    Raises:
        InputError: The frames are not parallel, not one above the other, or at uneven distances.
    """
    with quietly():
        try:
            places = [place for place in _places(file) if place is not None]
        except DAMAGE as error:
            raise InputError(f"{file.path} is cut off or damaged. Copy it again.") from error
    if not places:
        raise InputError(f"{file.path} has no frame, so it has no grid of its own.")
    axes = places[0].affine[:3, :2]
    normal = np.cross(axes[:, 0], axes[:, 1])
    normal = normal / np.linalg.norm(normal)
    positions = np.array([place.affine[:3, 2] for place in places])
    along = positions @ normal
    along, first = np.unique(np.round(along, 4), return_index=True)
    tilted = any(np.abs(place.affine[:3, :2] - axes).max() > _ON_GRID_SHARE * min(place.spacing_mm) for place in places)
    half = half_digit(_positions(file), "ImagePositionPatient")
    step, n_slices, notes = _levels(file, along, normal, half * float(np.abs(normal).sum()))
    rounding_mm = 2 * half * float(np.sqrt(3))  # of the frame, and of the ends that the grid is made of
    aside = positions[first] - positions[first[0]] - np.outer(along - along[0], step / (step @ normal))
    allowed = max(_ON_GRID_MM, _ON_GRID_SHARE * min(places[0].spacing_mm)) + rounding_mm
    if tilted or np.linalg.norm(aside, axis=1).max() > allowed:
        raise InputError(f"The frames of {file.path} are not slices of one volume, so it has no grid of its own.")
    affine = np.eye(4)
    affine[:3] = np.column_stack([axes, step, positions[first[0]]])
    n_rows, n_columns = (int((numbers(file.header, key) or (0.0,))[0]) for key in ("Rows", "Columns"))
    note = "The images of the segmentation are not there: it was read on the grid that its frames span."
    grid = Geometry((n_columns, n_rows, n_slices), affine)
    return Target(grid, "its own grid", 2, notes=(note, *notes), rounding_mm=rounding_mm)


def _positions(file: Frame) -> Iterator[Dataset]:
    """What says the position of each frame."""
    for frame in items(file.header, "PerFrameFunctionalGroupsSequence"):
        yield from items(frame, "PlanePositionSequence")


def _levels(
    file: Frame, along: NDArray[np.float64], normal: NDArray[np.float64], rounding_mm: float
) -> tuple[NDArray[np.float64], int, tuple[str, ...]]:
    """The vector from slice to slice, how many there are, and notes.

    Frames may be few of many slices, so the smallest distance is the step; where positions are rounded, the mean of
    those that are one step.
    """
    shared = next(items(file.header, "SharedFunctionalGroupsSequence"), Dataset())
    measures = next(items(shared, "PixelMeasuresSequence"), Dataset())
    told = numbers(measures, "SpacingBetweenSlices") or numbers(measures, "SliceThickness")
    if len(along) == 1:
        thickness = told[0] if told is not None and told[0] > 0 else 1.0
        return normal * thickness, 1, (f"A single slice; {thickness:g} mm were taken for its thickness.",)
    step = float(np.diff(along).min())
    rounding_mm = rounding_mm if rounding_mm <= COARSEST_SHARE * step else 0.0
    if rounding_mm:
        step = float(np.diff(along)[np.diff(along) < 1.5 * step].mean())
    counts = np.rint((along - along[0]) / step)
    step = float((along[-1] - along[0]) / counts[-1])
    if np.abs(along - along[0] - counts * step).max() > max(
        _ON_GRID_MM, _ON_GRID_SHARE * step, 2 * ROUNDING * rounding_mm
    ):
        raise InputError(f"The frames of {file.path} lie at uneven distances, so it has no grid of its own.")
    return normal * step, int(counts[-1]) + 1, ()
