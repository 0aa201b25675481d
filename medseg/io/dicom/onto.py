"""The grid that a DICOM SEG or RTSTRUCT belongs on: that of the image series it was drawn on.

Whose series it is, is said by the series' UID, by the UIDs of the images, or by the frame of reference. All of these go
stale (series are sent again, resampled, made anonymous), so one that agrees is enough; only where none does is a label
refused. Where no image is given, it is looked for beside the label. A grid alone (of a NIfTI file, or of what a
prediction is compared with) is taken as it is: it has no UIDs to contradict.
"""

import os
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import lru_cache
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from pydicom import dcmread

from medseg.core.errors import InputError
from medseg.core.frozen import FrozenMapping
from medseg.core.geometry import Geometry
from medseg.io.archive import archive_of, first_bytes, is_archive, members, opened
from medseg.io.dicom.entries import ObjectEntry
from medseg.io.dicom.find import DAMAGE, Frame, find_images, look, quietly, text
from medseg.io.dicom.joined import joined
from medseg.io.dicom.objects import is_label
from medseg.io.dicom.series import placed
from medseg.io.kinds import HEAD_BYTES, begins_as_dicom
from medseg.io.listing import is_regular
from medseg.io.options import ReadOptions

__all__ = ["Target", "target_of"]

_DEEPEST = 3
"""So many folders below the label's grandparent are looked into for its series: PATIENT/STUDY/SERIES is common."""


_WANTED = ("SeriesInstanceUID", "SeriesNumber", "SOPInstanceUID", "FrameOfReferenceUID", "SOPClassUID", "Rows")


@dataclass(frozen=True)
class Target:
    """The grid to put a label on.

    Attributes:
        grid: The grid.
        name: What sentences call it: "series 3".
        slice_axis: The array axis that slices are stacked along; None where the grid is not that of a series.
        slices: SOPInstanceUID → index along that axis; empty where it is not known, or not that of one slice.
        frame_of_reference: FrameOfReferenceUID of the series, "" if unknown.
        is_part: Whether slices of the series were left out on purpose: then a label may reach beyond it.
        notes: How it was found, and what was noticed on the way.
        rounding_mm: How far the positions that the images write lie from the grid, where they are rounded: a label that
            was drawn on the images lies as far off.
    """

    grid: Geometry
    name: str
    slice_axis: int | None = None
    slices: Mapping[str, int] = field(default_factory=FrozenMapping)
    frame_of_reference: str = ""
    is_part: bool = False
    notes: tuple[str, ...] = ()
    rounding_mm: float = 0.0

    def normal(self, axis: int) -> NDArray[np.float64]:
        """The unit normal (RAS) of the planes across an array axis, to the left, the back or the head, as in DICOM."""
        first, second = (self.grid.affine[:3, n] for n in range(3) if n != axis)
        normal = np.cross(first, second) / np.linalg.norm(np.cross(first, second))
        largest = float((normal * (-1, -1, 1))[np.abs(normal).argmax()])
        return np.asarray(normal * np.sign(largest))

    def step_mm(self, axis: int) -> float:
        """The distance of the planes across an array axis, along their normal."""
        return float(abs(self.grid.affine[:3, axis] @ self.normal(axis)))

    def position_mm(self, point_mm: NDArray[np.float64], axis: int) -> float:
        """How far along the normal a point (RAS) lies: what DICOM calls the location of a slice."""
        return float(point_mm @ self.normal(axis))


def target_of(label: ObjectEntry, options: ReadOptions, image: Path | Geometry | None) -> Target | None:
    """The grid of the images that a label was drawn on; None if no image is given and none lies beside it.

    Args:
        label: What the label refers to.
        options: How the images are read; `series` chooses among several.
        image: The images (a DICOM file, folder or archive), or their grid.

    Raises:
        InputError: The images cannot be placed, are of another frame of reference, or there are several candidates.
    """
    if isinstance(image, Geometry):
        return Target(image, "the image")
    if image is None:
        found = _beside(label, options)
        return None if found is None else _matched(label, found[0], found[1], options)
    return _matched(label, find_images(image).images, image, options)


def _matched(label: ObjectEntry, images: Sequence[Frame], path: Path, options: ReadOptions) -> Target:
    """The one series among images that the label belongs to, placed."""
    images = joined(images, options)
    options = replace(options, series=options.series or _series_meant(label, images))
    series = placed(images, path, options)
    instances = {k: text(f.header, "SOPInstanceUID") for k, f in enumerate(series.frames) if f is not None}
    # The frames of one file have one UID: then it does not say which slice is meant.
    slices = {uid: k for k, uid in instances.items()} if len(set(instances.values())) == len(instances) else {}
    header = next(frame.header for frame in series.frames if frame is not None)
    name = f"series {text(header, 'SeriesNumber') or '…' + text(header, 'SeriesInstanceUID')[-8:]}"
    theirs = text(header, "FrameOfReferenceUID")
    notes = series.notes
    if label.frame_of_reference and theirs and label.frame_of_reference != theirs:
        if not label.instances & set(instances.values()) and not _uids_of(series.frames) & label.series:
            raise InputError(
                f"{label.path} belongs to another frame of reference than {name}, and to none of its images: "
                "give the images that it was drawn on."
            )
        notes += (f"The frame of reference differs from that of {name}; the images it refers to are the same.",)
    is_part = options.missing == "largest-run"
    return Target(series.grid, name, 2, slices, theirs, is_part, notes, series.rounding_mm)


def _series_meant(label: ObjectEntry, images: Iterable[Frame]) -> str | None:
    """UID of the series that the label means among several; None if there is one only or nothing tells."""
    by_series: dict[str, list[Frame]] = defaultdict(list)
    for image in images:
        by_series[image.series].append(image)
    if len(by_series) < 2:
        return None
    by_name = [uid for uid, own in by_series.items() if _uids_of(own) & label.series]
    by_image = [
        uid for uid, own in by_series.items() if any(text(i.header, "SOPInstanceUID") in label.instances for i in own)
    ]
    by_space = [
        uid
        for uid, own in by_series.items()
        if label.frame_of_reference and text(own[0].header, "FrameOfReferenceUID") == label.frame_of_reference
    ]
    return next((meant[0] for meant in (by_name, by_image, by_space) if len(meant) == 1), None)


def _uids_of(images: Iterable[Frame | None]) -> set[str]:
    """The SeriesInstanceUIDs of images: one, unless slices that have one each were joined."""
    return {text(image.header, "SeriesInstanceUID") for image in images if image is not None}


def _beside(label: ObjectEntry, options: ReadOptions) -> tuple[tuple[Frame, ...], Path] | None:
    """Images of the label's series in its folder or below, else in the folders around; None if there are none."""
    home = archive_of(label.path) or label.path.parent
    files = [tag.path for tag in _tags_under(home) if _belongs(label, tag, options)]
    if files:
        return _images(files), home
    if home.is_dir():
        for folder in _folders(home.resolve().parent, _DEEPEST):
            files = [tag.path for tag in _tags_of(_first_of(folder)) if tag.series in label.series]
            if files:
                return look(folder).images, folder
    return None


@dataclass(frozen=True, slots=True)
class _Tag:
    """As much of a DICOM file as is needed to know whose it is."""

    path: Path
    series: str
    number: str
    instance: str
    frame_of_reference: str


def _belongs(label: ObjectEntry, tag: _Tag, options: ReadOptions) -> bool:
    if options.series is not None:
        return any(word in (tag.series, tag.number) for word in options.wanted_series)
    same_space = bool(label.frame_of_reference) and tag.frame_of_reference == label.frame_of_reference
    return tag.series in label.series or tag.instance in label.instances or same_space


def _images(files: Iterable[Path]) -> tuple[Frame, ...]:
    return tuple(image for file in files for image in look(file).images)


def _tags_under(home: Path) -> tuple[_Tag, ...]:
    """All images in a folder at any depth, or in an archive; remembered while no file changes."""
    if is_archive(home):
        return _tags_of(tuple((path, 0, 0) for path in members(home)))
    files = sorted(file for file in home.rglob("*") if not file.name.startswith(".") and is_regular(file))
    return _tags_of(tuple(_stamp(file) for file in files))


_Stamp = tuple[Path, int, int]
"""A file, its size, and when it was changed."""


def _stamp(file: Path) -> _Stamp:
    status = file.stat()
    return file, status.st_size, status.st_mtime_ns


@lru_cache(maxsize=4)
def _tags_of(stamps: tuple[_Stamp, ...]) -> tuple[_Tag, ...]:
    return tuple(tag for path, *_ in stamps for tag in _tag(path))


def _tag(path: Path) -> Iterator[_Tag]:
    """The tag of a file, if it is a DICOM image."""
    if not begins_as_dicom(first_bytes(path, HEAD_BYTES)):
        return
    try:
        with quietly(), opened(path) as file:
            header = dcmread(file, stop_before_pixels=True, force=True, specific_tags=[*_WANTED])
    except DAMAGE:
        return
    if not any(header.get(keyword) is None for keyword in ("Rows", "SeriesInstanceUID")):
        series, number, instance, frame = (text(header, keyword) for keyword in _WANTED[:4])
        if not is_label(Frame(path, header)):
            yield _Tag(path, series, number, instance, frame)


def _folders(root: Path, depth: int) -> Iterator[Path]:
    """The folders below one, those near first, hidden ones left out."""
    level = [root]
    for _ in range(depth):
        level = [Path(entry.path) for folder in level for entry in _entries(folder) if entry.is_dir()]
        yield from level


def _first_of(folder: Path) -> tuple[_Stamp, ...]:
    """The first file in a folder: a series has a folder of its own, or cannot be found from afar."""
    files = [Path(entry.path) for entry in _entries(folder) if entry.is_file()]
    return tuple(map(_stamp, files[:1]))


def _entries(folder: Path) -> list["os.DirEntry[str]"]:
    try:
        with os.scandir(folder) as entries:
            return sorted((e for e in entries if not e.name.startswith(".")), key=lambda entry: entry.name)
    except OSError:
        return []
