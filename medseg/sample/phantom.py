"""One phantom: which patient lies in which scanner, and what comes out. A pure function of a seed and a number.

What a data set should vary is spread over the numbers by rule and not by luck: contrast phase, slice distance and tilt
go round in turns, the axes of the files are drawn without repetition.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from medseg.core.geometry import Geometry, Reorientation
from medseg.sample.anatomy import Patient, paint
from medseg.sample.scanner import AXES, Scanner

__all__ = ["N_PHANTOMS", "N_TRAINING", "SERIES_NUMBER", "Phantom", "make_phantom"]

N_TRAINING = 16
"""Phantoms number 1 to 16 are for training."""

N_PHANTOMS = 18
"""The last two are new scans, to be predicted."""

SERIES_NUMBER = 18
"""The phantom that also comes as a DICOM series: axial slices, straight, as a CT scanner makes them."""

_SLICES_MM = (1.8, 2.0, 2.5, 3.0)

_PHASES = (0, 1, 2, 1, 2)
"""Contrast: none, arterial, venous, arterial, venous."""

_AXIAL = Reorientation((0, 1, 2), (True, True, False))
"""First axis to the left, second to the back, third to the head: rows, columns and slices of an axial CT series."""


@dataclass(frozen=True, eq=False)
class Phantom:
    """A scan in HU and its labels (values of `anatomy.LABELS`), both (i, j, k) on one grid."""

    case: str
    geometry: Geometry
    hu: NDArray[np.int16]
    labels: NDArray[np.uint8]


def make_phantom(number: int, seed: int = 0) -> Phantom:
    """Phantom `number` (from 1) of the family `seed`: the same voxels and affine each time."""
    series = number == SERIES_NUMBER
    rng = np.random.default_rng((seed, number))
    axes = AXES[np.random.default_rng(seed).permutation(len(AXES))[number % len(AXES)]]
    tilt_deg = float(rng.uniform(3, 9)) if number % 3 == 0 and not series else 0.0
    scanner = Scanner.draw(rng, _AXIAL if series else axes, tilt_deg, _SLICES_MM[number % len(_SLICES_MM)])
    patient = Patient.draw(rng, phase=_PHASES[number % len(_PHASES)])
    true_hu, labels = paint(rng, patient, scanner.geometry)
    return Phantom(f"phantom_{number:02}", scanner.geometry, scanner.scan(rng, true_hu), labels)
