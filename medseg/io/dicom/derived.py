"""What objects made from a series have in common: whose they are, which images they lie on, and who made them.

A segmentation and a structure set carry the patient and study of their images, refer to each of them, and name what
made them. Plain attributes are copied one by one from a list, so that a damaged or private element of the images stays
behind; absent ones of type 2 are there and empty. UIDs come from digests: the same model on the same images with the
same settings gives the same series, so that a repeat replaces and does not add. Positions are those of the images
themselves, in DICOM's LPS mm. This is the only place where a patient's name travels, from one DICOM file to another.
"""

import hashlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydicom.config import RAISE
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import UID, generate_uid
from pydicom.valuerep import validate_value

from medseg._version import __version__
from medseg.core.errors import InputError
from medseg.core.labels import Labels
from medseg.core.volume import LabelMap, Meta
from medseg.io.colors import colors_of, meanings_of
from medseg.io.dicom.find import Frame, numbers, quietly, text
from medseg.io.dicom.producer import Producer
from medseg.io.names import unique_names

__all__ = [
    "Plane",
    "Source",
    "about_gaps",
    "as_dicom_number",
    "by_series",
    "content_digest",
    "file_meta",
    "labels_of",
    "new_uid",
    "reference",
    "serial_number",
    "series_uid",
    "source_of",
    "stamp",
    "whose",
]

MANUFACTURER = "medseg"
_LPS_RAS = np.diag([-1.0, -1.0, 1.0])
_OFF_GRID_SHARE = 0.05
"""How far, in pixels or steps, a slice may lie from its place on the grid: as far as the series reader lets it."""

_SINGLE_FRAME_MR = "1.2.840.10008.5.1.4.1.1.4"
"""A Siemens mosaic is of this class: its tiles have an index here, but are no frames to DICOM."""

_PATIENT_AND_STUDY = (
    *("PatientName", "PatientID", "IssuerOfPatientID", "PatientBirthDate", "PatientBirthTime", "PatientSex"),
    *("PatientIdentityRemoved", "DeidentificationMethod", "PatientSpeciesDescription", "PatientBreedDescription"),
    *("StudyInstanceUID", "StudyDate", "StudyTime", "StudyID", "StudyDescription", "AccessionNumber"),
    *("ReferringPhysicianName", "PatientAge", "PatientSize", "PatientWeight"),
    *("ClinicalTrialSponsorName", "ClinicalTrialProtocolID", "ClinicalTrialProtocolName", "ClinicalTrialSiteID"),
    *("ClinicalTrialSiteName", "ClinicalTrialSubjectID", "ClinicalTrialSubjectReadingID"),
    *("ClinicalTrialTimePointID", "ClinicalTrialTimePointDescription"),
)
"""Plain attributes of the modules patient, clinical trial, general study and patient study."""

_TYPE_2 = (
    *("PatientName", "PatientID", "PatientBirthDate", "PatientSex", "StudyDate", "StudyTime", "StudyID"),
    *("AccessionNumber", "ReferringPhysicianName"),
)
"""Must be there, perhaps empty."""

_MAY_BE_EMPTY_THERE = (
    *("ClinicalTrialProtocolName", "ClinicalTrialSiteID", "ClinicalTrialSiteName", "ClinicalTrialTimePointID"),
)
_CHECKED = frozenset({"DA", "TM", "CS", "UI", "DS", "AS", "SH"})
"""Representations with a grammar: what breaks it is left out."""


@dataclass(frozen=True)
class Plane:
    """Where an image lies (LPS mm): the centre of its first pixel, and the steps to the next column and row."""

    origin: NDArray[np.float64]
    to_next_column: NDArray[np.float64]
    to_next_row: NDArray[np.float64]


@dataclass(frozen=True)
class Source:
    """The images of a series that a label map lies on.

    Attributes:
        frames: One for each slice that has an image, in the order of the slices.
        slices: The index k of each in the label map; slices that were interpolated have no image and are not here.
        header: Of the first image; the series is its.
        frame_of_reference: Its UID, made up from the series where the images have none.
        step_mm: Distance of neighbouring slices.
    """

    frames: tuple[Frame, ...]
    slices: tuple[int, ...]
    frame_of_reference: str
    step_mm: float

    @property
    def header(self) -> Dataset:
        return self.frames[0].header

    @property
    def series(self) -> str:
        return text(self.header, "SeriesInstanceUID")

    @property
    def number(self) -> int:
        found = numbers(self.header, "SeriesNumber")
        return int(found[0]) if found and 0 < found[0] < 10_000_000 else 1

    def plane(self, position: int) -> Plane:
        """Of the image at a position in `frames`."""
        header = self.frames[position].header
        axes = np.array(numbers(header, "ImageOrientationPatient", 6)).reshape(2, 3)
        between_rows, between_columns = numbers(header, "PixelSpacing", 2) or (1.0, 1.0)
        axes /= np.linalg.norm(axes, axis=1, keepdims=True)
        origin = np.array(numbers(header, "ImagePositionPatient", 3))
        return Plane(origin, axes[0] * between_columns, axes[1] * between_rows)


def source_of(label_map: LabelMap, meta: Meta, form: str) -> Source:
    """The images below a label map.

    Args:
        label_map: On the grid of the series.
        meta: Of the volume that was read from the series.
        form: What is to be written, for the sentences.

    Raises:
        InputError: It was no DICOM series, its slices are no images any more, it lies elsewhere, or its images do not
            say what they are.
    """
    frames: Sequence[Frame | None] = meta.header.get("frames", ())
    if meta.kind != "dicom" or len(frames) == 0:
        raise InputError(
            f"There are no images to refer to: {form} lies on a DICOM series, and this comes from {meta.kind}. "
            "Write NIfTI (-f nifti) instead."
        )
    kept = [(k, frame) for k, frame in enumerate(frames) if frame is not None]
    if not kept:
        raise InputError(f"All slices were interpolated, and {form} refers to images of a series; write NIfTI.")
    slices, images = zip(*kept, strict=True)
    for keyword in ("SOPClassUID", "SOPInstanceUID", "SeriesInstanceUID", "StudyInstanceUID"):
        lacking = next((image for image in images if not text(image.header, keyword)), None)
        if lacking is not None:
            raise InputError(f"{lacking.path} has no {keyword}, so {form} cannot refer to it; write NIfTI.")
    header = images[0].header
    frame_of_reference = text(header, "FrameOfReferenceUID") or new_uid("frame", text(header, "SeriesInstanceUID"))
    source = Source(images, slices, frame_of_reference, label_map.geometry.spacing_mm[2])
    _check_place(source, label_map, len(frames), form, meta.header.get("rounding_mm", 0.0))
    return source


def labels_of(label_map: LabelMap) -> Labels:
    """The labels of a map: its own, else one a value.

    Raises:
        InputError: It has neither names nor voxels, or holds a value that no label declares.
    """
    counts = _counts(label_map.array)
    labels = label_map.labels or Labels.from_values(counts)
    if not labels.names:
        raise InputError("The label map is empty and has no names of labels; nothing can be said about it in DICOM.")
    unknown = next((value for value in counts if value not in (*labels.classes, labels.ignore)), None)
    if unknown is not None:
        raise InputError(f"The label map holds the value {unknown} in {counts[unknown]} voxels; no label declares it.")
    return labels


def _counts(array: NDArray[Any]) -> dict[int, int]:
    """How many voxels hold each value; slice by slice, for sorting a whole volume takes seconds."""
    counts = np.zeros(int(array.max(initial=0)) + 1, np.int64)
    for k in range(array.shape[2]):
        counts += np.bincount(array[..., k].ravel("K"), minlength=len(counts))
    return {int(value): int(counts[value]) for value in np.flatnonzero(counts)}


def whose(header: Dataset) -> Dataset:
    """Patient and study of an image, plain attributes only; those that must be there are there, perhaps empty."""
    copied = Dataset()
    for keyword in _PATIENT_AND_STUDY:
        value = _valid(header, keyword)
        if value or keyword in _TYPE_2 or (keyword in _MAY_BE_EMPTY_THERE and keyword in header):
            setattr(copied, keyword, value)
    if "PatientIdentityRemoved" in copied and "DeidentificationMethod" not in copied:
        # One of two must say how; a claim that cannot be copied whole is not made.
        if "DeidentificationMethodCodeSequence" in header:
            copied.DeidentificationMethodCodeSequence = header.DeidentificationMethodCodeSequence
        else:
            del copied.PatientIdentityRemoved
    return copied


def about_gaps(label_map: LabelMap, source: Source, what: str) -> tuple[str, ...]:
    """A sentence where slices of the label map have no image, and so no frame or contour."""
    n_slices = label_map.geometry.shape[2]
    n_without = n_slices - len(source.slices)
    sentence = f"{n_without} of {n_slices} slices have no image (they were interpolated) and so no {what} in the file."
    return (sentence,) if n_without else ()


def stamp(dataset: Dataset, source: Source, producer: Producer, modality: str, content: bytes) -> None:
    """Series, equipment and instance: which, made by whom, when.

    Args:
        dataset: Receives the attributes.
        source: The images.
        producer: What made it.
        modality: "SEG" or "RTSTRUCT".
        content: A digest of what the object says: another content is another instance of the series.
    """
    series = series_uid(source, producer, modality)
    dataset.SpecificCharacterSet = "ISO_IR 192"
    dataset.SeriesInstanceUID = series
    dataset.SOPInstanceUID = new_uid("instance", series, content.hex())
    dataset.Modality = modality
    dataset.SeriesNumber = source.number * 100 + {"SEG": 1, "RTSTRUCT": 2}[modality]
    dataset.SeriesDescription = _shortened(f"medseg {producer.name}")
    dataset.InstanceNumber = 1
    dataset.Manufacturer = MANUFACTURER
    dataset.ManufacturerModelName = _shortened(producer.name)
    dataset.DeviceSerialNumber = serial_number(producer)
    dataset.SoftwareVersions = __version__
    date, time = f"{producer.moment:%Y%m%d}", f"{producer.moment:%H%M%S}"
    for what in ("InstanceCreation", "Series", "Content" if modality == "SEG" else "StructureSet"):
        setattr(dataset, f"{what}Date", date)
        setattr(dataset, f"{what}Time", time)


def series_uid(source: Source, producer: Producer, modality: str) -> str:
    """The series of all that one model with one setting says about one series."""
    return new_uid("series", modality, source.series, producer.name, producer.digest)


def serial_number(producer: Producer) -> str:
    """The serial number of a program: what tells one model from another."""
    return producer.digest.removeprefix("sha256:")[:16] or "0"


def content_digest(label_map: LabelMap, labels: Labels) -> bytes:
    """Of everything that an object says: voxels, names, codes and colours."""
    found = hashlib.sha256(repr([*labels.values.items()]).encode())
    found.update(repr([meanings_of(label_map, labels.names), colors_of(label_map, labels.names)]).encode())
    found.update(np.ascontiguousarray(label_map.array.T).tobytes())
    return found.digest()


def file_meta(dataset: Dataset, transfer_syntax: str) -> FileMetaDataset:
    """The head of a file, which names the program that wrote it."""
    meta = FileMetaDataset()
    meta.MediaStorageSOPClassUID = UID(dataset.SOPClassUID)
    meta.MediaStorageSOPInstanceUID = UID(dataset.SOPInstanceUID)
    meta.TransferSyntaxUID = UID(transfer_syntax)
    meta.ImplementationClassUID = UID(new_uid("implementation"))
    meta.ImplementationVersionName = f"MEDSEG {__version__}"[:16]
    return meta


def reference(frame: Frame) -> Dataset:
    """What names an image: class, instance and, inside a multi-frame object, its number (from 1)."""
    item = Dataset()
    item.ReferencedSOPClassUID = text(frame.header, "SOPClassUID")
    item.ReferencedSOPInstanceUID = text(frame.header, "SOPInstanceUID")
    if frame.index is not None and item.ReferencedSOPClassUID != _SINGLE_FRAME_MR:
        item.ReferencedFrameNumber = frame.index + 1
    return item


def by_series(images: Iterable[Frame], references: Iterable[Dataset], keyword: str) -> list[Dataset]:
    """References to images, an item for each series that the images name: one, but where slices have a series each."""
    groups: dict[str, list[Dataset]] = {}
    for image, item in zip(images, references, strict=True):
        groups.setdefault(text(image.header, "SeriesInstanceUID"), []).append(Dataset(item))
    series = []
    for uid, each in groups.items():
        series.append(Dataset())
        series[-1].SeriesInstanceUID = uid
        setattr(series[-1], keyword, each)
    return series


def new_uid(*words: str) -> str:
    """A UID that is a digest of words."""
    return str(generate_uid(entropy_srcs=["medseg", *words]))


def as_dicom_number(value: float, decimals: int = 10) -> str:
    """A number as a decimal string of at most 16 characters.

    >>> as_dicom_number(-7.2), as_dicom_number(-1234.123456789012), as_dicom_number(-123456789.123456789)
    ('-7.2', '-1234.123456789', '-123456789.12346')
    """
    whole = len(str(int(abs(value))))
    return f"{round(value, max(0, min(decimals, 14 - whole))) + 0.0!r}".removesuffix(".0")[:16]


def _valid(header: Dataset, keyword: str) -> str:
    """The text of an element, "" if it breaks the grammar of its representation."""
    value = text(header, keyword)
    try:
        vr = header[keyword].VR if keyword in header else "LO"
        if vr in _CHECKED:
            with quietly():
                validate_value(vr, value, RAISE)
    except (ValueError, TypeError, KeyError):
        return ""
    return value


def _shortened(words: str) -> str:
    return unique_names([words])[words]


def _check_place(source: Source, label_map: LabelMap, n_slices: int, form: str, rounding_mm: float) -> None:
    """Refuse a label map that is not on the grid of the images, whose positions may be rounded."""
    grid = label_map.geometry
    size = tuple(int((numbers(source.header, key) or (0,))[0]) for key in ("Columns", "Rows"))
    if grid.shape != (*size, n_slices):
        raise InputError(
            f"The label map has the grid {grid.shape}, but {form} needs that of its images, {(*size, n_slices)}."
        )
    smallest = min(grid.spacing_mm)
    for position, k in ((0, source.slices[0]), (len(source.slices) - 1, source.slices[-1])):
        plane = source.plane(position)
        far = np.array([grid.shape[0] - 1.0, grid.shape[1] - 1.0])
        corner = plane.origin + plane.to_next_column * far[0] + plane.to_next_row * far[1]
        ours = grid.to_world([[0, 0, k], [far[0], far[1], k]]) @ _LPS_RAS
        apart = float(np.linalg.norm(ours - np.array([plane.origin, corner]), axis=1).max())
        if apart > max(0.01, _OFF_GRID_SHARE * smallest * 2) + rounding_mm:
            raise InputError(f"The label map lies {apart:.3g} mm off the images that {form} is to lie on.")
