"""Which of many numbers stand out: by robust standard deviations from the median, in few cases not at all.

The median and the median absolute deviation are not moved by what stands out. A least standard deviation, given by the
caller in the unit of the numbers, keeps sets that are all alike from calling a hair's breadth an outlier.
"""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

__all__ = ["FEWEST", "STANDS_OUT", "are_few", "robust_z", "standing_out"]

FEWEST = 8
"""Of fewer numbers nobody can say what is usual."""

STANDS_OUT = 5.0
"""Robust standard deviations: of normal numbers one in two million, of skewed ones (volumes of lesions) still few."""

FEW_SHARE = 0.1
FEW = 2
"""What more than this share of the numbers (and more than two) have is no outlier but another group."""

_MAD_TO_SD = 1.4826


def robust_z(values: Sequence[float], least_sd: float) -> NDArray[np.float64]:
    """How many robust standard deviations each number lies from the median; not finite numbers count as the median."""
    numbers = np.asarray(values, np.float64)
    finite = np.isfinite(numbers)
    if not finite.any():
        return np.zeros_like(numbers)
    middle = float(np.median(numbers[finite]))
    sd = max(_MAD_TO_SD * float(np.median(np.abs(numbers[finite] - middle))), least_sd)
    return np.where(finite, (numbers - middle) / sd, 0.0)


def standing_out(values: Sequence[float], least_sd: float) -> list[int]:
    """The places of the numbers that stand out; none of too few.

    >>> standing_out([1.0] * 9 + [2.0], least_sd=0.1)
    [9]
    """
    if len(values) < FEWEST:
        return []
    return [int(n) for n in np.flatnonzero(np.abs(robust_z(values, least_sd)) >= STANDS_OUT)]


def are_few(n_out: int, n: int) -> bool:
    """Whether those that stand out are exceptions, to be told one by one, and not a group of their own."""
    return n_out <= max(FEW, FEW_SHARE * n)
