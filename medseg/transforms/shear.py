"""Voxels of a leaning grid (gantry tilt) on the upright grid around it: images, and class indices with all their rim.

`core.shear` says which moves bring a grid upright; here they are made, one axis a pass: images by cubic B-splines,
shares of classes linearly. Planes slide, nothing is cut off, and the corners that the leaning grid does not fill get a
value from outside. Array axes are (i, j, k) after any leading ones, on the half-voxel rule of `grid`: the outermost
voxels hold up to their edges. The module must never know of millimetres, files or torch.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from medseg.core.shear import Lean, Straightening
from medseg.transforms.grid import (
    TIE,
    AxisWeights,
    axis_weights,
    cubic_weights,
    found_classes,
    mirrored,
    nearest_weights,
    resample_axis,
    shrinking_first,
    window,
)

__all__ = ["straighten_classes", "straighten_image"]


def straighten_image(
    array: NDArray[np.float32], way: Straightening, outside: Sequence[float], nearest_axis: int | None = None
) -> NDArray[np.float32]:
    """An image (channels, i, j, k) on the upright grid of `way`; each channel is `outside` where it has no voxels.

    Splines overshoot at edges; each channel is clipped to the range it had. Along `nearest_axis` voxels are not mixed.

    Returns:
        A new C-contiguous float32 array (channels, *way.grid.shape).
    """
    out = np.empty((len(array), *way.grid.shape), np.float32)
    for source, target in zip(array, out, strict=True):
        channel = source
        for lean in way.leans:
            channel = _moved_image(channel, lean, lean.axis == nearest_axis)
        np.clip(channel, source.min(), source.max(), out=target)
    _fill_corners(out, array.shape[1:], way, outside)
    return out


def straighten_classes(
    classes: NDArray[Any],
    way: Straightening,
    new_shape: Sequence[int],
    n_classes: int,
    nearest_axis: int | None = None,
) -> NDArray[Any]:
    """Class indices (i, j, k) of the leaning grid on a grid of `new_shape` voxels over the extent of the upright one.

    As `grid.resample_classes`: each new voxel goes to the class with the largest share of it, shares are interpolated
    linearly all the way and decided once, label by label in its own box. The empty corners are background.

    Raises:
        InputError: A value is neither below `n_classes` nor ignored.
    """
    weights = [
        (nearest_weights if axis == nearest_axis else axis_weights)(n_old, n_new)
        for axis, (n_old, n_new) in enumerate(zip(way.grid.shape, new_shape, strict=True))
    ]
    largest_share = np.zeros(tuple(new_shape), np.float32)
    result = np.zeros(tuple(new_shape), classes.dtype)
    for value, box in found_classes(classes, n_classes):
        share, start = _upright_share(classes, value, box, way, nearest_axis)
        reach = [slice(first, first + n) for first, n in zip(start, share.shape, strict=True)]
        source, target, local = zip(*(window(*pair) for pair in zip(weights, reach, strict=True)), strict=True)
        # What is mixed with the rim may lie one voxel beyond it.
        share = np.pad(share, 1)
        share = share[
            tuple(slice(s.start - r.start + 1, s.stop - r.start + 1) for s, r in zip(source, reach, strict=True))
        ]
        for axis in shrinking_first(way.grid.shape, new_shape):
            share = resample_axis(share, axis, local[axis])
        wins = share > largest_share[target] + np.float32(TIE)
        largest_share[target][wins] = share[wins]
        result[target][wins] = value
    return result


def _upright_share(
    classes: NDArray[Any], value: int, box: tuple[slice, ...], way: Straightening, nearest_axis: int | None
) -> tuple[NDArray[np.float32], list[int]]:
    """The share of a class in the voxels of the upright grid, where it has any, and the index at which that begins."""
    share = (classes[box] == value).astype(np.float32)
    start = [part.start for part in box]
    beyond = 1.0 if value == 0 else 0.0
    for lean in way.leans:
        share, start[lean.axis] = _moved_share(share, start, lean, beyond, lean.axis == nearest_axis)
    return share, start


def _fill_corners(
    out: NDArray[np.float32], old_shape: Sequence[int], way: Straightening, outside: Sequence[float]
) -> None:
    """Write what is outside into the voxels of the upright grid that no voxel of the leaning one reaches, in place.

    Only now: a step between image and outside would make the splines of later moves ring.
    """
    back = np.linalg.inv(way.matrix)
    moved = {lean.axis for lean in way.leans}
    index = np.ogrid[tuple(slice(n) for n in way.grid.shape)]
    for k in range(way.grid.shape[way.stack]):
        plane = [np.array(k) if a == way.stack else along.squeeze(way.stack) for a, along in enumerate(index)]
        beyond = np.zeros(np.broadcast_shapes(*(along.shape for along in plane)), bool)
        for axis in moved:
            source = back[axis, 3] + sum(back[axis, a] * along for a, along in enumerate(plane))
            beyond |= _is_beyond(source, old_shape[axis])
        for channel, value in zip(np.moveaxis(out, way.stack + 1, 1), outside, strict=True):
            channel[k][beyond] = value


def _moved_image(channel: NDArray[np.float32], lean: Lean, nearest: bool) -> NDArray[np.float32]:
    """One pass of an image; beyond its edges it goes on as it ended."""
    from scipy import ndimage  # plans import this package, and `medseg --help` must not wait for scipy

    n_old = channel.shape[lean.axis]
    smooth = not nearest and n_old > 1
    if smooth:
        channel = ndimage.spline_filter1d(channel, 3, lean.axis, output=np.float32, mode="mirror")
    planes = _planes(channel, lean)
    out = np.empty((len(planes), lean.length, *planes.shape[2:]), np.float32)
    for b, (plane, target) in enumerate(zip(planes, out, strict=True)):
        source = np.arange(lean.length) - lean.offset - lean.slope * b
        held = np.clip(source, 0, n_old - 1)
        if smooth:
            index = np.floor(held).astype(np.intp)
            target[:] = 0
            for tap, weight in enumerate(cubic_weights(held - index), start=-1):
                target += plane[mirrored(index + tap, n_old)] * weight.astype(np.float32).reshape(-1, 1)
        else:
            target[:] = plane[np.floor(held + 0.5).astype(np.intp)]
    return _from_planes(out, lean)


def _moved_share(
    share: NDArray[np.float32], start: Sequence[int], lean: Lean, beyond: float, nearest: bool
) -> tuple[NDArray[np.float32], int]:
    """A part of the grid that begins at `start`, moved; and the index along `lean.axis` at which it then begins."""
    n_old, first = share.shape[lean.axis], start[lean.axis]
    planes = _planes(share, lean)
    shifts = lean.offset + lean.slope * (start[lean.along] + np.arange(len(planes)))
    low = max(0, int(np.floor(first - 1 + shifts.min())))
    high = min(lean.length - 1, int(np.ceil(first + n_old + shifts.max())))
    out = np.empty((len(planes), high - low + 1, *planes.shape[2:]), np.float32)
    whole = beyond != 0
    for plane, shift, target in zip(planes, shifts, out, strict=True):
        source = np.arange(low, high + 1) - shift - first
        if whole:
            held = np.clip(source, 0, n_old - 1)
        else:
            # Beyond the box the class has no voxel: its share falls off to nothing within one.
            plane = np.pad(plane, ((1, 1), (0, 0)))
            held = np.clip(source, -1, n_old) + 1
        index = np.floor(held + 0.5 if nearest else held).astype(np.intp)
        fraction = np.zeros(len(held)) if nearest else held - index
        target[:] = resample_axis(
            plane, 0, AxisWeights(index, np.minimum(index + 1, len(plane) - 1), fraction.astype(np.float32))
        )
        if whole:
            target[_is_beyond(source, n_old)] = beyond
    return _from_planes(out, lean), low


def _is_beyond(source: NDArray[np.floating], n_old: int) -> NDArray[np.bool_]:
    """Which positions lie outside of all voxels 0…n-1, edges included."""
    return (source < -0.5) | (source > n_old - 0.5)


def _planes(array: NDArray[np.float32], lean: Lean) -> NDArray[np.float32]:
    """A view (along, axis, the third axis): one plane for each index that says how far."""
    return np.moveaxis(array, (lean.along, lean.axis), (0, 1))


def _from_planes(planes: NDArray[np.float32], lean: Lean) -> NDArray[np.float32]:
    return np.moveaxis(planes, (0, 1), (lean.along, lean.axis))
