"""From the native grid to the array a network sees: the one way, for training and for prediction.

Three steps, as nnU-Net orders them: reorient to the closest canonical (RAS) axes, which loses nothing; normalise each
channel on its own voxels, so that the statistics do not depend on the plan's spacing and outliers are clipped before a
spline could ring at them; resample to the plan grid, within each channel's range. A grid that leans (gantry tilt) is
straightened before it is resampled: the plan grid is always at right angles. Pure functions of values: no files, no
names of labels, no network. Pictures without a place in space are volumes of one slice (k = 1) and go the same way.
"""

from dataclasses import dataclass
from math import prod
from typing import Any

import numpy as np
from numpy.typing import NDArray

from medseg.core.errors import InputError
from medseg.core.geometry import Geometry, Reorientation
from medseg.core.shear import Straightening, straightening
from medseg.core.volume import Volume
from medseg.transforms.grid import resample_classes, resample_image
from medseg.transforms.intensity import normalise
from medseg.transforms.preprocessing import ChannelNormalisation, Preprocessing
from medseg.transforms.shear import straighten_classes, straighten_image

__all__ = ["PlanGrid", "Prepared", "plan_grid", "preprocess", "preprocess_bytes", "preprocess_labels"]

_PASS_ARRAYS = 4
"""Arrays of one channel that a pass of `resample_image` holds beside its result (measured: 3 to 4)."""

_STATISTICS_BYTES = 16
"""For each voxel whose statistics are taken at a time (`transforms.intensity`): doubles and marks."""

_STATISTICS_VOXELS = 2**20


@dataclass(frozen=True, slots=True)
class PlanGrid:
    """The way of one case from its native grid to the plan grid, which is also the way back.

    Attributes:
        native: The grid of the file.
        reorientation: From the native to the canonical axes.
        canonical: The native voxels along canonical axes.
        straightening: From the canonical grid to an upright one around it; None where it is at right angles.
        grid: The plan grid: the canonical (or upright) one resampled to the plan's spacing, edge to edge.
    """

    native: Geometry
    reorientation: Reorientation
    canonical: Geometry
    straightening: Straightening | None
    grid: Geometry


@dataclass(frozen=True, eq=False, slots=True)
class Prepared:
    """A volume as the network sees it: `array` float32 (channels, i, j, k), C-contiguous, on the plan grid `grid`.

    `native`, `canonical`, `reorientation` and `straightening` are those of `PlanGrid`: they lead a prediction back.
    """

    array: NDArray[np.float32]
    grid: Geometry
    native: Geometry
    canonical: Geometry
    reorientation: Reorientation
    straightening: Straightening | None = None


def plan_grid(native: Geometry, how: Preprocessing) -> PlanGrid:
    """Where a case on the grid `native` goes; needs no voxels.

    Raises:
        InputError: The axes of the grid lean too far to be a stack of slices.
    """
    reorientation = native.to_canonical
    canonical = native.reorient(reorientation)
    way = straightening(canonical)
    upright = canonical if way is None else way.grid
    spacing_mm = [own if new is None else new for own, new in zip(upright.spacing_mm, how.spacing_mm, strict=True)]
    return PlanGrid(native, reorientation, canonical, way, upright.resampled(spacing_mm))


def preprocess_bytes(grid: PlanGrid, n_channels: int) -> int:
    """The most memory that `preprocess` takes beside the volume itself, in bytes; known from the header alone.

    A wrong spacing makes it enormous: 32 voxels of 40 mm a side are 1280 of 1 mm.
    """
    native, new = prod(grid.native.shape), prod(grid.grid.shape)
    upright = native if grid.straightening is None else prod(grid.straightening.grid.shape)
    images = n_channels * (native + new + (0 if grid.straightening is None else upright))
    source = grid.canonical if grid.straightening is None else grid.straightening.grid
    passes = _PASS_ARRAYS * max(upright, new) if source.shape != grid.grid.shape or upright != native else 0
    return 4 * images + max(4 * passes, _STATISTICS_BYTES * min(native, _STATISTICS_VOXELS))


def preprocess(volume: Volume, how: Preprocessing) -> Prepared:
    """A volume on its plan grid, normalised. The volume is left as it is.

    Raises:
        InputError: The volume has another number of channels than `how`, or axes that lean too far.
    """
    way = plan_grid(volume.geometry, how)
    normalised = normalise(way.reorientation.apply(volume.array), how.normalisation)
    if way.straightening is not None:
        # After the normalisation, so that the empty corners have no part in any statistics.
        outside = [_outside(channel, one) for channel, one in zip(normalised, how.normalisation, strict=True)]
        normalised = straighten_image(normalised, way.straightening, outside, how.thick_axis)
    array = resample_image(normalised, way.grid.shape, how.thick_axis)
    return Prepared(array, way.grid, way.native, way.canonical, way.reorientation, way.straightening)


def preprocess_labels(classes: NDArray[Any], native: Geometry, how: Preprocessing, n_classes: int) -> NDArray[Any]:
    """Class indices (i, j, k) of the native grid on the plan grid, of the same type; voxel for voxel with `preprocess`.

    Raises:
        InputError: The shape is not that of the grid, its axes lean too far, or a value is neither below `n_classes`
            nor 255 (ignored).
    """
    if classes.shape != native.shape:
        raise InputError(
            f"A label map of shape {classes.shape} does not fit a grid of {native.shape}. "
            "Give the grid that it was read with."
        )
    way = plan_grid(native, how)
    canonical = np.ascontiguousarray(way.reorientation.apply(classes))
    if way.straightening is not None:
        return straighten_classes(canonical, way.straightening, way.grid.shape, n_classes, how.thick_axis)
    return resample_classes(canonical, way.grid.shape, n_classes, how.thick_axis)


def _outside(normalised: NDArray[np.float32], how: ChannelNormalisation) -> float:
    """What a channel is where there is no image: as dark as it gets, or 0 where that is what was cut away."""
    return 0.0 if how.nonzero else float(normalised.min())
