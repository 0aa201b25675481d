"""DICOM labels on small series, for tests: segmentations by highdicom, structure sets element by element."""

import highdicom as hd
import numpy as np
from pydicom import dcmread
from pydicom.dataset import Dataset
from pydicom.sr.codedict import codes
from pydicom.uid import RTStructureSetStorage, generate_uid

from tests.io.dicom_files import write_slice

__all__ = ["rotation_axes", "squares", "write_rtstruct", "write_seg"]


def rotation_axes(rotation):
    """Directions of a row and of a column, and the normal, of a 3×3 rotation."""
    return tuple(tuple(float(x) for x in rotation[:, n]) for n in range(3))


def squares(mask, at):
    """A square around each voxel of a plane (i, j) of a mask, as points (4, 3) in indices at slice `at`."""
    corners = np.array([(-0.5, -0.5), (0.5, -0.5), (0.5, 0.5), (-0.5, 0.5)])
    return [np.column_stack([corners + pixel, np.full(4, float(at))]) for pixel in np.argwhere(mask)]


def write_rtstruct(path, series, rois, *, frame=None, instances=None, change=lambda dataset: None):
    """An RTSTRUCT on the files of a series.

    `rois`: (name, contours) pairs, contours (n, 3) in LPS mm or (kind, points); `frame` and `instances` replace the
    UIDs that it refers to.
    """
    images = [dcmread(file, stop_before_pixels=True) for file in series]
    dataset = Dataset()
    dataset.SOPClassUID, dataset.SOPInstanceUID = RTStructureSetStorage, generate_uid()
    dataset.Modality = "RTSTRUCT"
    dataset.PatientName, dataset.PatientID = images[0].PatientName, images[0].PatientID
    dataset.StudyInstanceUID, dataset.SeriesInstanceUID = images[0].StudyInstanceUID, generate_uid()
    frame = images[0].FrameOfReferenceUID if frame is None else frame
    instances = [image.SOPInstanceUID for image in images] if instances is None else instances
    dataset.ReferencedFrameOfReferenceSequence = [
        _item(
            FrameOfReferenceUID=frame,
            RTReferencedStudySequence=[
                _item(
                    RTReferencedSeriesSequence=[
                        _item(
                            SeriesInstanceUID=images[0].SeriesInstanceUID if frame else "1.2.3",
                            ContourImageSequence=[_item(ReferencedSOPInstanceUID=uid) for uid in instances],
                        )
                    ]
                )
            ],
        )
    ]
    dataset.StructureSetROISequence = [
        _item(ROINumber=n, ROIName=name, ReferencedFrameOfReferenceUID=frame) for n, (name, _) in enumerate(rois, 1)
    ]
    dataset.ROIContourSequence = [
        _item(ReferencedROINumber=n, ContourSequence=[_contour(contour) for contour in contours])
        for n, (_, contours) in enumerate(rois, 1)
    ]
    change(dataset)
    write_slice(dataset, path)
    return path


def write_seg(path, series, masks, kind="BINARY", *, labels=None, change=lambda dataset: None, **more):
    """A segmentation by highdicom: `masks` (slices, rows, columns, segments), or a `highdicom.Volume` of one."""
    images = [dcmread(file) for file in series]
    for image in images:
        for keyword in ("PatientBirthDate", "PatientSex", "AccessionNumber", "StudyID", "StudyDate", "StudyTime"):
            setattr(image, keyword, "")
        image.ReferringPhysicianName = None
    n_segments = masks.shape[-1] if isinstance(masks, np.ndarray) else 1
    names = labels or [f"structure {n}" for n in range(1, n_segments + 1)]
    dataset = hd.seg.Segmentation(
        images,
        masks,
        kind,
        [_description(n, name) for n, name in enumerate(names, 1)],
        *(generate_uid(), 1, generate_uid(), 1, "Tests", "None", "0", "0"),
        **more,
    )
    change(dataset)
    dataset.save_as(path)
    return path


def _description(number, name):
    return hd.seg.SegmentDescription(
        number, name, codes.SCT.AnatomicalStructure, codes.SCT.Liver, hd.seg.SegmentAlgorithmTypeValues.MANUAL
    )


def _contour(contour):
    kind, points = contour if isinstance(contour[0], str) else ("CLOSED_PLANAR", contour)
    numbers = [f"{x:.10g}" for x in np.ravel(points)]
    return _item(ContourGeometricType=kind, NumberOfContourPoints=len(numbers) // 3, ContourData=numbers)


def _item(**elements):
    item = Dataset()
    for keyword, value in elements.items():
        setattr(item, keyword, value)
    return item
