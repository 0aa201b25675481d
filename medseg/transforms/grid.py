"""Images, probabilities and label maps from one number of voxels to another over the same extent.

One convention, the half-voxel rule: old and new grid share their outer *edges*, so the centre of new voxel `o` lies at
the old index `(o + 1/2) · n_old / n_new - 1/2`, as `Geometry.resampled` says; what lies beyond the outermost old
centres takes their value. Everything is separable: one pass an axis over the axes whose size changes, the others are
not touched, so a grid resampled to itself is itself to the bit. Array axes are (i, j, k) after any leading ones; the
module must never know of millimetres, affines, files or torch.

- Images: cubic B-splines, after a Gaussian where they shrink much; the result stays within the range of its channel.
- Probabilities: linear. `axis_weights` and `resample_axis` are the parts, for work that goes slab by slab.
- Class indices: linear one-hot and argmax, label by label in its own box, so that memory does not grow with the labels.
"""

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from medseg.core.errors import InputError

__all__ = [
    "IGNORED",
    "AxisWeights",
    "axis_weights",
    "cubic_weights",
    "found_classes",
    "mirrored",
    "nearest_weights",
    "resample_axis",
    "resample_classes",
    "resample_image",
    "resample_linear",
    "shrinking_first",
    "window",
]

IGNORED = 255
"""The class index that stands for "nothing is known here" (`Labels.to_classes` writes it)."""

SMOOTHED_FROM = 1.5
"""An image axis that shrinks by more than this factor is smoothed first: finer detail would come back as noise."""

TIE = 1e-6
"""Shares of a voxel that differ by no more are equal up to rounding; the lower class then has the voxel."""


class AxisWeights(NamedTuple):
    """How each new voxel along an axis is mixed from two old ones: `(1 - weight) · old[index0] + weight · old[index1]`.

    Three vectors as long as the new axis; `index0 ≤ index1`, neither ever falls from one new voxel to the next.
    """

    index0: NDArray[np.intp]
    index1: NDArray[np.intp]
    weight: NDArray[np.float32]


def axis_weights(n_old: int, n_new: int) -> AxisWeights:
    """Linear interpolation along one axis under the half-voxel rule.

    >>> [vector.tolist() for vector in axis_weights(2, 4)]
    [[0, 0, 0, 1], [1, 1, 1, 1], [0.0, 0.25, 0.75, 0.0]]
    """
    index, fraction = _split(_positions(n_old, n_new))
    return AxisWeights(index, np.minimum(index + 1, n_old - 1), fraction.astype(np.float32))


def nearest_weights(n_old: int, n_new: int) -> AxisWeights:
    """The nearest old voxel of each new one, in the form of `axis_weights`; half-way goes to the upper one.

    >>> nearest_weights(2, 5).index0.tolist()
    [0, 0, 1, 1, 1]
    """
    # Whole numbers: a quotient of floats would be off by a voxel where a centre falls on an edge.
    index = ((2 * np.arange(n_new) + 1) * n_old) // (2 * n_new)
    return AxisWeights(index, index, np.zeros(n_new, np.float32))


def resample_axis(array: NDArray[Any], axis: int, weights: AxisWeights) -> NDArray[Any]:
    """One pass: `array` (floating point) with the new voxels of `weights` along `axis`. A constant stays constant."""
    low = np.take(array, weights.index0, axis=axis)
    if weights.weight.any():
        column = [1] * array.ndim
        column[axis] = -1
        step = np.take(array, weights.index1, axis=axis)
        step -= low
        step *= weights.weight.reshape(column)
        low += step
    return low


def resample_image(
    array: NDArray[Any], new_shape: Sequence[int], nearest_axis: int | None = None
) -> NDArray[np.float32]:
    """An image (channels, i, j, k) on `new_shape` voxels, by cubic B-splines.

    Axes that shrink by more than `SMOOTHED_FROM` are smoothed first by a Gaussian of σ = (ratio - 1) / 3 old voxels.
    Splines overshoot at edges; each channel is clipped to the range it had.

    Args:
        array: Real numbers without NaN.
        new_shape: Voxels along (i, j, k).
        nearest_axis: Along this one of the axes 0, 1, 2 the nearest voxel is taken: slices too far apart to be mixed.

    Returns:
        A new C-contiguous float32 array (channels, *new_shape).
    """
    out = np.empty((array.shape[0], *new_shape), np.float32)
    for source, target in zip(array, out, strict=True):
        channel = source.astype(np.float32, copy=False)
        low, high = channel.min(), channel.max()
        for axis in _changed(source.shape, new_shape):
            if axis == nearest_axis:
                channel = resample_axis(channel, axis, nearest_weights(source.shape[axis], new_shape[axis]))
            else:
                channel = _cubic(channel, axis, new_shape[axis])
        np.clip(channel, low, high, out=target)
    return out


def resample_linear(
    array: NDArray[Any], new_shape: Sequence[int], nearest_axis: int | None = None
) -> NDArray[np.float32]:
    """Probabilities (…, i, j, k) on `new_shape` voxels, linearly; what summed to one still does. New float32."""
    lead = array.ndim - 3
    out = np.array(array, np.float32, order="C")
    for axis in _changed(array.shape[lead:], new_shape):
        weights = nearest_weights if axis == nearest_axis else axis_weights
        out = resample_axis(out, lead + axis, weights(out.shape[lead + axis], new_shape[axis]))
    return out


def resample_classes(
    classes: NDArray[Any], new_shape: Sequence[int], n_classes: int, nearest_axis: int | None = None
) -> NDArray[Any]:
    """Class indices (i, j, k) on `new_shape` voxels: each new voxel goes to the class with the largest share of it.

    Shares are linear interpolations of the one-hot masks: closer to the true outline than the nearest voxel is. Of
    equal shares the lower class has the voxel. `IGNORED` is a class like the others, so it stays where it prevails: it
    neither eats the rim of what is labelled nor gives way to it. What was repeated voxel by voxel and comes back is as
    before. A structure smaller than a voxel of the new grid may vanish: who calls knows its name and may say so.

    Raises:
        InputError: A value is neither below `n_classes` nor `IGNORED`.
    """
    boxes = found_classes(classes, n_classes)
    if tuple(new_shape) == classes.shape:
        return classes.copy()
    weights = [
        (nearest_weights if axis == nearest_axis else axis_weights)(n_old, n_new)
        for axis, (n_old, n_new) in enumerate(zip(classes.shape, new_shape, strict=True))
    ]
    largest_share = np.zeros(new_shape, np.float32)
    result = np.zeros(new_shape, classes.dtype)
    for value, box in boxes:
        source, target, local = zip(*(window(*pair) for pair in zip(weights, box, strict=True)), strict=True)
        share = (classes[source] == value).astype(np.float32)
        for axis in shrinking_first(classes.shape, new_shape):
            share = resample_axis(share, axis, local[axis])
        wins = share > largest_share[target] + np.float32(TIE)
        largest_share[target][wins] = share[wins]
        result[target][wins] = value
    return result


def shrinking_first(old_shape: Sequence[int], new_shape: Sequence[int]) -> list[int]:
    """All axes, in the order in which passes over them cost least."""
    return sorted(range(len(new_shape)), key=lambda axis: new_shape[axis] / old_shape[axis])


def _changed(old_shape: Sequence[int], new_shape: Sequence[int]) -> list[int]:
    return [axis for axis in shrinking_first(old_shape, new_shape) if old_shape[axis] != new_shape[axis]]


def _positions(n_old: int, n_new: int) -> NDArray[np.float64]:
    """The old index, with fraction, at which each new centre lies, within the outermost old centres."""
    # One division of whole numbers, correctly rounded: a centre half-way between two old ones is so exactly.
    return np.clip(((2 * np.arange(n_new) + 1) * n_old - n_new) / (2 * n_new), 0, n_old - 1)


def _split(positions: NDArray[np.float64]) -> tuple[NDArray[np.intp], NDArray[np.float64]]:
    index = np.floor(positions).astype(np.intp)
    return index, positions - index


def _cubic(channel: NDArray[np.float32], axis: int, n_new: int) -> NDArray[np.float32]:
    """One pass of an image: smoothed if it shrinks much, then the spline through its voxels at the new centres."""
    from scipy import ndimage  # plans import this package, and `medseg --help` must not wait for scipy

    n_old = channel.shape[axis]
    if n_old == 1:
        return np.repeat(channel, n_new, axis=axis)
    if n_old / n_new > SMOOTHED_FROM:
        sigma = (n_old / n_new - 1) / 3
        channel = ndimage.gaussian_filter1d(channel, sigma, axis, output=np.float32, mode="mirror")
    coefficients = ndimage.spline_filter1d(channel, 3, axis, output=np.float32, mode="mirror")
    index, fraction = _split(_positions(n_old, n_new))
    column = [1] * channel.ndim
    column[axis] = -1
    out = np.zeros([n_new if a == axis else n for a, n in enumerate(channel.shape)], np.float32)
    for tap, weight in enumerate(cubic_weights(fraction), start=-1):
        term = np.take(coefficients, mirrored(index + tap, n_old), axis=axis)
        term *= weight.astype(np.float32).reshape(column)
        out += term
    return out


def cubic_weights(t: NDArray[np.float64]) -> tuple[NDArray[np.float64], ...]:
    """The cubic B-spline at distances 1 + t, t, 1 - t and 2 - t, for t in [0, 1): the weights of four neighbours."""
    return (1 - t) ** 3 / 6, 2 / 3 - t**2 + t**3 / 2, 2 / 3 - (1 - t) ** 2 + (1 - t) ** 3 / 2, t**3 / 6


def mirrored(index: NDArray[np.intp], n: int) -> NDArray[np.intp]:
    """Indices outside 0…n-1 reflected about the outermost voxels, as the prefilter assumes."""
    index = np.abs(index) % (2 * n - 2)
    return np.minimum(index, 2 * n - 2 - index)


def found_classes(classes: NDArray[Any], n_classes: int) -> list[tuple[int, tuple[slice, ...]]]:
    """The classes that occur, ascending, each with its bounding box; background comes first, with everything."""
    from scipy import ndimage  # see `_cubic`

    whole = tuple(slice(0, n) for n in classes.shape)
    found = [(value, box) for value, box in enumerate(ndimage.find_objects(classes), start=1) if box is not None]
    stray = [value for value, _ in found if value >= n_classes and value != IGNORED]
    if classes.min() < 0 or stray:
        raise InputError(
            f"A map of {n_classes} classes holds the value {min(stray, default=classes.min())}; class indices are "
            f"0…{n_classes - 1}, or {IGNORED} for what to ignore. Map the values of files with Labels.to_classes first."
        )
    return [(0, whole), *found]


def window(weights: AxisWeights, box: slice) -> tuple[slice, slice, AxisWeights]:
    """What one axis needs for a structure inside `box`: old voxels to read, new ones it may reach, their weights.

    The old ones are the box with a margin of one voxel, so that its edge is mixed with what lies beyond.
    """
    index0, index1, weight = weights
    reached = np.flatnonzero((index0 < box.stop) & (index1 >= box.start))
    if not reached.size:
        return box, slice(0, 0), AxisWeights(index0[:0], index1[:0], weight[:0])
    target = slice(int(reached[0]), int(reached[-1]) + 1)
    source = slice(int(index0[target.start]), int(index1[target.stop - 1]) + 1)
    return source, target, AxisWeights(index0[target] - source.start, index1[target] - source.start, weight[target])
