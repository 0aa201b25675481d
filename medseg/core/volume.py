"""Images and label maps with their place in space, and what a writer needs to give a file's conventions back.

`Volume.array` is (channels, i, j, k); `LabelMap.array` is (i, j, k). Arrays are held, not copied.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from medseg.core.errors import InputError
from medseg.core.frozen import FrozenMapping
from medseg.core.geometry import Geometry
from medseg.core.labels import Labels

__all__ = ["LabelMap", "Meta", "Volume"]


@dataclass(frozen=True)
class Meta:
    """Where an array came from, as far as a writer must know; no name, date or free text of a file is written from it.

    Attributes:
        kind: The file format's short name: "nifti", "mha", "nrrd", "png", "tiff", "jpeg", "dicom", or "memory".
        placed: Whether the file says where its grid lies in space (a PNG does not).
        header: What the writer of this kind gives back (NIfTI: codes, units and dim_info; and so on), and "dtype", the
            type of the stored numbers, where the array has another. For DICOM "modality", "frame_of_reference" (a UID),
            and "frames": for each slice along k the image that it is (None where it was interpolated). Their headers
            hold what derived objects must repeat, the patient's name included: they stay in memory.
        warnings: What the reader noticed and mended, one sentence each.
        own_grids: The grid that a channel's file has, by the channel's number from 0, where it is not that of the
            first channel: such a channel was brought to the first one's grid.
    """

    kind: str = "memory"
    placed: bool = True
    header: Mapping[str, Any] = field(default_factory=FrozenMapping)
    warnings: tuple[str, ...] = ()
    own_grids: Mapping[int, Geometry] = field(default_factory=FrozenMapping)


@dataclass(frozen=True, eq=False)
class Volume:
    """An image of one or more channels on one grid: `array` (channels, i, j, k), real numbers.

    Raises:
        InputError: The array's last three sides are not the geometry's.
    """

    array: NDArray[Any]
    geometry: Geometry
    meta: Meta = field(default_factory=Meta)

    def __post_init__(self) -> None:
        if self.array.ndim != 4 or self.array.shape[1:] != self.geometry.shape:
            raise InputError(
                f"An array of shape {self.array.shape} does not fit a grid of {self.geometry.shape}: "
                "it must be (channels, i, j, k)."
            )

    @property
    def n_channels(self) -> int:
        return int(self.array.shape[0])


@dataclass(frozen=True, eq=False)
class LabelMap:
    """Labels of voxels on one grid: `array` (i, j, k), integers ≥ 0; `labels` names them where names are known.

    Raises:
        InputError: The array is not of integers (or bool), or its shape is not the geometry's.
    """

    array: NDArray[Any]
    geometry: Geometry
    labels: Labels | None = None
    meta: Meta = field(default_factory=Meta)

    def __post_init__(self) -> None:
        if self.array.dtype.kind not in "uib":
            raise InputError(f"A label map holds whole numbers, not {self.array.dtype}; round it knowingly first.")
        if self.array.dtype.kind == "b":
            object.__setattr__(self, "array", self.array.astype(np.uint8))
        if self.array.shape != self.geometry.shape:
            raise InputError(f"A label map of shape {self.array.shape} does not fit a grid of {self.geometry.shape}.")

    def volumes_ml(self) -> dict[str, float]:
        """Volume of every named label (all present values where there are no names), in ml."""
        labels = self.labels or Labels.from_values(int(v) for v in np.unique(self.array))
        voxel = self.geometry.voxel_volume_ml
        return {name: float(np.count_nonzero(labels.mask(self.array, name)) * voxel) for name in labels.names}
