"""Distances of slices along their normal: even, with slices missing, or uneven; and what fills an uneven stack.

Positions are millimetres along the normal, rising. An even stack has one step; where slices are missing, each distance
is a whole number of steps; anything else is uneven. What is interpolated is said: an `Interpolation` names, for each
slice of the grid, the two slices that there are and the share of the second. The module knows no files and no pixels.
"""

from dataclasses import dataclass, replace
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray

from medseg.core.errors import InputError
from medseg.io.dicom.digits import line_through
from medseg.io.dicom.words import counted
from medseg.io.options import ReadOptions

__all__ = ["COARSEST_SHARE", "ROUNDING", "SAME_PLACE_MM", "SAME_PLACE_SHARE", "Interpolation", "Laid", "lay"]

SAME_PLACE_MM = 0.01
SAME_PLACE_SHARE = 0.01
"""Two slices nearer than 0.01 mm or 1 % of the step are at one place; steps may differ by as much."""

_DRIFT_SHARE = 0.05
"""How far, in steps, a slice may lie from its place on the even grid (a slow drift), or a gap from k steps."""

ROUNDING = 1 + 1e-6
"""Rounded positions lie exactly half a digit off at worst, and arithmetic adds its own: so comparisons allow more."""

COARSEST_SHARE = 0.2
"""Digits coarser than this share of a step excuse nothing: 0, 1, 3 lies within a quarter of a step of an even grid."""

_MOST_STEPS = 4
"""Where every other slice and more are missing, the usual distance is up to so many steps."""

_FINE_QUANTILE = 0.25
"""An uneven stack gets the step that a quarter of its distances do not exceed: thin slices keep their detail."""

_MOST_INVENTED = 1.0
"""How many slices may be interpolated for each one that is there."""


@dataclass(frozen=True, eq=False)
class Interpolation:
    """How slices on an even grid come from those that there are.

    Attributes:
        lower: For each slice of the grid, the slice that is there at or below it.
        upper: The one at or above it.
        share: How much of it is the upper one, 0 to 1; 0 where it is `lower` itself.
    """

    lower: NDArray[np.intp]
    upper: NDArray[np.intp]
    share: NDArray[np.float64]

    def sources(self) -> tuple[int | None, ...]:
        """For each slice of the grid the slice that it is, None where it is interpolated."""
        return tuple(None if s else int(n) for n, s in zip(self.lower, self.share, strict=True))

    def apply(self, array: NDArray[Any]) -> NDArray[Any]:
        """An array (i, j, k) of the slices that there are, on the even grid; whole numbers are rounded."""
        shape = (*array.shape[:2], len(self.lower))
        result = np.empty(shape, array.dtype, order="F")
        for k, (lower, upper, share) in enumerate(zip(self.lower, self.upper, self.share, strict=True)):
            below = array[..., lower]
            if share:
                mixed = below * (1 - share) + array[..., upper] * share
                result[..., k] = np.rint(mixed) if array.dtype.kind in "iu" else mixed
            else:
                result[..., k] = below
        return result


@dataclass(frozen=True, eq=False)
class Laid:
    """Slices on an even grid.

    Attributes:
        kept: Which of the slices are used, rising.
        places: For each kept slice its place on the grid, in steps from the first; whole but for uneven stacks.
        interpolation: How the grid's slices come from the kept ones; None if they are these.
        notes: What was done.
        is_rounded: Whether the slices are even only within the digits that their positions are written with.
    """

    kept: NDArray[np.intp]
    places: NDArray[np.float64]
    interpolation: Interpolation | None = None
    notes: tuple[str, ...] = ()
    is_rounded: bool = False

    @property
    def n_slices(self) -> int:
        return round(float(self.places[-1])) + 1


def lay(along: NDArray[np.float64], series: str, options: ReadOptions, rounding_mm: float = 0.0) -> Laid:
    """Give slices at rising positions their places on an even grid.

    Args:
        along: Positions along the normal in mm, two or more.
        series: What the sentences call the series.
        options: `missing` and `uneven` say what to do where the slices are not even.
        rounding_mm: How far a position may be off by the digits that it is written with.

    Raises:
        InputError: Slices are missing or uneven, and nothing was said about it.
    """
    everyone = np.arange(len(along))
    if _is_even(along, everyone):
        return Laid(everyone, everyone.astype(float))
    rounding_mm = rounding_mm if rounding_mm <= COARSEST_SHARE * _step(along) else 0.0
    if _fits(along, everyone.astype(float), rounding_mm):
        return Laid(everyone, everyone.astype(float), is_rounded=True)
    gaps = np.diff(along)
    for step in (_step(along), max(gaps.min(), _step(along) / _MOST_STEPS)):
        places = np.concatenate([[0], np.cumsum(np.rint(gaps / step))])
        if _has_gaps(places) and _is_on_grid(along, places):
            return _missing(along, places, series, options)
    places = _rounded_places(along, _step(along))
    if places[-1] < (1 + _MOST_INVENTED) * len(along) and _has_gaps(places) and _fits(along, places, rounding_mm):
        return replace(_missing(along, places, series, options), is_rounded=True)
    return _uneven(along, series, options)


def _has_gaps(places: NDArray[np.float64]) -> bool:
    gaps = np.diff(places)
    return bool(gaps.min() >= 1 and gaps.max() > 1)


def _fits(along: NDArray[np.float64], places: NDArray[np.float64], rounding_mm: float) -> bool:
    """Whether positions on an even grid could have been written as these."""
    return rounding_mm > 0 and line_through(along, places).off <= ROUNDING * rounding_mm


def _rounded_places(along: NDArray[np.float64], step: float) -> NDArray[np.float64]:
    """Places by a step that is estimated from all single steps: one alone is off by two roundings."""
    gaps = np.diff(along)
    places = np.concatenate([[0], np.cumsum(np.rint(gaps / step))])
    single = gaps[np.diff(places) == 1]
    step = float(single.mean()) if single.size else step
    return np.concatenate([[0], np.cumsum(np.rint(gaps / step))])


def _step(along: NDArray[np.float64]) -> float:
    """The (lower) median: of 100 slices a missing one moves the mean by 1 % only, but its own distance by 100 %."""
    gaps = np.sort(np.diff(along))
    return float(gaps[(len(gaps) - 1) // 2])


def _is_even(along: NDArray[np.float64], places: NDArray[Any]) -> bool:
    step = _step(along)
    tolerance_mm = ROUNDING * max(SAME_PLACE_MM, SAME_PLACE_SHARE * step)
    return bool(np.abs(np.diff(along) - step).max() <= tolerance_mm) and _is_on_grid(along, places)


def _is_on_grid(along: NDArray[np.float64], places: NDArray[Any]) -> bool:
    """Whether each slice is near its place, and each distance near its number of steps."""
    step = (along[-1] - along[0]) / places[-1]
    drift = np.abs(along - along[0] - places * step).max()
    off = np.abs(np.diff(along) - np.diff(places) * step).max()
    return bool(max(drift, off) <= _DRIFT_SHARE * step)


def _missing(along: NDArray[np.float64], places: NDArray[np.float64], series: str, options: ReadOptions) -> Laid:
    gaps = np.diff(places)
    n_missing = int(gaps.sum()) - len(gaps)
    first = int(np.argmax(gaps > 1))
    where = f"between {along[first]:.1f} and {along[first + 1]:.1f} mm along its normal"
    if (gaps > 1).sum() > 1:
        where += f", and at {counted(int((gaps > 1).sum()) - 1, 'other place')}"
    lacks = f"Series {series} lacks {counted(n_missing, 'slice')} ({where})"
    if options.missing == "largest-run":
        return _largest_run(gaps, lacks)
    if options.missing == "refuse":
        fill = ["--read missing=fill interpolates them"] if n_missing <= _MOST_INVENTED * len(along) else []
        run = ["--read missing=largest-run takes the longest unbroken part"] if gaps.min() == 1 else []
        raise InputError(f"{lacks}; complete the folder{', or ' if fill or run else ''}{', '.join(fill + run)}.")
    if n_missing > _MOST_INVENTED * len(along):
        raise InputError(f"{lacks}, more than the {len(along)} that there are: too many to interpolate.")
    even = np.arange(places[-1] + 1)
    notes = (f"{lacks}; they were interpolated.",)
    return Laid(np.arange(len(along)), places, _between(places, even), notes)


def _largest_run(gaps: NDArray[np.float64], lacks: str) -> Laid:
    ends = [-1, *np.flatnonzero(gaps > 1), len(gaps)]
    runs = [(int(a) + 1, int(b) + 1) for a, b in pairwise(ends)]
    start, stop = max(runs, key=lambda run: run[1] - run[0])
    n_aside = len(gaps) + 1 - (stop - start)
    note = f"{lacks}; the longest unbroken part of {stop - start} was taken, {counted(n_aside, 'slice')} left aside."
    return Laid(np.arange(start, stop), np.arange(stop - start, dtype=float), None, (note,))


def _uneven(along: NDArray[np.float64], series: str, options: ReadOptions) -> Laid:
    gaps = np.diff(along)
    what = f"Series {series} has uneven slice distances ({gaps.min():.3g} to {gaps.max():.3g} mm)"
    length_mm = along[-1] - along[0]
    n_steps = max(1, round(length_mm / float(np.quantile(gaps, _FINE_QUANTILE, method="higher"))))
    if n_steps + 1 > (1 + _MOST_INVENTED) * len(along):
        raise InputError(f"{what}; an even grid would have {n_steps + 1} slices for the {len(along)} that there are.")
    if options.uneven == "refuse":
        raise InputError(f"{what}; --read uneven=resample puts it on an even grid.")
    places = (along - along[0]) / length_mm * n_steps
    note = f"{what}; they were interpolated on an even grid of {length_mm / n_steps:.4g} mm."
    return Laid(np.arange(len(along)), places, _between(places, np.arange(n_steps + 1.0)), (note,))


def _between(places: NDArray[np.float64], even: NDArray[np.float64]) -> Interpolation:
    """Neighbours and share for each place of the even grid; a slice that is nearly there is taken as it is."""
    upper = np.clip(np.searchsorted(places, even), 1, len(places) - 1)
    lower = upper - 1
    share = (even - places[lower]) / (places[upper] - places[lower])
    share = np.where(np.abs(share) * np.diff(places)[lower] <= SAME_PLACE_SHARE, 0, share)
    at_upper = np.abs(1 - share) * np.diff(places)[lower] <= SAME_PLACE_SHARE
    lower, share = np.where(at_upper, upper, lower), np.where(at_upper, 0, share)
    return Interpolation(lower, np.where(share == 0, lower, upper), share)
