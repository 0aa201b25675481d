"""DICOM RTSTRUCT → label map: closed contours, filled at the voxel centres of the series that they were drawn on.

Contours are moved into the index space of the grid (sheared grids too) and belong to the slice that they lie in; which
slice a contour names beside that is only compared. Each structure keeps its name; where structures overlap, the map has
a value for each combination. Nothing is interpolated: a slice without a contour stays empty, and a note says so.
"""

from collections import Counter, defaultdict
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydicom.dataset import Dataset

from medseg.core.errors import InputError
from medseg.core.labels import folded
from medseg.core.structures import Structures
from medseg.core.volume import LabelMap, Meta
from medseg.io.chosen import chosen
from medseg.io.dicom.find import DAMAGE, Frame, quietly, text
from medseg.io.dicom.misfits import Misfits, UnfitError
from medseg.io.dicom.objects import items
from medseg.io.dicom.onto import Target
from medseg.io.dicom.polygons import filled
from medseg.io.options import ReadOptions

__all__ = ["read_rtstruct"]

_LPS_RAS = np.array([-1.0, -1.0, 1.0])
_OFF_PLANE_SHARE = 0.1
_OFF_PLANE_MM = 0.05
"""How far points of a contour may lie off their slice: a tenth of a step, or 0.05 mm."""

_FEW = 5
"""How many names a sentence lists."""


@dataclass(frozen=True, eq=False)
class _Contour:
    """Points in index space (n, 3), and the image that the contour names ("" if none)."""

    points: NDArray[np.float64]
    instance: str


@dataclass(frozen=True, eq=False)
class _Declared:
    """What a structure set says of an ROI: its name and number, and the space it lies in."""

    name: str
    number: str
    frame_of_reference: str


@dataclass(frozen=True, eq=False)
class _Structure:
    """One ROI: its name, and its closed contours."""

    name: str
    contours: tuple[_Contour, ...]


@dataclass
class _Noticed:
    """What the reading noticed, counted; `sentences` tells it."""

    skipped: Counter[str]
    twins: list[str]
    foreign: list[str]
    n_copies: int = 0
    n_without_centre: int = 0
    n_projected: int = 0
    n_beyond: int = 0
    n_other_slice: int = 0
    gaps: dict[str, int] | None = None

    def sentences(self) -> tuple[str, ...]:
        found = [f"{n} contours of type {kind} were left aside." for kind, n in self.skipped.items()]
        if self.twins:
            found.append(f"Empty structures of a name that another has were left aside: {_listed(self.twins)}.")
        if self.foreign:
            found.append(f"Structures in another frame of reference were left aside: {_listed(self.foreign)}.")
        if self.n_copies:
            found.append(f"{self.n_copies} exact copies of contours were left aside.")
        if self.n_without_centre:
            found.append(f"{self.n_without_centre} contours hold no voxel centre: they are smaller than a voxel.")
        if self.n_projected:
            found.append(f"{self.n_projected} contours that lie between slices were moved to the nearest slice.")
        if self.n_beyond:
            found.append(f"{self.n_beyond} contours beyond the slices that were taken are left out.")
        if self.n_other_slice:
            found.append(
                f"{self.n_other_slice} contours lie in another slice than the one they name; where they lie counts."
            )
        if self.gaps:
            listed = _listed([f"{name} ({n})" for name, n in self.gaps.items()])
            found.append(f"Slices between contours have none and stay empty: {listed}.")
        return tuple(found)


def read_rtstruct(file: Frame, target: Target, options: ReadOptions, wanted: Collection[str] | None = None) -> LabelMap:
    """The structures of an RTSTRUCT on a grid; one that has no contours is there, and empty.

    What is not asked for is not judged: none of its contours is looked at.

    Args:
        file: The RTSTRUCT.
        target: The grid.
        options: `structures` and `leave_out` choose among the structures too.
        wanted: Names of the structures that are asked for; None: all.

    Raises:
        InputError: The file is damaged, two structures share a name, or a contour lies at no slice of the grid.
    """
    noticed, misfits = _Noticed(Counter(), [], []), Misfits(options)
    try:
        with quietly():
            declared = _declared(file, target, noticed)
            names = chosen([structure.name for structure in declared], file.path, options, wanted)
            structures = _structures(file, [each for each in declared if each.name in names], target, noticed, misfits)
    except DAMAGE as error:
        raise InputError(f"{file.path} is damaged: its contours cannot be read. Copy it again.") from error
    axis = _slice_axis(structures, target)
    map_ = Structures(target.grid.shape, (structure.name for structure in structures), options.overlaps)
    for structure in structures:
        with misfits.of(structure.name):
            planes = _by_plane(structure, target, axis, options, noticed)
            _paint(map_, structure.name, planes, target, axis, noticed)
            missing = (max(planes) - min(planes) + 1 - len(planes)) if planes else 0
            if missing:
                noticed.gaps = {**(noticed.gaps or {}), structure.name: missing}
    misfits.refuse(sum(bool(structure.contours) or structure.name in misfits.found for structure in structures))
    array, labels = map_.finish()
    meta = Meta("dicom", header={"modality": "RTSTRUCT"}, warnings=target.notes + names.notes + noticed.sentences())
    return LabelMap(array, target.grid, labels, meta)


def _declared(file: Frame, target: Target, noticed: _Noticed) -> list[_Declared]:
    """The structures that lie in the space of the grid, in the order of the file."""
    declared = [
        _Declared(
            text(roi, "ROIName").strip() or f"ROI {text(roi, 'ROINumber')}",
            text(roi, "ROINumber"),
            text(roi, "ReferencedFrameOfReferenceUID"),
        )
        for roi in items(file.header, "StructureSetROISequence")
    ]
    if not declared:
        raise InputError(f"{file.path} declares no structure.")
    spaces = {structure.frame_of_reference for structure in declared}
    if len(spaces) > 1 and target.frame_of_reference in spaces:
        here = [structure for structure in declared if structure.frame_of_reference == target.frame_of_reference]
        noticed.foreign += [structure.name for structure in declared if structure not in here]
        return here
    return declared


def _structures(
    file: Frame, declared: Sequence[_Declared], target: Target, noticed: _Noticed, misfits: Misfits
) -> list[_Structure]:
    """Structures with their contours, with names that differ; those that cannot be read have none."""
    name_of = {structure.number: structure.name for structure in declared}
    contours: dict[str, list[_Contour]] = defaultdict(list)
    for roi in items(file.header, "ROIContourSequence"):
        number = text(roi, "ReferencedROINumber")
        if number in name_of:
            with misfits.of(name_of[number]):
                contours[number] += _contours(roi, file, target, noticed)
    structures = [_Structure(each.name, tuple(contours[each.number])) for each in declared]
    return _with_names_that_differ(structures, file, noticed, misfits)


def _with_names_that_differ(
    declared: Iterable[_Structure], file: Frame, noticed: _Noticed, misfits: Misfits
) -> list[_Structure]:
    """Of structures of one name the one that is not empty; where several are not, none can be read."""
    by_name: dict[str, _Structure] = {}
    for structure in declared:
        twin = by_name.setdefault(folded(structure.name), structure)
        if twin is structure:
            continue
        if twin.contours and structure.contours:
            with misfits.of(twin.name):
                raise UnfitError(
                    f"{file.path} has two structures called {structure.name}",
                    ending="rename one of them where it was drawn",
                )
        noticed.twins.append(structure.name)
        if structure.contours:
            by_name[folded(structure.name)] = structure
    return list(by_name.values())


def _contours(roi: Dataset, file: Frame, target: Target, noticed: _Noticed) -> list[_Contour]:
    """The closed contours of an ROI in index space, each once."""
    found: dict[bytes, _Contour] = {}
    for item in items(roi, "ContourSequence"):
        kind = text(item, "ContourGeometricType")
        points = _points(item, file)
        if kind not in ("CLOSED_PLANAR", "CLOSEDPLANAR_XOR") or len(points) < 3:
            noticed.skipped[kind if len(points) >= 3 else f"{kind or 'unknown'} of fewer than 3 points"] += 1
            continue
        images = (text(image, "ReferencedSOPInstanceUID") for image in items(item, "ContourImageSequence"))
        contour = _Contour(target.grid.to_voxel(points * _LPS_RAS), next(images, ""))
        # By the even-odd rule, a contour that is there twice would be nothing.
        noticed.n_copies += found.setdefault(points.tobytes(), contour) is not contour
    return list(found.values())


def _points(item: Dataset, file: Frame) -> NDArray[np.float64]:
    """The points of a contour in LPS mm, (n, 3). Parsed from the bytes: pydicom makes an object of each number."""
    element = item.get_item("ContourData") if "ContourData" in item else None
    value: Any = None if element is None else element.value
    if isinstance(value, bytes):
        value = value.replace(b",", b".")
        numbers = np.array(value.rstrip(b" \0").split(b"\\") if value.strip(b" \0") else [], np.bytes_)
        points = numbers.astype(np.float64)
    else:
        points = np.array([] if value is None else [float(number) for number in value])
    if points.size % 3 or not np.isfinite(points).all():
        raise UnfitError(
            f"{file.path} has a contour of {points.size} numbers that are not points of three", ending="copy it again"
        )
    return points.reshape(-1, 3)


def _slice_axis(structures: Sequence[_Structure], target: Target) -> int:
    """The array axis that contours are stacked along: that of a series; on a grid alone, as they lie."""
    if target.slice_axis is not None:
        return target.slice_axis
    spread = np.zeros(3)
    for structure in structures:
        for contour in structure.contours:
            spread = np.maximum(spread, np.ptp(contour.points, axis=0) * target.grid.spacing_mm)
    return 2 if spread[2] <= spread.min() + _OFF_PLANE_MM else int(np.argmin(spread))


_Planes = Mapping[int, Sequence[_Contour]]


def _by_plane(structure: _Structure, target: Target, axis: int, options: ReadOptions, noticed: _Noticed) -> _Planes:
    """The contours of a structure by the index of their slice.

    Raises:
        UnfitError: A contour lies beyond the slices, between them, or across them.
    """
    step_mm = target.step_mm(axis)
    tolerance = max(_OFF_PLANE_SHARE, _OFF_PLANE_MM / step_mm) + target.rounding_mm / step_mm
    planes: dict[int, list[tuple[float, _Contour]]] = defaultdict(list)
    for contour in structure.contours:
        along = contour.points[:, axis]
        middle = float(along.mean())
        plane = round(middle)
        if not -tolerance <= middle <= target.grid.shape[axis] - 1 + tolerance:
            if not target.is_part:
                raise UnfitError(_beyond(structure, contour, target, axis))
            noticed.n_beyond += 1
            continue
        plane = min(max(plane, 0), target.grid.shape[axis] - 1)
        if np.ptp(along) > 1:
            raise UnfitError(
                f"ROI {structure.name} has a contour that runs across {np.ptp(along) * step_mm:.3g} mm of slices of "
                f"{target.name}"
            )
        off = float(np.abs(along - plane).max())
        if off > tolerance and options.contours != "project":
            raise UnfitError(
                f"ROI {structure.name} has contours {off * step_mm:.2g} mm off the slices of {target.name} (which are "
                f"{step_mm:.3g} mm apart)",
                "--read contours=project moves them to the nearest",
            )
        noticed.n_projected += off > tolerance
        named = target.slices.get(contour.instance, plane)
        noticed.n_other_slice += named != plane
        planes[plane].append((middle, contour))
    return {plane: _nearest(plane, each, tolerance) for plane, each in planes.items()}


def _nearest(plane: int, contours: Sequence[tuple[float, _Contour]], tolerance: float) -> list[_Contour]:
    """Of contours of several levels that fall into a slice, those of the nearest: others would cut holes into them."""
    level = min((middle for middle, _ in contours), key=lambda middle: abs(middle - plane))
    return [contour for middle, contour in contours if abs(middle - level) <= 2 * tolerance]


def _paint(map_: Structures, name: str, planes: _Planes, target: Target, axis: int, noticed: _Noticed) -> None:
    first, second = (n for n in range(3) if n != axis)
    shape = (target.grid.shape[first], target.grid.shape[second])
    for plane, contours in planes.items():
        flat = [contour.points[:, [first, second]] for contour in contours]
        raster = filled(flat, shape)
        noticed.n_without_centre += sum(
            not filled([contour], shape).mask.any() for contour in flat if _is_small(contour)
        )
        box: list[slice | int] = [*raster.box]
        box.insert(axis, plane)
        map_.paint(name, raster.mask, tuple(box))


def _is_small(contour: NDArray[np.float64]) -> bool:
    return bool(np.ptp(contour, axis=0).min() < 1)


def _beyond(structure: _Structure, contour: _Contour, target: Target, axis: int) -> str:
    ends = np.zeros((2, 3))
    ends[1, axis] = target.grid.shape[axis] - 1
    low, high = sorted(target.position_mm(end, axis) for end in target.grid.to_world(ends))
    at = target.position_mm(target.grid.to_world(contour.points.mean(axis=0)), axis)
    return (
        f"ROI {structure.name} has contours at {at:.1f} mm, beyond the slices of {target.name} ({low:.1f} to "
        f"{high:.1f} mm)"
    )


def _listed(names: Sequence[str]) -> str:
    more = f" and {len(names) - _FEW} more" if len(names) > _FEW else ""
    return ", ".join(names[:_FEW]) + more
