"""Reconstructed tomograms of nuclear medicine (SPECT): one file holds all slices, and says where the first one lies.

The others follow along the normal of the first, "behind" it where SpacingBetweenSlices is positive and before it where
it is negative (DICOM PS3.3, C.8.4.15); SliceVector says which slice a frame is. Projections, gated and dynamic studies
and several energy windows hold more than slices and are refused.
"""

from dataclasses import replace

import numpy as np
from numpy.typing import NDArray
from pydicom.dataset import Dataset

from medseg.core.errors import InputError
from medseg.io.dicom.find import Frame, numbers, text
from medseg.io.dicom.layers import Elements, Pool, element_at, layered, tags

__all__ = ["is_tomogram", "tomogram_slices"]

_STORAGE = "1.2.840.10008.5.1.4.1.1.20"
_SLICE_VECTOR, _DETECTORS, _N_FRAMES = tags("SliceVector", "DetectorInformationSequence", "NumberOfFrames")

_OTHER_VECTORS = (
    *("EnergyWindowVector", "DetectorVector", "PhaseVector", "RotationVector", "RRIntervalVector", "TimeSlotVector"),
    *("AngularViewVector", "TimeSliceVector"),
)
"""What else may tell the frames of a nuclear medicine image apart."""


def is_tomogram(file: Frame) -> bool:
    """Whether a file is a nuclear medicine image of reconstructed slices."""
    words = text(file.header, "ImageType").split("\\")
    return text(file.header, "SOPClassUID") == _STORAGE and words[2:3] == ["RECON TOMO"]


def tomogram_slices(file: Frame, n_frames: int) -> tuple[Frame, ...]:
    """One image a slice.

    Raises:
        InputError: The file does not say which slice a frame is or where it lies, or holds more than slices.
    """
    header = file.header
    for keyword in _OTHER_VECTORS:
        if len(set(text(header, keyword).split("\\"))) > 1:
            raise InputError(f"{file.path} holds more than the slices of one volume ({keyword}); export one of them.")
    numbers_of_slices = numbers(header, "SliceVector", n_frames)
    if numbers_of_slices is None or set(numbers_of_slices) != set(range(1, n_frames + 1)):
        raise InputError(f"{file.path} does not say which slice each of its {n_frames} frames is (SliceVector).")
    detector = _detector(file)
    position, normal, step_mm = _required(file, detector)
    pool = Pool()
    common: Elements = {e.tag: e for e in pool.elements(header, (_SLICE_VECTOR, _N_FRAMES))}
    common |= {e.tag: e for e in pool.elements(detector) if e.VR != "SQ"}
    frames = []
    for index, number in enumerate(numbers_of_slices):
        place = position + (number - 1) * step_mm * normal
        own = pool.named("ImagePositionPatient", [f"{x:.10g}" for x in place])
        layer = layered({own.tag: own}, common, header)
        frames.append(replace(file, header=layer, index=index, n_frames=n_frames))
    return tuple(frames)


def _detector(file: Frame) -> Dataset:
    """The description of the one detector: a reconstruction of several names one."""
    found = element_at(file.header, _DETECTORS)
    if found is None or len(found.value) != 1:
        n_detectors = 0 if found is None else len(found.value)
        raise InputError(f"{file.path} describes {n_detectors} detectors where one says where its slices lie.")
    detector: Dataset = found.value[0]
    return detector


def _required(file: Frame, detector: Dataset) -> tuple[NDArray[np.float64], NDArray[np.float64], float]:
    """Position of the first slice and the normal (LPS mm), and the signed distance to the next."""
    position = numbers(detector, "ImagePositionPatient", 3)
    axes = numbers(detector, "ImageOrientationPatient", 6)
    step = numbers(file.header, "SpacingBetweenSlices")
    lacking = [
        keyword
        for keyword, value in (
            *(("ImagePositionPatient", position), ("ImageOrientationPatient", axes), ("SpacingBetweenSlices", step)),
        )
        if value is None
    ]
    if position is None or axes is None or step is None or step[0] == 0:
        what = ", ".join(lacking) or "SpacingBetweenSlices other than 0"
        raise InputError(f"{file.path} has no {what}, so the place of its slices in the patient is unknown.")
    return np.array(position), np.cross(axes[:3], axes[3:]), step[0]
