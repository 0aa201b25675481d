"""What a catalogue of DICOM files says: plain values, so that who asks need not load a DICOM library.

UIDs are kept because series are chosen by them. A patient is a digest: enough to keep what belongs to one person
together, in memory; it is never written, since short numbers can be found again from their digests.
"""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

__all__ = ["Catalogue", "ObjectEntry", "SeriesEntry"]


@dataclass(frozen=True, slots=True)
class SeriesEntry:
    """One image series.

    Attributes:
        uid: SeriesInstanceUID, "" if the files have none; `--read series=UID` takes this series.
        number: SeriesNumber, "" if there is none; often not unique.
        modality: "CT", "MR", "PT" and so on.
        n_images: Number of 2-D images: files, or frames of multi-frame files.
        n_stacks: How many sets of parallel images of one size these are; localizers are not counted.
        frame_of_reference: FrameOfReferenceUID, "" if there is none.
        patient: Digest that is equal for one patient.
        study: StudyInstanceUID, "" if there is none.
        paths: The files, in the order of their names.
        problem: Why the series cannot be read as one volume, as `io.read` would say it; None if its headers are fine.
        members: SeriesInstanceUIDs of its images, where each names a series of its own and they were joined; else none.
        is_scout: Whether it serves to plan others (localizers, a survey in several planes) and is no volume.
        description: SeriesDescription: free text that is compared with names of channels, and never written.
    """

    uid: str
    number: str
    modality: str
    n_images: int
    n_stacks: int
    frame_of_reference: str
    patient: str
    study: str
    paths: tuple[Path, ...]
    problem: str | None
    members: frozenset[str] = frozenset()
    is_scout: bool = False
    description: str = field(default="", repr=False)


@dataclass(frozen=True, slots=True)
class ObjectEntry:
    """A segmentation or a structure set.

    Attributes:
        path: The file.
        kind: DICOM SEG or RTSTRUCT.
        series: SeriesInstanceUIDs of the images that it says it was drawn on; may be empty.
        frame_of_reference: FrameOfReferenceUID of the space that it lies in, "" if it says none.
        names: Names of its segments or structures, in its order.
        patient: Digest that is equal for one patient.
        instances: SOPInstanceUIDs of the images that it was drawn on; may be empty.
    """

    path: Path
    kind: Literal["seg", "rtstruct"]
    series: frozenset[str]
    frame_of_reference: str
    names: tuple[str, ...]
    patient: str
    instances: frozenset[str]


@dataclass(frozen=True, slots=True)
class Catalogue:
    """Image series and labels under a path, and notes on what else lay there."""

    series: tuple[SeriesEntry, ...]
    objects: tuple[ObjectEntry, ...]
    notes: tuple[str, ...]
