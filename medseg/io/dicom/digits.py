"""How finely a header writes its numbers, and which straight lines are possible within the digits that were written.

A position "12.3" stands for anything from 12.25 to 12.35 mm. Writers drop zeros at the end, so the finest number of a
series tells how many digits all were rounded to; a series of whole numbers only is taken at its word. The module knows
no grid and decides nothing.
"""

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from pydicom.dataset import Dataset

from medseg.io.dicom.find import text

__all__ = ["Line", "half_digit", "line_through", "n_decimals"]

_NO_DECIMALS = 0


@dataclass(frozen=True)
class Line:
    """The straight line that comes nearest to all values: `offset + slope * place`, off by `off` at most."""

    offset: float
    slope: float
    off: float


def half_digit(headers: Iterable[Dataset], keyword: str) -> float:
    """Half of the last digit that the headers write an attribute with; 0 where they write whole numbers.

    An image that breaks the rule of its fellows (a digit was lost on the way) changes nothing: the finest counts.
    """
    decimals = max((n_decimals(word) for each in headers for word in text(each, keyword).split("\\")), default=0)
    return 0.0 if decimals == _NO_DECIMALS else 0.5 * 10.0**-decimals


def n_decimals(word: str) -> int:
    """How many decimals a number is written with, 0 for what is no number.

    >>> n_decimals("-12.30"), n_decimals("5"), n_decimals("1.25e-1"), n_decimals("1.5e1")
    (2, 0, 3, 0)
    """
    mantissa, _, exponent = word.strip().lower().replace(",", ".").partition("e")
    decimals = len(mantissa.partition(".")[2])
    try:
        return max(0, decimals - int(exponent or "0"))
    except ValueError:
        return 0


def line_through(values: NDArray[np.float64], places: NDArray[np.float64]) -> Line:
    """The line that is nearest to the value that it is farthest from (Chebyshev's), for two values or more.

    The largest distance is a convex function of the slope, so its least is found by ternary search. At the best slope
    neither end is off by more than half of what the line through the ends leaves: that bounds the search.

    Args:
        values: One for each place.
        places: Rising.
    """
    length = float(places[-1] - places[0])
    through_ends = float(values[-1] - values[0]) / length
    reach = float(np.ptp(values - through_ends * places)) / length
    low, high = through_ends - reach, through_ends + reach
    for _ in range(_SEARCH_STEPS):
        third = (high - low) / 3
        if np.ptp(values - (low + third) * places) <= np.ptp(values - (high - third) * places):
            high -= third
        else:
            low += third
    slope = (low + high) / 2
    rest = values - slope * places
    return Line(float(rest.min() + rest.max()) / 2, slope, float(np.ptp(rest)) / 2)


_SEARCH_STEPS = 80
"""Each takes a third off the range of slopes: 80 leave 1e-14 of it."""
