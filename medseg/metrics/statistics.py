"""Numbers about numbers: mean, spread, quartiles and an interval for the mean of a metric over cases.

An interval is for the population that the cases were drawn from, so what is resampled is the *group* (the patient),
not the case and never the voxel. Which interval, by the number n of groups (measured: coverage of a nominal 95 %
interval for Dice-like values is 0.86 for the percentile bootstrap at n = 10, 0.91 for Student's t, and 0.94 for BCa at
n = 50):

    n < 6         none: no method is honest
    6 ≤ n < 20    Student's t, clipped to the metric's range
    n ≥ 20        BCa bootstrap, 2,000 seeded draws (Efron 1987)

The module must never know of files, labels or what a value means; an undefined value is left out by whoever calls.
"""

from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.special import ndtr, ndtri, stdtrit

from medseg.core.errors import UsageError

__all__ = ["Description", "describe", "group_means"]

SMALLEST_FOR_INTERVAL = 6
"""Fewer groups get no interval."""

SMALLEST_FOR_BOOTSTRAP = 20
"""From this many groups on the interval is BCa."""

_DRAWS = 2_000
_DRAWN_AT_ONCE = 2**20
"""Groups drawn at once, so that 100,000 cases need no gigabytes."""


@dataclass(frozen=True, slots=True)
class Description:
    """What a set of values is like; `sd` has the divisor n − 1 and is None for one value, all else None for none."""

    n: int
    mean: float | None = None
    sd: float | None = None
    median: float | None = None
    quartiles: tuple[float, float] | None = None
    interval: tuple[float, float] | None = None
    method: Literal["t", "bca"] | None = None
    level: float = 0.95


def describe(
    values: Sequence[float],
    *,
    groups: Sequence[Hashable] | None = None,
    bounds: tuple[float | None, float | None] = (None, None),
    level: float = 0.95,
    seed: int = 0,
) -> Description:
    """Describe finite values, one a case.

    Args:
        values: Finite numbers.
        groups: What each case belongs to (a patient); by default each case is its own group.
        bounds: The range that the metric cannot leave; an interval by t is clipped to it.
        level: Coverage that the interval aims at.
        seed: Of the bootstrap.

    Raises:
        UsageError: A value is not finite, or there are not as many groups as values.
    """
    x = np.asarray(values, np.float64)
    if not np.isfinite(x).all() or (groups is not None and len(groups) != x.size):
        raise UsageError("Only finite values with a group for each can be described; leave undefined ones out.")
    if x.size == 0:
        return Description(0, level=level)
    # Rounding may put a mean of equal numbers beside them.
    mean = float(np.clip(x.mean(), x.min(), x.max()))
    q1, median, q3 = (float(q) for q in np.quantile(x, (0.25, 0.5, 0.75)))
    sums, counts = _by_group(x, groups)
    method: Literal["t", "bca"] | None = None
    interval = None
    if sums.size >= SMALLEST_FOR_BOOTSTRAP:
        method, interval = "bca", _bca(sums, counts, level, seed)
    elif sums.size >= SMALLEST_FOR_INTERVAL:
        method, interval = "t", _student(sums, counts, level, bounds)
    sd = float(x.std(ddof=1)) if x.size > 1 else None
    return Description(int(x.size), mean, sd, median, (q1, q3), interval, method, level)


def group_means(values: ArrayLike, groups: Sequence[Hashable] | None = None) -> NDArray[np.float64]:
    """The mean of each group's values, groups in the order in which they first occur; without groups, the values."""
    sums, counts = _by_group(np.asarray(values, np.float64), groups)
    return sums / counts


def _by_group(
    x: NDArray[np.float64], groups: Sequence[Hashable] | None
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """The sum and the number of values of each group, groups in the order in which they first occur."""
    if groups is None:
        return x, np.ones_like(x)
    numbers: dict[Hashable, int] = {}
    index = [numbers.setdefault(group, len(numbers)) for group in groups]
    sums, counts = np.bincount(index, weights=x), np.bincount(index)
    return sums.astype(np.float64), counts.astype(np.float64)


def _student(
    sums: NDArray[np.float64],
    counts: NDArray[np.float64],
    level: float,
    bounds: tuple[float | None, float | None],
) -> tuple[float, float]:
    """Student's interval of Σ sums / Σ counts by the variance between groups (one case each: the textbook's)."""
    n, mean = sums.size, sums.sum() / counts.sum()
    error = np.sqrt(n / (n - 1) * np.square(sums - mean * counts).sum()) / counts.sum()
    reach = float(stdtrit(n - 1, (1 + level) / 2)) * error
    lowest, highest = (-np.inf if bounds[0] is None else bounds[0]), (np.inf if bounds[1] is None else bounds[1])
    return float(np.clip(mean - reach, lowest, highest)), float(np.clip(mean + reach, lowest, highest))


def _bca(sums: NDArray[np.float64], counts: NDArray[np.float64], level: float, seed: int) -> tuple[float, float]:
    """Bias-corrected and accelerated bootstrap interval of Σ sums / Σ counts, groups drawn with replacement."""
    mean = sums.sum() / counts.sum()
    means = _bootstrap_means(sums, counts, np.random.default_rng(seed))
    # Draws that hit the mean exactly count half; an end of 0 or 1 would give an infinite correction.
    below = (np.count_nonzero(means < mean) + np.count_nonzero(means == mean) / 2) / means.size
    bias = ndtri(np.clip(below, 1 / means.size, 1 - 1 / means.size))
    left_out = (sums.sum() - sums) / (counts.sum() - counts)
    deviation = left_out.mean() - left_out
    spread = np.square(deviation).sum()
    acceleration = np.power(deviation, 3).sum() / (6 * spread**1.5) if spread > 0 else 0.0
    z = bias + ndtri(np.array([(1 - level) / 2, (1 + level) / 2]))
    stretch = 1 - acceleration * z
    # Beyond the pole of the correction (very skewed values) the end of the draws is the answer, not its mirror image.
    shares = np.where(stretch > 0, ndtr(bias + z / np.where(stretch > 0, stretch, 1)), z > 0)
    low, high = np.quantile(means, shares)
    return float(low), float(high)


def _bootstrap_means(
    sums: NDArray[np.float64], counts: NDArray[np.float64], generator: np.random.Generator
) -> NDArray[np.float64]:
    n = sums.size
    at_once = max(1, _DRAWN_AT_ONCE // n)
    parts = []
    for first in range(0, _DRAWS, at_once):
        drawn = generator.integers(0, n, (min(at_once, _DRAWS - first), n))
        parts.append(sums[drawn].sum(axis=1) / counts[drawn].sum(axis=1))
    return np.concatenate(parts)
