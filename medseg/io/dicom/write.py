"""Label maps → DICOM files that were read back: what lies under the final name says what was to be said.

A derived object is written beside its name, read by the readers of this package, compared voxel by voxel and structure
by structure, and only then renamed.
"""

from pathlib import Path

import numpy as np
from pydicom import dcmread
from pydicom.uid import RTStructureSetStorage

from medseg.core.errors import InputError, MachineError
from medseg.core.geometry import Geometry
from medseg.core.labels import Labels
from medseg.core.volume import LabelMap, Meta
from medseg.io.compare import difference
from medseg.io.dicom import derived
from medseg.io.dicom.find import Frame
from medseg.io.dicom.onto import Target
from medseg.io.dicom.producer import DicomForm, Producer, SegType
from medseg.io.files import replacing
from medseg.io.names import unique_names
from medseg.io.options import ReadOptions

__all__ = ["check_dicom", "write_dicom"]


def write_dicom(
    label_map: LabelMap,
    path: Path | str,
    form: DicomForm,
    *,
    source: Meta,
    producer: Producer,
    seg_type: SegType = "binary",
) -> tuple[str, ...]:
    """What `medseg.io.write_dicom` does; arguments, result and errors are described there."""
    path = Path(path)
    with replacing(path) as partial:
        if form == "dicom-seg":
            from medseg.io.dicom.seg_write import write_seg

            notes = write_seg(label_map, partial, source, producer, seg_type)
        else:
            from medseg.io.dicom.rtstruct_write import write_rtstruct

            notes = write_rtstruct(label_map, partial, source, producer)
        problem = _difference(label_map, partial, source)
        if problem is not None:
            raise MachineError(
                f"{path} did not read back as it was written ({problem}), so it was not kept. Check the disk; if it "
                "happens again, please report it with the kind of the series."
            )
    return notes


def check_dicom(geometry: Geometry, labels: Labels | None, form: DicomForm, source: Meta, seg_type: SegType) -> None:
    """Refuse, before there is a label map, what could not be written.

    Raises:
        InputError: The grid is not that of a DICOM series, or labels overlap where they must not.
    """
    if labels is not None and form == "dicom-seg":
        from medseg.io.dicom.seg_write import refuse_overlap

        refuse_overlap(labels, seg_type)
    nothing = LabelMap(np.broadcast_to(np.uint8(0), geometry.shape), geometry)
    derived.source_of(nothing, source, {"dicom-seg": "a DICOM SEG", "rtstruct": "an RTSTRUCT"}[form])


def _difference(label_map: LabelMap, path: Path, source: Meta) -> str | None:
    """What a file says otherwise than the label map, on the slices that have an image; None if nothing."""
    try:
        back = _read(path, Target(label_map.geometry, "the image", rounding_mm=source.header.get("rounding_mm", 0.0)))
    except InputError as error:
        return str(error).rstrip(".")
    labels = derived.labels_of(label_map)
    slices = [k for k, frame in enumerate(source.header["frames"]) if frame is not None]
    return difference(label_map.array, labels, back.array, back.labels, unique_names(labels.names), slices)


def _read(path: Path, target: Target) -> LabelMap:
    """The label map in a file that has no final name yet: hidden files are none to the door."""
    from medseg.io.dicom.rtstruct import read_rtstruct
    from medseg.io.dicom.seg import read_seg

    with path.open("rb") as file:
        header = dcmread(file, stop_before_pixels=True)
        frame = Frame(path, header, pixels_at=file.tell())
    read = read_rtstruct if header.SOPClassUID == RTStructureSetStorage else read_seg
    return read(frame, target, ReadOptions())
