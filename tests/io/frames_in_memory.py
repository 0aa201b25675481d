"""Images of a series that are nowhere on disk: headers on any grid, for writers of what refers to them."""

from pathlib import Path

import numpy as np
from hypothesis import strategies as st
from pydicom.dataset import Dataset
from pydicom.uid import CTImageStorage

from medseg.core.geometry import Geometry
from medseg.core.volume import Meta
from medseg.io.dicom.find import Frame
from tests.strategies import geometries

__all__ = ["RAS_LPS", "images_on", "series_grids"]

RAS_LPS = np.diag([-1.0, -1.0, 1.0])


@st.composite
def series_grids(draw, smallest=1):
    """Grids that series lie on: any orientation, oblique, anisotropic, and sheared by a tilted gantry."""
    grid = draw(geometries(smallest=smallest, largest=6))
    affine = grid.affine.copy()
    tilt = draw(st.sampled_from([0.0, 0.3, -0.25]))
    affine[:3, 2] += tilt * np.linalg.norm(affine[:3, 2]) * affine[:3, 1] / np.linalg.norm(affine[:3, 1])
    return Geometry(grid.shape, affine)


def images_on(grid, missing=(), **attributes):
    """The meta of a volume that was read from a CT series on `grid` (RAS), without the images of some slices."""
    lps = RAS_LPS @ grid.affine[:3]
    between_columns, between_rows, _ = grid.spacing_mm
    frames = []
    for k in range(grid.shape[2]):
        header = Dataset()
        header.SpecificCharacterSet = "ISO_IR 192"
        header.PatientName, header.PatientID = "Doe^Jane", "4711"
        header.StudyInstanceUID, header.SeriesInstanceUID, header.FrameOfReferenceUID = "1.2.1", "1.2.2", "1.2.3"
        header.SOPClassUID, header.SOPInstanceUID = CTImageStorage, f"1.2.4.{k + 1}"
        header.Modality, header.SeriesNumber = "CT", 7
        header.Columns, header.Rows = grid.shape[:2]
        header.PixelSpacing = [_decimal(between_rows), _decimal(between_columns)]
        axes = [*(lps[:, 0] / between_columns), *(lps[:, 1] / between_rows)]
        header.ImageOrientationPatient = [_decimal(x) for x in axes]
        header.ImagePositionPatient = [_decimal(x) for x in RAS_LPS @ grid.to_world((0, 0, k))]
        for name, value in attributes.items():
            setattr(header, name, value)
        frames.append(None if k in missing else Frame(Path(f"{k}.dcm"), header))
    return Meta("dicom", header={"modality": "CT", "frames": tuple(frames)})


def _decimal(number):
    return f"{number:.9g}"
