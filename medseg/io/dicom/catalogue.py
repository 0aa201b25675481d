"""Which image series, segmentations and structure sets lie under a path: by their headers, no pixels are read.

A series is judged as reading it would judge it (but for its pixels), so a catalogue says beforehand what can be read
and why the rest cannot. Nothing here matches labels to images; it says what they refer to.
"""

import hashlib
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Literal

from pydicom.dataset import Dataset

from medseg.core.errors import InputError
from medseg.io.dicom.entries import Catalogue, ObjectEntry, SeriesEntry
from medseg.io.dicom.find import DAMAGE, Frame, look, quietly, text
from medseg.io.dicom.group import stacks_of
from medseg.io.dicom.series import placed
from medseg.io.options import ReadOptions

__all__ = ["catalogue"]

_KINDS: dict[str, Literal["seg", "rtstruct"]] = {
    "Segmentation": "seg",
    "Label Map Segmentation": "seg",
    "RT Structure Set": "rtstruct",
}
"""Name of a storage class → kind of label."""

_DIGEST_CHARACTERS = 16


def catalogue(path: Path, options: ReadOptions) -> Catalogue:
    """All DICOM series and labels in a file, a folder at any depth, or a zip archive; there may be none."""
    found = look(path)
    by_series: dict[tuple[str, str], list[Frame]] = defaultdict(list)
    for image in found.images:
        uid = text(image.header, "SeriesInstanceUID")
        by_series[uid or str(image.path.parent), _patient(image.header)].append(image)
    series = tuple(_series(images, path, options) for images in by_series.values())
    objects = tuple(_object(other) for other in found.objects if other.class_name in _KINDS)
    return Catalogue(series, objects, found.notes)


def _series(images: Sequence[Frame], path: Path, options: ReadOptions) -> SeriesEntry:
    header = images[0].header
    problem = None
    try:
        placed(images, path, replace(options, series=None, modality=None))
    except InputError as error:
        problem = str(error)
    return SeriesEntry(
        uid=text(header, "SeriesInstanceUID"),
        number=text(header, "SeriesNumber"),
        modality=text(header, "Modality"),
        n_images=len(images),
        n_stacks=len(stacks_of(images)),
        frame_of_reference=text(header, "FrameOfReferenceUID"),
        patient=_patient(header),
        study=text(header, "StudyInstanceUID"),
        paths=tuple(dict.fromkeys(image.path for image in images)),
        problem=problem,
    )


def _object(other: Frame) -> ObjectEntry:
    header, kind = other.header, _KINDS[other.class_name]
    referenced = _referenced_series(header, kind)
    frame = text(header, "FrameOfReferenceUID") if kind == "seg" else ""
    names = ("SegmentSequence", "SegmentLabel") if kind == "seg" else ("StructureSetROISequence", "ROIName")
    return ObjectEntry(
        path=other.path,
        kind=kind,
        series=frozenset(uid for uid, _ in referenced if uid),
        frame_of_reference=frame or _first_frame_of_reference(header),
        names=tuple(text(item, names[1]) for item in _items(header, names[0])),
        patient=_patient(header),
        instances=frozenset(uid for _, uids in referenced for uid in uids if uid),
    )


def _referenced_series(header: Dataset, kind: str) -> list[tuple[str, tuple[str, ...]]]:
    """(SeriesInstanceUID, SOPInstanceUIDs) of the images that a label refers to."""
    if kind == "seg":
        return [
            (text(item, "SeriesInstanceUID"), _instances(item, "ReferencedInstanceSequence"))
            for item in _items(header, "ReferencedSeriesSequence")
        ]
    return [
        (text(series, "SeriesInstanceUID"), _instances(series, "ContourImageSequence"))
        for frame in _items(header, "ReferencedFrameOfReferenceSequence")
        for study in _items(frame, "RTReferencedStudySequence")
        for series in _items(study, "RTReferencedSeriesSequence")
    ]


def _instances(item: Dataset, keyword: str) -> tuple[str, ...]:
    return tuple(text(image, "ReferencedSOPInstanceUID") for image in _items(item, keyword))


def _first_frame_of_reference(header: Dataset) -> str:
    frames = [text(item, "FrameOfReferenceUID") for item in _items(header, "ReferencedFrameOfReferenceSequence")]
    frames += [text(i, "ReferencedFrameOfReferenceUID") for i in _items(header, "StructureSetROISequence")]
    return next((frame for frame in frames if frame), text(header, "FrameOfReferenceUID"))


def _items(header: Dataset, keyword: str) -> Iterator[Dataset]:
    """The items of a sequence; none where it is absent or damaged."""
    with quietly():
        try:
            yield from list(header.get(keyword) or ())
        except DAMAGE:
            return


def _patient(header: Dataset) -> str:
    """A digest of who this is: number and issuer, else the name, else the study (then a patient of its own)."""
    number = [text(header, key).strip() for key in ("PatientID", "IssuerOfPatientID")]
    known = number if number[0] else [text(header, "PatientName").strip()]
    known = known if any(known) else ["study", text(header, "StudyInstanceUID")]
    return hashlib.sha256("\n".join(known).encode()).hexdigest()[:_DIGEST_CHARACTERS]
