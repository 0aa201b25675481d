"""Numbers of a file → values of an image or of a label map, by one set of rules for all formats.

Images keep their type where the file does not scale them, and are float32 where it does; what is not finite becomes the
smallest finite value. Label maps are whole numbers from 0 to 65,535: taken raw where the file has integers, rounded
where a float file holds whole numbers but for noise, refused where they look interpolated. Never truncated.
The module knows arrays and a name for its sentences, no formats.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from medseg.core.errors import InputError
from medseg.core.labels import LARGEST_VALUE

__all__ = [
    "NOT_FINITE",
    "NotALabelMapError",
    "Scaling",
    "as_image",
    "as_labels",
    "check_real",
    "label_dtype",
    "several_layers",
]

NOT_FINITE = "voxels are not finite"
"""What the warning about NaN and infinity says in every format: by it a listener knows that warning from others."""

_ROUNDING = 1e-3
"""Labels this far from a whole number are float noise and need no word."""

_STEPS, _NEAREST_WHOLE = 1.1, 0.49
"""How many steps of a slope labels may be off, and how far in any case."""

_LARGEST_INT32 = 2**31 - 1


class NotALabelMapError(InputError):
    """The file is whole, but its numbers are not those of a label map."""


@dataclass(frozen=True, slots=True)
class Scaling:
    """value = slope · stored + intercept, as a header says it; a slope of 0, NaN or infinity means none."""

    slope: float = 1.0
    intercept: float = 0.0

    @property
    def is_none(self) -> bool:
        if self.slope == 0 or not np.isfinite(self.slope):
            return True
        return self.slope == 1 and (self.intercept == 0 or not np.isfinite(self.intercept))

    def apply(self, stored: NDArray[np.generic]) -> NDArray[np.float64]:
        intercept = self.intercept if np.isfinite(self.intercept) else 0.0
        return stored.astype(np.float64) * self.slope + intercept


_UNSCALED = Scaling()


def as_image(
    stored: NDArray[np.generic], name: str, scaling: Scaling = _UNSCALED
) -> tuple[NDArray[np.generic], tuple[str, ...]]:
    """Values of an image, in the type of the file where it is unscaled, else float32; and what was mended.

    Raises:
        InputError: The numbers are complex or colours, or none of them is finite.
    """
    check_real(stored.dtype, name)
    array = stored if scaling.is_none else _scaled(stored, scaling)
    if array.dtype.kind == "b":
        array = array.astype(np.uint8)
    return _finite(array, name)


def check_real(dtype: np.dtype[np.generic], name: str) -> None:
    """Refuse numbers that are no grey values.

    Raises:
        InputError: The type is complex, a colour, or no number.
    """
    if dtype.kind == "c":
        raise InputError(f"{name} holds complex numbers; give its magnitude (or real part) as a file of its own.")
    if dtype.kind not in "uifb":
        raise InputError(f"{name} holds colours ({dtype}), not grey values; convert it to grey values first.")


def as_labels(
    stored: NDArray[np.generic], name: str, scaling: Scaling = _UNSCALED
) -> tuple[NDArray[np.unsignedinteger], tuple[str, ...]]:
    """Values of a label map in the smallest of uint8 and uint16; and what was mended.

    Raises:
        NotALabelMapError: The numbers are not whole (but for noise), not finite, negative, or above 65,535.
    """
    check_real(stored.dtype, name)
    warnings: tuple[str, ...] = ()
    whole = stored
    if stored.dtype.kind == "f" or not scaling.is_none:
        whole, warnings = _rounded(stored, name, scaling)
    if whole.dtype.kind != "b" and whole.size:
        smallest, largest = whole.min(), whole.max()
        if smallest < 0 or largest > LARGEST_VALUE:
            wrong = smallest if smallest < 0 else largest
            raise NotALabelMapError(
                f"{name} is not a label map: it holds the value {wrong:g}; labels lie in 0…{LARGEST_VALUE}."
            )
        return np.asarray(whole).astype(np.uint8 if largest <= 255 else np.uint16), warnings
    return whole.astype(np.uint8), warnings


def several_layers(name: str, n: int) -> str:
    """Why a file of several layers or channels is no label map: a sentence."""
    return (
        f"{name} is not one label map: it holds {n} layers or channels. "
        "Export overlapping segments as one label map (Slicer: 'Export visible segments to labelmap')."
    )


def label_dtype(array: NDArray[np.generic]) -> type[np.uint8 | np.uint16 | np.int32]:
    """The smallest type for a label map in a file: uint8, uint16, else int32.

    Raises:
        InputError: A value is negative or too large for int32.
    """
    smallest, largest = int(array.min()), int(array.max())
    if smallest < 0 or largest > _LARGEST_INT32:
        raise InputError(f"A label map holds values from 0 to {_LARGEST_INT32}; this one has {smallest} to {largest}.")
    if largest <= 255:
        return np.uint8
    return np.uint16 if largest <= LARGEST_VALUE else np.int32


def _scaled(stored: NDArray[np.generic], scaling: Scaling) -> NDArray[np.float32]:
    # Slab by slab along the last axis (the slowest in files): float64 of the whole would be 8 bytes a voxel.
    scaled = np.empty_like(stored, np.float32)
    with np.errstate(over="ignore"):  # what float32 cannot hold becomes infinite, and is mended and told below
        for k in range(stored.shape[-1]):
            scaled[..., k] = scaling.apply(stored[..., k])
    return scaled


def _finite(array: NDArray[np.generic], name: str) -> tuple[NDArray[np.generic], tuple[str, ...]]:
    if array.dtype.kind != "f":
        return array, ()
    bad = ~np.isfinite(array)
    n_bad = int(np.count_nonzero(bad))
    if n_bad == 0:
        return array, ()
    if n_bad == array.size:
        raise InputError(f"{name} holds no finite value; there is no image in it.")
    smallest = array[~bad].min()
    mended = np.where(bad, smallest, array)
    return mended, (f"{n_bad} of {array.size} {NOT_FINITE}; they were set to the minimum, {smallest:g}.",)


def _rounded(stored: NDArray[np.generic], name: str, scaling: Scaling) -> tuple[NDArray[np.floating], tuple[str, ...]]:
    """Whole numbers of floats or scaled integers (still as floats), or a refusal."""
    values = np.asarray(stored) if scaling.is_none else scaling.apply(stored)
    n_bad = values.size - int(np.count_nonzero(np.isfinite(values)))
    if n_bad:
        raise NotALabelMapError(f"{name} is not a label map: {n_bad} of its voxels are not finite numbers.")
    rounded = np.rint(values)
    distance = np.abs(values - rounded)
    is_packed = stored.dtype.kind != "f" and abs(scaling.slope) < 1
    off = distance > (_tolerance_of(scaling) if is_packed else _ROUNDING)
    if off.any():
        raise NotALabelMapError(_not_whole(name, values[off], values.size, scaling))
    worst = float(distance.max(initial=0.0))
    if worst <= _ROUNDING:
        return rounded, ()
    if _n_distinct(stored) != _n_distinct(rounded):
        raise NotALabelMapError(_not_whole(name, values[distance > _ROUNDING], values.size, scaling))
    return rounded, (f"Labels were up to {worst:.3g} off whole numbers (a scaled file) and were rounded.",)


def _tolerance_of(scaling: Scaling) -> float:
    """How far from whole numbers labels may come back that were written into integers with a slope.

    Half a step where the writer rounded, a whole one where it cut off; the slope itself is a float32. So a whole step
    and a bit: no honest file lies near that limit, and what tells labels from interpolated values is that each stored
    number has a label of its own.
    """
    return min(_NEAREST_WHOLE, max(_ROUNDING, _STEPS * abs(scaling.slope)))


def _not_whole(name: str, wrong: NDArray[np.floating], n_voxels: int, scaling: Scaling) -> str:
    share = f"{100 * wrong.size / n_voxels:.3g} % of its voxels are not whole numbers (e.g. {float(wrong.flat[0]):.6g})"
    if scaling.is_none:
        return (
            f"{name} is not a label map: {share}; it looks resampled with interpolation. "
            "Resample labels with nearest neighbour."
        )
    return (
        f"{name} is not a label map: {share}. Its header scales the stored numbers by {scaling.slope:.6g} and adds "
        f"{scaling.intercept:.6g}; write labels as integers without a scale."
    )


def _n_distinct(array: NDArray[np.generic]) -> int:
    return int(np.unique(array).size)
