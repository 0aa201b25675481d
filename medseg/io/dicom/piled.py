"""Several pictures in one file that says where the first lies and how far apart they are, but not on which side.

Dental cone-beam scanners write such files: one position and one orientation for all, and a distance. Whether the frames
go along the normal or against it is written nowhere, and a wrong guess turns head and feet (or left and right) around
without a trace. So it is refused, with the two options that say it, each with the direction that it means.
"""

from dataclasses import replace

import numpy as np
from numpy.typing import NDArray
from pydicom.dataset import Dataset

from medseg.core.errors import InputError
from medseg.io.dicom.find import Frame, numbers, text
from medseg.io.dicom.layers import Elements, Pool, layered
from medseg.io.options import ReadOptions

__all__ = ["piled_frames"]

_OF_FILMS = ("FrameTime", "FrameTimeVector", "CineRate", "RecommendedDisplayFrameRate")

_TOWARDS = (("left", "right"), ("back", "front"), ("head", "feet"))
"""Where the axes of DICOM (LPS) lead to, forwards and backwards."""


def piled_frames(file: Frame, header: Dataset, n_frames: int, options: ReadOptions) -> tuple[Frame, ...] | None:
    """One image a frame, as `--read frames=` says; None where the file does not say where the first lies.

    Args:
        file: The file.
        header: What it says of all frames.
        n_frames: How many there are.
        options: `frames` of these counts.

    Raises:
        InputError: Nobody says on which side of the first frame the others lie.
    """
    position, cosines = numbers(header, "ImagePositionPatient", 3), numbers(header, "ImageOrientationPatient", 6)
    step = numbers(header, "SpacingBetweenSlices")  # not the thickness: frames of a film have one too
    is_film = any(text(header, key) for key in _OF_FILMS)
    if is_film or position is None or cosines is None or step is None or step[0] == 0:
        return None
    normal = np.cross(cosines[:3], cosines[3:])
    step_mm = abs(step[0])
    if options.frames == "refuse":
        raise InputError(
            f"{file.path} holds {n_frames} frames {step_mm:g} mm apart and the position of the first alone: whether "
            f"the others lie towards the {_towards(normal)} (--read frames=rising) or the {_towards(-normal)} "
            "(--read frames=falling) is not said. Look it up in the program that made it."
        )
    sign = 1 if options.frames == "rising" else -1
    pool = Pool()
    common: Elements = {element.tag: element for element in pool.elements(header)}
    frames = []
    for index in range(n_frames):
        place = np.array(position) + index * sign * step_mm * normal
        own = pool.named("ImagePositionPatient", [f"{x:.10g}" for x in place])
        layer = layered({own.tag: own}, common, file.header)
        frames.append(replace(file, header=layer, index=index, n_frames=n_frames))
    return tuple(frames)


def _towards(direction: NDArray[np.float64]) -> str:
    axis = int(np.abs(direction).argmax())
    return _TOWARDS[axis][0 if direction[axis] > 0 else 1]
