"""Where the windows of a network lie on a volume that is too large for one forward pass.

Overlapping tiles of one size cover the volume. Their predictions are blended with weights that are positive everywhere,
so the blend is a true weighted mean. A volume smaller than a tile is padded as training pads it. This is geometry only:
the module must never know of torch, devices, networks, files or spacing. All numbers are voxels in array order.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import product
from math import ceil
from typing import Any

import numpy as np
from numpy.typing import NDArray

from medseg.core.errors import PlanError

__all__ = ["LEAST_WEIGHT", "Tile", "blend_window", "pad_to", "tiles", "window_box"]

LEAST_WEIGHT = 1e-3
"""No voxel of a tile weighs less: one tile alone sees a corner of the volume; a weight of 0 would make its mean 0/0."""


@dataclass(frozen=True, slots=True)
class Tile:
    """A box of voxels in a volume: `start` lies in it, `stop` is the first voxel beyond it on each axis."""

    start: tuple[int, ...]
    stop: tuple[int, ...]

    @property
    def slices(self) -> tuple[slice, ...]:
        """The index of the tile in an array of shape (i, j, k); put `...` before it where channels lead."""
        return tuple(slice(a, b) for a, b in zip(self.start, self.stop, strict=True))


def tiles(shape: Sequence[int], box: Sequence[int], overlap: float = 0.5) -> list[Tile]:
    """The tiles of size `box` that together cover every voxel of `shape`, in C order of their starts.

    Args:
        shape: Spatial shape of the volume, nowhere smaller than `box` (see `pad_to`).
        box: Spatial shape of a tile.
        overlap: Least share of a tile that it has in common with its neighbour, in [0, 1).

    Raises:
        PlanError: The overlap lies outside [0, 1), or the tile does not fit into the volume.
    """
    if not 0 <= overlap < 1:
        raise PlanError(f"The overlap of windows is {overlap}, but must be a share in [0, 1). Try 0.5.")
    if len(shape) != len(box) or any(not 1 <= side <= n for n, side in zip(shape, box, strict=True)):
        raise PlanError(f"A window of {tuple(box)} does not fit into a volume of {tuple(shape)}: pad the volume first.")
    starts = product(*(_starts(n, side, overlap) for n, side in zip(shape, box, strict=True)))
    return [Tile(start, tuple(a + side for a, side in zip(start, box, strict=True))) for start in starts]


def blend_window(box: Sequence[int], sigma: float = 0.125) -> NDArray[np.float32]:
    """The weight of each voxel of a tile: a Gaussian about its centre, float32 of shape `box`, in (0, 1].

    A network sees least around the voxels at the border of its window, so they count least. `sigma` is a share of the
    tile's sides; 1/8 as in nnU-Net (Isensee et al., Nature Methods 2021).
    """
    weights = np.ones(tuple(box), np.float64)
    for offset in np.ix_(*((np.arange(side) - (side - 1) / 2) / (sigma * side) for side in box)):
        weights *= np.exp(-(offset**2) / 2)
    return np.maximum(weights, LEAST_WEIGHT).astype(np.float32)


def window_box(patch: Sequence[int], slice_axis: int | None) -> tuple[int, int, int]:
    """The patch along all three axes of the volume: one voxel along the slice axis of a 2-D plan.

    >>> window_box((256, 192), slice_axis=2)
    (256, 192, 1)
    """
    sides = list(patch)
    if slice_axis is not None:
        sides.insert(slice_axis, 1)
    i, j, k = sides
    return i, j, k


def pad_to(array: NDArray[Any], box: Sequence[int]) -> tuple[NDArray[Any], tuple[slice, ...]]:
    """`array`, centred among zeros where its last axes are shorter than `box`, and where it lies in the result.

    Zero is the mean of a normalised image, and what the patches of training are padded with. Leading axes are left
    alone; an array that needs no padding is returned itself. The index has an entry for each axis of the box: put
    `...` before it.
    """
    missing = [max(0, side - n) for n, side in zip(array.shape[-len(box) :], box, strict=True)]
    before = [n // 2 for n in missing]
    inside = tuple(slice(b, b + n) for b, n in zip(before, array.shape[-len(box) :], strict=True))
    if not any(missing):
        return array, inside
    lead = [(0, 0)] * (array.ndim - len(box))
    return np.pad(array, lead + [(b, m - b) for b, m in zip(before, missing, strict=True)]), inside


def _starts(size: int, side: int, overlap: float) -> list[int]:
    stride = max(1, int(side * (1 - overlap)))
    steps = ceil((size - side) / stride)
    # Spread evenly: a last tile that is pushed back from the border would share more with its neighbour than others.
    return [round(n * (size - side) / steps) for n in range(steps + 1)] if steps else [0]
