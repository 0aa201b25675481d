"""The measures as plain functions of two arrays: what `medseg.metrics` offers for a notebook or another program.

Arrays are 2-D or 3-D, bool or whole numbers, prediction first, reference second (as in `medseg.evaluate`). Of a label
map with several values `label` names the one to judge, or several that form a region; without it, everything but 0 is
the mask, and an array with more than one value besides 0 is refused rather than guessed at. Distances need the grid:
`spacing`, mm between voxel centres along each array axis, in the order of the array's axes (default 1), or a 4×4
`affine` from voxel index to mm. A 2-D array, and a 3-D one of a single slice (k = 1), is a picture: its boundary is
made of lines. What is not defined for a pair is NaN, as each function says; there is no silent 0 or 1 for empty masks.
"""

from collections.abc import Collection, Sequence

import numpy as np
from numpy.typing import ArrayLike, NDArray

from medseg.core.errors import InputError, UsageError
from medseg.core.geometry import Geometry
from medseg.metrics.boundary import Boundary, SurfaceDistances, boundary_of, surface_distances
from medseg.metrics.boxes import box_of, start_of
from medseg.metrics.overlap import Overlap, confusion

__all__ = [
    "assd",
    "dice",
    "hausdorff",
    "hausdorff95",
    "iou",
    "masd",
    "nsd",
    "overlap",
    "precision",
    "recall",
    "surfaces",
]

Label = int | Collection[int] | None
"""Which value of a label map is meant; several form a region; None: everything but 0."""

Spacing = Sequence[float] | float
"""mm between voxel centres along each array axis; one number for all of them."""


def dice(predicted: ArrayLike, reference: ArrayLike, *, label: Label = None) -> float:
    """Dice coefficient, in [0, 1]; NaN if both masks are empty.

    >>> dice([[1, 1, 0]], [[0, 1, 1]])
    0.5
    """
    return overlap(predicted, reference, label=label).dice


def iou(predicted: ArrayLike, reference: ArrayLike, *, label: Label = None) -> float:
    """Intersection over union (Jaccard index), in [0, 1]; NaN if both masks are empty."""
    return overlap(predicted, reference, label=label).iou


def precision(predicted: ArrayLike, reference: ArrayLike, *, label: Label = None) -> float:
    """The share of the prediction that is right, in [0, 1]; NaN if the prediction is empty."""
    return overlap(predicted, reference, label=label).precision


def recall(predicted: ArrayLike, reference: ArrayLike, *, label: Label = None) -> float:
    """The share of the reference that was found, in [0, 1]; NaN if the reference is empty."""
    return overlap(predicted, reference, label=label).recall


def hausdorff(
    predicted: ArrayLike,
    reference: ArrayLike,
    spacing: Spacing = 1.0,
    *,
    affine: ArrayLike | None = None,
    label: Label = None,
) -> float:
    """Hausdorff distance in mm between the boundaries; NaN if either mask is empty.

    >>> hausdorff([[1, 0, 0]], [[0, 0, 1]], spacing=(1, 2))
    4.0
    """
    return surfaces(predicted, reference, spacing, affine=affine, label=label).hd_mm


def hausdorff95(
    predicted: ArrayLike,
    reference: ArrayLike,
    spacing: Spacing = 1.0,
    *,
    affine: ArrayLike | None = None,
    label: Label = None,
    pooled: bool = False,
) -> float:
    """95th percentile Hausdorff distance in mm, area-weighted; NaN if either mask is empty.

    The larger of the two directed percentiles, or with `pooled` the percentile of both sets taken as one.
    """
    return surfaces(predicted, reference, spacing, affine=affine, label=label).hd95_mm(pooled=pooled)


def assd(
    predicted: ArrayLike,
    reference: ArrayLike,
    spacing: Spacing = 1.0,
    *,
    affine: ArrayLike | None = None,
    label: Label = None,
) -> float:
    """Average symmetric surface distance in mm: over the elements of both boundaries; NaN if either mask is empty."""
    return surfaces(predicted, reference, spacing, affine=affine, label=label).assd_mm


def masd(
    predicted: ArrayLike,
    reference: ArrayLike,
    spacing: Spacing = 1.0,
    *,
    affine: ArrayLike | None = None,
    label: Label = None,
) -> float:
    """Mean average surface distance in mm: the mean of the two directed means; NaN if either mask is empty."""
    return surfaces(predicted, reference, spacing, affine=affine, label=label).masd_mm


def nsd(
    predicted: ArrayLike,
    reference: ArrayLike,
    spacing: Spacing = 1.0,
    *,
    tolerance_mm: float = 1.0,
    affine: ArrayLike | None = None,
    label: Label = None,
) -> float:
    """Normalised surface Dice: the share of both boundaries within `tolerance_mm` of the other, in [0, 1].

    0 if one mask is empty, NaN if both are.
    """
    return surfaces(predicted, reference, spacing, affine=affine, label=label).nsd(tolerance_mm)


def overlap(predicted: ArrayLike, reference: ArrayLike, *, label: Label = None) -> Overlap:
    """The four counts of voxels, from which dice, iou, precision, recall, specificity and volume errors are read."""
    ours, theirs = _masks(predicted, reference, label)
    return confusion(theirs.view(np.uint8), ours.view(np.uint8)).overlap((1,))


def surfaces(
    predicted: ArrayLike,
    reference: ArrayLike,
    spacing: Spacing = 1.0,
    *,
    affine: ArrayLike | None = None,
    label: Label = None,
) -> SurfaceDistances:
    """Both directed sets of distances, computed once: any percentile, HD, HD95, ASSD, MASD and NSD are read from it."""
    ours, theirs = _masks(predicted, reference, label)
    grid = _grid(ours.shape, np.asarray(predicted).ndim, spacing, affine)
    return surface_distances(_boundary(theirs, grid), _boundary(ours, grid))


def _boundary(mask: NDArray[np.bool_], grid: Geometry) -> Boundary:
    box = box_of(mask) or (slice(0, 1), slice(0, 1), slice(0, 1))
    return boundary_of(mask[box], grid, start=start_of(box))


def _masks(predicted: ArrayLike, reference: ArrayLike, label: Label) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
    """Both masks as bool (i, j, k)."""
    arrays = np.asarray(predicted), np.asarray(reference)
    if arrays[0].shape != arrays[1].shape:
        raise InputError(
            f"The prediction has the shape {arrays[0].shape}, the reference {arrays[1].shape}; "
            "both must lie on one grid. Resample one of them to the other's."
        )
    if arrays[0].ndim not in (2, 3):
        raise InputError(f"Masks are 2-D or 3-D; these have {arrays[0].ndim} axes. Pass one case and one channel.")
    ours, theirs = (_mask(array, label).reshape((*array.shape, 1)[:3]) for array in arrays)
    return ours, theirs


def _mask(array: NDArray[np.generic], label: Label) -> NDArray[np.bool_]:
    if array.dtype.kind not in "bui":
        raise InputError(f"Masks are bool or whole numbers, not {array.dtype}: choose a threshold, or take the argmax.")
    if label is not None:
        return np.isin(array, [label] if isinstance(label, int | np.integer) else list(label))
    if array.dtype.kind == "b":
        return array.astype(np.bool_, copy=False)
    mask = np.asarray(array != 0)
    values = array[mask]
    if values.size and values.min() != values.max():
        raise UsageError(
            f"An array holds several labels ({int(values.min())} to {int(values.max())}). "
            "Say which one to judge, e.g. label=1, or label=(1, 2) for both as a region."
        )
    return mask


def _grid(shape: tuple[int, ...], n_axes: int, spacing: Spacing, affine: ArrayLike | None) -> Geometry:
    whole = (shape[0], shape[1], shape[2])
    if affine is not None:
        if not np.array_equal(spacing, 1.0):
            raise UsageError("Both a spacing and an affine were given; the affine holds the spacing: give one of them.")
        return Geometry(whole, np.asarray(affine, np.float64))
    sides = [float(s) for s in np.broadcast_to(spacing, n_axes)] if np.size(spacing) in (1, n_axes) else []
    if not sides or not all(0 < s < np.inf for s in sides):
        raise UsageError(f"The spacing {spacing} must be {n_axes} numbers in mm above 0, one for each array axis.")
    return Geometry.from_spacing(whole, (*sides, 1.0)[:3])
