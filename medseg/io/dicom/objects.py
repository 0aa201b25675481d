"""What DICOM objects that are no images say of themselves: which label they are, and which images they belong to.

Every way in which a SEG or RTSTRUCT names its images is kept (series, instances, frame of reference), for any of them
may be stale. Nothing is matched here, and no voxel or contour is read.
"""

import hashlib
from collections.abc import Iterator
from typing import Literal

from pydicom.dataset import Dataset

from medseg.io.dicom.entries import ObjectEntry
from medseg.io.dicom.find import DAMAGE, LABEL_CLASSES, Frame, quietly, text

__all__ = ["is_label", "items", "object_entry", "patient_of"]

_DIGEST_CHARACTERS = 16


def is_label(file: Frame) -> bool:
    """Whether a file is a segmentation or a structure set, by its storage class."""
    return file.class_name in LABEL_CLASSES


def object_entry(file: Frame) -> ObjectEntry:
    """What a segmentation or a structure set refers to, and the names in it."""
    header = file.header
    kind: Literal["seg", "rtstruct"] = "rtstruct" if file.class_name == "RT Structure Set" else "seg"
    referenced = _referenced_series(header, kind)
    frame = text(header, "FrameOfReferenceUID") if kind == "seg" else ""
    names = ("SegmentSequence", "SegmentLabel") if kind == "seg" else ("StructureSetROISequence", "ROIName")
    return ObjectEntry(
        path=file.path,
        kind=kind,
        series=frozenset(uid for uid, _ in referenced if uid),
        frame_of_reference=frame or _first_frame_of_reference(header),
        names=tuple(text(item, names[1]) for item in items(header, names[0])),
        patient=patient_of(header),
        instances=frozenset(uid for _, uids in referenced for uid in uids if uid),
    )


def items(header: Dataset, keyword: str) -> Iterator[Dataset]:
    """The items of a sequence; none where it is absent or damaged."""
    try:
        with quietly():
            yield from list(header.get(keyword) or ())
    except DAMAGE:
        return


def patient_of(header: Dataset) -> str:
    """A digest of who this is: number and issuer, else the name, else the study (then a patient of its own)."""
    number = [text(header, key).strip() for key in ("PatientID", "IssuerOfPatientID")]
    known = number if number[0] else [text(header, "PatientName").strip()]
    known = known if any(known) else ["study", text(header, "StudyInstanceUID")]
    return hashlib.sha256("\n".join(known).encode()).hexdigest()[:_DIGEST_CHARACTERS]


def _referenced_series(header: Dataset, kind: str) -> list[tuple[str, tuple[str, ...]]]:
    """(SeriesInstanceUID, SOPInstanceUIDs) of the images that a label refers to."""
    if kind == "seg":
        return [
            (text(item, "SeriesInstanceUID"), _instances(item, "ReferencedInstanceSequence"))
            for item in items(header, "ReferencedSeriesSequence")
        ]
    return [
        (text(series, "SeriesInstanceUID"), _instances(series, "ContourImageSequence"))
        for frame in items(header, "ReferencedFrameOfReferenceSequence")
        for study in items(frame, "RTReferencedStudySequence")
        for series in items(study, "RTReferencedSeriesSequence")
    ]


def _instances(item: Dataset, keyword: str) -> tuple[str, ...]:
    return tuple(text(image, "ReferencedSOPInstanceUID") for image in items(item, keyword))


def _first_frame_of_reference(header: Dataset) -> str:
    frames = [text(item, "FrameOfReferenceUID") for item in items(header, "ReferencedFrameOfReferenceSequence")]
    frames += [text(i, "ReferencedFrameOfReferenceUID") for i in items(header, "StructureSetROISequence")]
    return next((frame for frame in frames if frame), text(header, "FrameOfReferenceUID"))
