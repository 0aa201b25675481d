"""A label map → a DICOM segmentation, by highdicom: BINARY (read by everybody) or LABELMAP (small, and young).

Each label is a segment with name, code, colour and algorithm; a region of several values is a segment of its own, and
BINARY segments may overlap. An empty label keeps its segment: an empty answer is an answer. highdicom is given one
plain header a slice, in the order of the slices, whatever files the images lie in; where several images share a file,
the references are then put right. Nothing is interpolated: a slice without an image has no frame.
"""

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydicom.dataset import Dataset
from pydicom.pixels.utils import compress
from pydicom.uid import CTImageStorage, ExplicitVRLittleEndian, MRImageStorage, RLELossless

from medseg._version import __version__
from medseg.core.errors import InputError
from medseg.core.labels import Labels
from medseg.core.volume import LabelMap, Meta
from medseg.io.codes import Code, Meaning
from medseg.io.colors import colors_of, meanings_of
from medseg.io.dicom import derived
from medseg.io.dicom.derived import Source, new_uid
from medseg.io.dicom.find import decimal_text, numbers, quietly, text
from medseg.io.dicom.producer import Producer, SegType
from medseg.io.names import unique_names

__all__ = ["overlapping", "refuse_overlap", "write_seg"]

FORM = "a DICOM SEG"


def write_seg(
    label_map: LabelMap, path: Path, source: Meta, producer: Producer, seg_type: SegType = "binary"
) -> tuple[str, ...]:
    """Write a label map on the grid of a series to `path`; what could not be said is returned as sentences.

    Args:
        label_map: On the grid of the series.
        path: The file.
        source: The meta of the volume that the series was read to.
        producer: What made the label map.
        seg_type: BINARY segments may overlap, LABELMAP ones may not.

    Raises:
        InputError: The map was not made from a DICOM series, is not on its grid, or overlaps where it must not.
    """
    labels = derived.labels_of(label_map)
    images = derived.source_of(label_map, source, FORM)
    refuse_overlap(labels, seg_type)
    with quietly(), _hushed():
        dataset = _segmentation(label_map, labels, images, producer, seg_type)
        dataset.save_as(path, enforce_file_format=True)
    return derived.about_gaps(label_map, images, "frame")


@contextmanager
def _hushed() -> Iterator[None]:
    """What highdicom logs (an empty result, an odd name of a patient) is known here, or must not be told."""
    log = logging.getLogger("highdicom")
    before = log.level
    log.setLevel(logging.CRITICAL)
    try:
        yield
    finally:
        log.setLevel(before)


def refuse_overlap(labels: Labels, seg_type: SegType) -> None:
    """Refuse what a SEG of a type cannot say.

    Raises:
        InputError: Labels overlap, and the type is that of one segment a voxel.
    """
    pair = overlapping(labels)
    if pair is not None and seg_type == "labelmap":
        raise InputError(
            f"{pair[0]} and {pair[1]} overlap, and a label map SEG holds one segment a voxel; write a binary SEG."
        )


def overlapping(labels: Labels) -> tuple[str, str] | None:
    """Two names that have a value in common; None if no two have."""
    holders: dict[int, str] = {}
    for name, values in labels.values.items():
        for value in values:
            if value in holders:
                return holders[value], name
            holders[value] = name
    return None


def _segmentation(label_map: LabelMap, labels: Labels, images: Source, producer: Producer, seg_type: SegType) -> Any:  # noqa: ANN401  highdicom's
    import highdicom as hd

    content = derived.content_digest(label_map, labels)
    dataset = hd.seg.Segmentation(
        source_images=_headers(images),
        pixel_array=_planes(label_map, labels, images),
        segmentation_type=seg_type.upper(),
        segment_descriptions=_segments(label_map, labels, images, producer),
        series_instance_uid=derived.series_uid(images, producer, "SEG"),
        series_number=1,
        sop_instance_uid=new_uid("instance"),
        instance_number=1,
        manufacturer=derived.MANUFACTURER,
        manufacturer_model_name=unique_names([producer.name])[producer.name],
        software_versions=__version__,
        device_serial_number=derived.serial_number(producer),
        content_label="MEDSEG",
        content_description=None,
        transfer_syntax_uid=ExplicitVRLittleEndian,
        specific_character_set="ISO_IR 192",
        contributing_equipment=[_equipment(producer)],
    )
    derived.stamp(dataset, images, producer, "SEG", content + seg_type.encode())
    dataset.ContentDescription = unique_names([producer.description or f"Segmentation by {producer.name}"]).popitem()[1]
    dataset.ContentCreatorName = ""
    dataset.file_meta = derived.file_meta(dataset, dataset.file_meta.TransferSyntaxUID)
    _put_references_right(dataset, images)
    if seg_type == "labelmap":
        # Not left to highdicom, which takes GDCM for it where that is there: its encoder ends the process where the
        # number of pixels is odd.
        compress(dataset, RLELossless, encoding_plugin="pylibjpeg", generate_instance_uid=False)
    return dataset


def _planes(label_map: LabelMap, labels: Labels, images: Source) -> NDArray[np.generic]:
    """Segment numbers (slices, rows, columns); where segments overlap, a mask of each along a fourth axis."""
    planes = label_map.array.T[list(images.slices)]
    if overlapping(labels) is not None:
        return np.stack([labels.mask(planes, name) for name in labels.names], axis=-1).astype(np.uint8)
    largest = max(int(planes.max()), labels.classes[-1])
    table = np.zeros(largest + 1, np.uint8 if len(labels.names) <= 255 else np.uint16)
    for number, values in enumerate(labels.values.values(), start=1):
        table[list(values)] = number
    numbered: NDArray[np.generic] = table[planes]
    return numbered


def _headers(images: Source) -> list[Dataset]:
    """What highdicom needs of each image: whose it is, where it lies, and a UID that is one slice's alone."""
    whose = derived.whose(images.header)
    (rows,), (columns,) = (numbers(images.header, key) or (0.0,) for key in ("Rows", "Columns"))
    headers = []
    for position, frame in enumerate(images.frames):
        header = Dataset()
        header.update(whose)
        # Classes that could hold several frames mean other headers to highdicom than those given here.
        header.SOPClassUID = CTImageStorage if text(frame.header, "Modality") == "CT" else MRImageStorage
        header.SOPInstanceUID = new_uid("stands for", str(position))
        header.SeriesInstanceUID = images.series
        header.FrameOfReferenceUID = images.frame_of_reference
        header.PositionReferenceIndicator = text(frame.header, "PositionReferenceIndicator")
        header.Modality = text(frame.header, "Modality")
        header.Rows, header.Columns = int(rows), int(columns)
        header.PixelSpacing = decimal_text(images.header, "PixelSpacing")
        # One orientation for all: it is the series', within the reader's tolerance.
        header.ImageOrientationPatient = decimal_text(images.header, "ImageOrientationPatient")
        header.ImagePositionPatient = decimal_text(frame.header, "ImagePositionPatient")
        header.SliceThickness = derived.as_dicom_number(images.step_mm)
        header.LossyImageCompression = "01" if text(frame.header, "LossyImageCompression") == "01" else "00"
        for keyword in ("LossyImageCompressionRatio", "LossyImageCompressionMethod"):
            if header.LossyImageCompression == "01" and text(frame.header, keyword):
                setattr(header, keyword, text(frame.header, keyword))
        headers.append(header)
    return headers


def _segments(label_map: LabelMap, labels: Labels, images: Source, producer: Producer) -> list[Any]:
    import highdicom as hd

    algorithm = hd.AlgorithmIdentificationSequence(
        name=unique_names([producer.name])[producer.name],
        version=__version__,
        family=hd.sr.CodedConcept("123110", "DCM", "Artificial Intelligence"),
    )
    colors, written = colors_of(label_map, labels.names), unique_names(labels.names)
    described = []
    for number, (name, meaning) in enumerate(meanings_of(label_map, labels.names).items(), start=1):
        description = hd.seg.SegmentDescription(
            segment_number=number,
            segment_label=written[name],
            segmented_property_category=_concept(meaning.category),
            segmented_property_type=_concept(meaning.kind),
            algorithm_type="AUTOMATIC",
            algorithm_identification=algorithm,
            tracking_uid=new_uid("track", derived.series_uid(images, producer, "SEG"), name),
            tracking_id=written[name],
            display_color=hd.color.CIELabColor.from_rgb(*colors[name]),
        )
        _add_side(description, meaning)
        described.append(description)
    return described


def _concept(code: Code) -> Any:  # noqa: ANN401  highdicom's
    import highdicom as hd

    return hd.sr.CodedConcept(code.value, code.scheme, code.meaning)


def _add_side(description: Dataset, meaning: Meaning) -> None:
    if meaning.side is not None:
        description.SegmentedPropertyTypeCodeSequence[0].SegmentedPropertyTypeModifierCodeSequence = [
            _concept(meaning.side)
        ]


def _equipment(producer: Producer) -> Any:  # noqa: ANN401  highdicom's
    import highdicom as hd

    return hd.ContributingEquipment(
        manufacturer=derived.MANUFACTURER,
        purpose_of_reference=hd.sr.CodedConcept("109102", "DCM", "Processing Equipment"),
        manufacturer_model_name=unique_names([producer.name])[producer.name],
        software_versions=__version__,
        device_serial_number=derived.serial_number(producer),
        contribution_datetime=producer.moment,
        contribution_description="Segmentation by a neural network",
    )


def _put_references_right(dataset: Dataset, images: Source) -> None:
    """Name the true images: highdicom was given a stand-in for each."""
    true = {new_uid("stands for", str(position)): frame for position, frame in enumerate(images.frames)}
    for group in dataset.PerFrameFunctionalGroupsSequence:
        for derivation in group.DerivationImageSequence:
            for item in derivation.SourceImageSequence:
                # Segments of one slice share an item.
                if (frame := true.get(item.ReferencedSOPInstanceUID)) is not None:
                    item.update(derived.reference(frame))
    instances = {text(frame.header, "SOPInstanceUID"): frame for frame in images.frames}
    references = [derived.reference(frame) for frame in instances.values()]
    for item in references:
        # All frames of an object count here, not the first that was met.
        item.pop("ReferencedFrameNumber", None)
    dataset.SourceImageSequence = references
    dataset.ReferencedSeriesSequence = derived.by_series(instances.values(), references, "ReferencedInstanceSequence")
