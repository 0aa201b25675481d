"""Small DICOM series, as a scanner writes them, for tests that bend one thing at a time."""

import numpy as np
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import CTImageStorage, ExplicitVRLittleEndian, generate_uid

__all__ = ["AXES", "write_series", "write_slice"]

AXES = ((1.0, 0.0, 0.0), (0.0, 1.0, 0.0))
"""Directions (LPS) along a row and along a column: axial."""


def write_series(
    folder,
    stored,
    *,
    axes=AXES,
    spacing=(0.8, 0.6),
    step=(0.0, 0.0, 2.5),
    origin=(-10.0, 20.0, 30.0),
    change=lambda k, slice_: None,
    reverse=False,
    **attributes,
):
    """One file a slice for `stored` (slices, rows, columns); `change(k, dataset)` bends slice k. Returns the paths."""
    folder.mkdir(parents=True, exist_ok=True)
    series, frame, study = (generate_uid(entropy_srcs=[str(folder), word]) for word in ("series", "frame", "study"))
    paths = []
    for k, pixels in enumerate(stored):
        # Neither the name nor the instance number follows the position.
        number = len(stored) - k if reverse else k + 1
        path = folder / f"{number:03d}.dcm"
        slice_ = _slice(pixels, np.add(origin, np.multiply(step, k)), axes, spacing)
        slice_.SeriesInstanceUID, slice_.FrameOfReferenceUID, slice_.StudyInstanceUID = series, frame, study
        slice_.SOPInstanceUID = generate_uid(entropy_srcs=[str(path)])
        slice_.InstanceNumber = number
        for name, value in attributes.items():
            setattr(slice_, name, value)
        change(k, slice_)
        write_slice(slice_, path)
        paths.append(path)
    return paths


def write_slice(slice_, path):
    slice_.file_meta = FileMetaDataset()
    slice_.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    slice_.file_meta.MediaStorageSOPClassUID = slice_.SOPClassUID
    slice_.file_meta.MediaStorageSOPInstanceUID = slice_.SOPInstanceUID
    slice_.save_as(path, enforce_file_format=True)


def _slice(pixels, position, axes, spacing):
    slice_ = Dataset()
    slice_.SOPClassUID = CTImageStorage
    slice_.Modality = "CT"
    slice_.PatientName = "Doe^John"
    slice_.PatientID = "4711"
    slice_.SeriesNumber = 5
    slice_.ImageType = ["ORIGINAL", "PRIMARY", "AXIAL"]
    slice_.PixelSpacing = [f"{x:.8g}" for x in spacing]
    slice_.ImageOrientationPatient = [f"{x:.10g}" for x in (*axes[0], *axes[1])]
    slice_.ImagePositionPatient = [f"{x:.10g}" for x in position]
    slice_.SliceThickness = "9"  # wrong on purpose: the step comes from positions
    slice_.Rows, slice_.Columns = pixels.shape
    slice_.SamplesPerPixel = 1
    slice_.PhotometricInterpretation = "MONOCHROME2"
    slice_.BitsAllocated, slice_.BitsStored, slice_.HighBit = 16, 16, 15
    slice_.PixelRepresentation = int(pixels.dtype.kind == "i")
    slice_.RescaleSlope, slice_.RescaleIntercept = "1", "-1024"
    slice_.PixelData = pixels.astype(pixels.dtype.newbyteorder("<")).tobytes()
    return slice_
