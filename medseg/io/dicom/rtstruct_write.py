"""A label map → a DICOM RT structure set: closed planar contours on the planes of the images.

The contours are those of `contours`, put on the plane of each image by its own position, so that tilted and uneven
series are as right as others. Points are decimal strings of at most 16 characters (10 decimals of a mm). Each label is
a structure, a region of several values too; an empty one is there without contours. The file is written with implicit
value representations, for the others give a contour 64 KB, which is a thousand points.
"""

import struct
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from pydicom.dataelem import RawDataElement
from pydicom.dataset import Dataset
from pydicom.filebase import DicomBytesIO
from pydicom.filewriter import write_dataset
from pydicom.tag import Tag
from pydicom.uid import ImplicitVRLittleEndian, RTStructureSetStorage
from scipy import ndimage

from medseg.core.labels import Labels
from medseg.core.volume import LabelMap, Meta
from medseg.io.codes import Meaning
from medseg.io.colors import colors_of, meanings_of
from medseg.io.dicom import derived
from medseg.io.dicom.contours import contours_of
from medseg.io.dicom.derived import Plane, Source, as_dicom_number
from medseg.io.dicom.find import quietly, text
from medseg.io.dicom.producer import Producer
from medseg.io.names import unique_names

__all__ = ["write_rtstruct"]

FORM = "an RTSTRUCT"

_DETACHED_STUDY = "1.2.840.10008.3.1.2.3.1"
"""The retired class that the standard still asks for where a structure set names a study."""

_CONTOURS = Tag("ContourSequence")
_LONGEST_TEXT = 1024
"""Characters of a short text of DICOM (ST), which a description is."""

_TARGETS = ("gtv", "ctv", "ptv", "itv")


def write_rtstruct(label_map: LabelMap, path: Path, source: Meta, producer: Producer) -> tuple[str, ...]:
    """Write a label map on the grid of a series to `path`; what could not be said is returned as sentences.

    Args:
        label_map: On the grid of the series.
        path: The file.
        source: The meta of the volume that the series was read to.
        producer: What made the label map.

    Raises:
        InputError: The map was not made from a DICOM series, or is not on its grid.
    """
    labels = derived.labels_of(label_map)
    images = derived.source_of(label_map, source, FORM)
    with quietly():
        dataset = _structure_set(images, producer, derived.content_digest(label_map, labels))
        _add_structures(dataset, label_map, labels, images)
        dataset.file_meta = derived.file_meta(dataset, ImplicitVRLittleEndian)
        dataset.save_as(path, enforce_file_format=True)
    return derived.about_gaps(label_map, images, "contour")


def _structure_set(images: Source, producer: Producer, content: bytes) -> Dataset:
    """All but the structures: whose, made by whom, and on which images."""
    dataset = derived.whose(images.header)
    dataset.SOPClassUID = RTStructureSetStorage
    derived.stamp(dataset, images, producer, "RTSTRUCT", content)
    dataset.OperatorsName = ""
    dataset.FrameOfReferenceUID = images.frame_of_reference
    dataset.PositionReferenceIndicator = text(images.header, "PositionReferenceIndicator")
    dataset.StructureSetLabel = "MEDSEG"
    dataset.StructureSetName = unique_names([producer.name])[producer.name]
    if producer.description:
        dataset.StructureSetDescription = unique_names([producer.description], _LONGEST_TEXT).popitem()[1]
    dataset.ApprovalStatus = "UNAPPROVED"
    study = Dataset()
    study.ReferencedSOPClassUID = _DETACHED_STUDY
    study.ReferencedSOPInstanceUID = dataset.StudyInstanceUID
    references = [derived.reference(frame) for frame in images.frames]
    study.RTReferencedSeriesSequence = derived.by_series(images.frames, references, "ContourImageSequence")
    frame_of_reference = Dataset()
    frame_of_reference.FrameOfReferenceUID = images.frame_of_reference
    frame_of_reference.RTReferencedStudySequence = [study]
    dataset.ReferencedFrameOfReferenceSequence = [frame_of_reference]
    return dataset


def _add_structures(dataset: Dataset, label_map: LabelMap, labels: Labels, images: Source) -> None:
    written, colors = unique_names(labels.names), colors_of(label_map, labels.names)
    boxes = ndimage.find_objects(label_map.array)
    structures, outlines, observations = [], [], []
    for number, (name, meaning) in enumerate(meanings_of(label_map, labels.names).items(), start=1):
        structure = Dataset()
        structure.ROINumber = number
        structure.ReferencedFrameOfReferenceUID = images.frame_of_reference
        structure.ROIName = written[name]
        structure.ROIGenerationAlgorithm = "AUTOMATIC"
        structures.append(structure)
        outline = Dataset()
        outline.ROIDisplayColor = list(colors[name])
        outline.ReferencedROINumber = number
        if contours := b"".join(_contours(label_map, labels, name, boxes, images)):
            outline[_CONTOURS] = RawDataElement(_CONTOURS, "SQ", len(contours), contours, 0, True, True)
        outlines.append(outline)
        observations.append(_observation(number, name, meaning))
    dataset.StructureSetROISequence = structures
    dataset.ROIContourSequence = outlines
    dataset.RTROIObservationsSequence = observations


def _observation(number: int, name: str, meaning: Meaning) -> Dataset:
    observation = Dataset()
    observation.ObservationNumber = number
    observation.ReferencedROINumber = number
    if meaning.is_known:
        code = Dataset()
        code.CodeValue = meaning.kind.value
        code.CodingSchemeDesignator = meaning.kind.scheme
        code.CodeMeaning = meaning.kind.meaning
        observation.RTROIIdentificationCodeSequence = [code]
    target = next((target for target in _TARGETS if name.casefold().startswith(target)), None)
    is_organ = meaning.category.meaning in ("Anatomical Structure", "Tissue")
    observation.RTROIInterpretedType = target.upper() if target else "ORGAN" if is_organ else ""
    observation.ROIInterpreter = ""
    return observation


def _contours(
    label_map: LabelMap, labels: Labels, name: str, boxes: list[tuple[slice, ...] | None], images: Source
) -> Iterator[bytes]:
    """The contours of a label or region, slice by slice in the order of the images, each as its bytes in the file."""
    box = _box([boxes[value - 1] for value in labels.values[name] if value <= len(boxes)])
    if box is None:
        return
    corner = np.array([box[0].start, box[1].start])
    number = 0
    for position, k in enumerate(images.slices):
        if not box[2].start <= k < box[2].stop:
            continue
        mask = labels.mask(label_map.array[box[0], box[1], k], name)
        if mask.any():
            plane, image = images.plane(position), _encoded(derived.reference(images.frames[position]))
            for contour in contours_of(mask):
                number += 1
                yield _contour(contour + corner, plane, image, number)


def _box(boxes: list[tuple[slice, ...] | None]) -> tuple[slice, ...] | None:
    """The box around several; None if there is none."""
    there = [box for box in boxes if box is not None]
    if not there:
        return None
    return tuple(slice(min(s.start for s in sides), max(s.stop for s in sides)) for sides in zip(*there, strict=True))


def _contour(contour: NDArray[np.float64], plane: Plane, image: bytes, number: int) -> bytes:
    """An item of the contour sequence: points (n, 2) in index coordinates go to LPS mm.

    It is encoded here: pydicom takes a thousand times longer for an organ's contours, number by number.
    """
    world = plane.origin + contour[:, :1] * plane.to_next_column + contour[:, 1:] * plane.to_next_row
    points = "\\".join(as_dicom_number(value) for value in world.ravel().tolist())
    return _item(
        _element("ContourImageSequence", _item(image))
        + _element("ContourGeometricType", b"CLOSED_PLANAR")
        + _element("NumberOfContourPoints", str(len(contour)).encode())
        + _element("ContourNumber", str(number).encode())
        + _element("ContourData", points.encode())
    )


def _encoded(dataset: Dataset) -> bytes:
    """A data set in implicit little endian."""
    buffer = DicomBytesIO()
    buffer.is_implicit_VR, buffer.is_little_endian = True, True
    write_dataset(buffer, dataset)
    return buffer.getvalue()


def _element(keyword: str, value: bytes) -> bytes:
    tag = Tag(keyword)
    value += b" " * (len(value) % 2)
    return struct.pack("<HHI", tag.group, tag.element, len(value)) + value


def _item(content: bytes) -> bytes:
    return struct.pack("<HHI", 0xFFFE, 0xE000, len(content)) + content
