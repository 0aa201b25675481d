"""Trees of small DICOM series with structure sets on them, as archives hand them out."""

import numpy as np

from tests.io.dicom_files import write_series
from tests.io.label_files import write_rtstruct

__all__ = ["SHAPE", "put_series", "put_structures"]

SHAPE = (6, 10, 12)
"""Slices, rows, columns."""

_ORIGIN, _STEP_MM, _SPACING_MM = (-10.0, 20.0, 30.0), 2.5, (0.8, 0.6)


def put_series(folder, patient="4711", seed=0, bright=None, **attributes):
    """A series of one file a slice; `bright` (k, rows, columns) is a box of higher values. Returns its files."""
    stored = np.random.default_rng(seed).integers(900, 1100, SHAPE).astype(np.int16)
    if bright is not None:
        stored[bright] += 600
    return write_series(folder, stored, PatientID=patient, origin=_ORIGIN, spacing=_SPACING_MM, **attributes)


def put_structures(path, series, change=lambda dataset: None, **boxes):
    """An RTSTRUCT with a box (k, rows, columns) of voxels for each structure."""
    path.parent.mkdir(parents=True, exist_ok=True)
    rois = [(name, [_rectangle(k, *box[1:]) for k in range(box[0].start, box[0].stop)]) for name, box in boxes.items()]
    return write_rtstruct(path, series, rois, change=change)


def _rectangle(k, rows, columns):
    """The outline of a box on one slice, midway between voxel centres, in LPS mm."""
    corners = [
        (a - 0.5, b - 0.5)
        for a, b in (
            (rows.start, columns.start),
            (rows.start, columns.stop),
            (rows.stop, columns.stop),
            (rows.stop, columns.start),
        )
    ]
    return np.array(
        [
            (_ORIGIN[0] + b * _SPACING_MM[1], _ORIGIN[1] + a * _SPACING_MM[0], _ORIGIN[2] + k * _STEP_MM)
            for a, b in corners
        ]
    )
