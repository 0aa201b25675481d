"""A phantom as a DICOM CT series: one file a slice, with all attributes of types 1 and 2 that the standard asks for.

DICOM's patient axes are LPS, so the affine is turned at this door. Rows run along the second array axis, columns along
the first, slices along the third. Instances are numbered from the head down, as most scanners do, so neither file names
nor instance numbers follow the array. UIDs come from the content; the same phantom gives the same bytes.
"""

import io
from pathlib import Path

import numpy as np
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import UID, CTImageStorage, ExplicitVRLittleEndian, generate_uid
from pydicom.valuerep import format_number_as_ds

from medseg.core.geometry import Geometry
from medseg.io import files
from medseg.sample.phantom import Phantom

__all__ = ["write_series"]

_INTERCEPT_HU = -1024
"""Stored value 0 in HU; the slope is 1."""

_LPS_FROM_RAS = np.diag((-1.0, -1.0, 1.0))

_MOMENT = {"Date": "20200102", "Time": "030405"}
"""When all phantoms were "scanned"."""


def write_series(phantom: Phantom, folder: Path, seed: int) -> None:
    """Write `folder`/CT_0001.dcm … of a phantom whose grid is orthogonal."""
    n_slices = phantom.geometry.shape[2]
    for number in range(1, n_slices + 1):
        dataset = _slice(phantom, n_slices - number, number, seed)
        buffer = io.BytesIO()
        dataset.save_as(buffer, enforce_file_format=True)
        with files.replacing(folder / f"CT_{number:04}.dcm") as partial:
            partial.write_bytes(buffer.getvalue())


def _slice(phantom: Phantom, k: int, number: int, seed: int) -> Dataset:
    dataset = Dataset()
    _identify(dataset, phantom.case, number, seed)
    _describe_machine(dataset)
    _place(dataset, phantom.geometry, k)
    _store(dataset, phantom, k)
    return dataset


def _identify(dataset: Dataset, case: str, number: int, seed: int) -> None:
    """Patient, study, series, frame of reference and SOP common modules."""

    def uid(*of: str) -> UID:
        return generate_uid(entropy_srcs=["medseg phantom", str(seed), case, *of])

    dataset.file_meta = FileMetaDataset()
    dataset.file_meta.MediaStorageSOPClassUID = CTImageStorage
    dataset.file_meta.MediaStorageSOPInstanceUID = uid("image", str(number))
    dataset.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    # Not pydicom's: its version would be in every file.
    dataset.file_meta.ImplementationClassUID = generate_uid(entropy_srcs=["medseg"])
    dataset.file_meta.ImplementationVersionName = "MEDSEG"
    dataset.SpecificCharacterSet = "ISO_IR 192"
    dataset.SOPClassUID = CTImageStorage
    dataset.SOPInstanceUID = dataset.file_meta.MediaStorageSOPInstanceUID
    dataset.InstanceCreationDate, dataset.InstanceCreationTime = _MOMENT["Date"], _MOMENT["Time"]
    dataset.PatientName = f"PHANTOM^{case[-2:]}"
    dataset.PatientID = case.upper()
    dataset.PatientBirthDate = ""
    dataset.PatientSex = "O"
    dataset.PatientIdentityRemoved = "YES"
    dataset.DeidentificationMethod = "Computed; nobody was scanned"
    dataset.StudyInstanceUID = uid("study")
    dataset.StudyID = "1"
    dataset.StudyDescription = "Computed phantom"
    dataset.AccessionNumber = ""
    dataset.ReferringPhysicianName = ""
    dataset.SeriesInstanceUID = uid("series")
    dataset.SeriesNumber = 2
    dataset.SeriesDescription = "Trunk, soft tissue"
    dataset.FrameOfReferenceUID = uid("frame of reference")
    dataset.PositionReferenceIndicator = ""
    for what in ("Study", "Series", "Acquisition", "Content"):
        for part, value in _MOMENT.items():
            setattr(dataset, what + part, value)
    dataset.InstanceNumber = number
    dataset.AcquisitionNumber = 1


def _describe_machine(dataset: Dataset) -> None:
    """Equipment and acquisition: what a CT scanner says of itself, with plausible settings."""
    dataset.Modality = "CT"
    dataset.Manufacturer = "medseg"
    dataset.ManufacturerModelName = "Phantom"
    dataset.DeviceSerialNumber = "0"
    dataset.SoftwareVersions = "1"
    dataset.InstitutionName = ""
    dataset.ImageType = ["ORIGINAL", "PRIMARY", "AXIAL"]
    dataset.BodyPartExamined = "ABDOMEN"
    dataset.ProtocolName = "Phantom"
    dataset.PatientPosition = "HFS"
    dataset.ScanOptions = "HELICAL MODE"
    dataset.KVP = "100"
    dataset.XRayTubeCurrent = "120"
    dataset.ExposureTime = "500"
    dataset.Exposure = "60"
    dataset.ConvolutionKernel = "STANDARD"
    dataset.GantryDetectorTilt = "0"
    dataset.BurnedInAnnotation = "NO"
    dataset.LossyImageCompression = "00"


def _place(dataset: Dataset, geometry: Geometry, k: int) -> None:
    """Image plane module: where slice `k` of the grid lies, in the patient's LPS axes."""
    spacing = geometry.spacing_mm
    axes = _LPS_FROM_RAS @ geometry.affine[:3, :3] / spacing
    corner = _LPS_FROM_RAS @ geometry.to_world((0, 0, k))
    normal = np.cross(axes[:, 0], axes[:, 1])
    dataset.PixelSpacing = _decimal(spacing[1], spacing[0])
    dataset.SliceThickness, dataset.SpacingBetweenSlices = _decimal(spacing[2], spacing[2])
    dataset.ImageOrientationPatient = _decimal(*axes[:, 0], *axes[:, 1])
    dataset.ImagePositionPatient = _decimal(*corner)
    (dataset.SliceLocation,) = _decimal(float(corner @ normal))
    (dataset.ReconstructionDiameter,) = _decimal(spacing[0] * geometry.shape[0])


def _store(dataset: Dataset, phantom: Phantom, k: int) -> None:
    """Image pixel, CT image and VOI LUT modules: signed 16-bit values, HU by slope and intercept."""
    pixels = (phantom.hu[:, :, k].T.astype(np.int32) - _INTERCEPT_HU).astype("<i2")
    dataset.SamplesPerPixel = 1
    dataset.PhotometricInterpretation = "MONOCHROME2"
    dataset.Rows, dataset.Columns = pixels.shape
    dataset.BitsAllocated, dataset.BitsStored, dataset.HighBit = 16, 16, 15
    dataset.PixelRepresentation = 1
    dataset.RescaleIntercept = str(_INTERCEPT_HU)
    dataset.RescaleSlope = "1"
    dataset.RescaleType = "HU"
    dataset.WindowCenter, dataset.WindowWidth = "40", "400"
    dataset.PixelData = pixels.tobytes()


def _decimal(*numbers: float) -> list[str]:
    """Numbers as DICOM's decimal strings of at most 16 characters."""
    return [format_number_as_ds(round(float(number), 6) + 0.0) for number in numbers]
