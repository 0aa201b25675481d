"""Numbers for people."""

from math import floor, isfinite, log10

__all__ = ["number", "percent"]

BEYOND_COUNTING = 1e10
"""From here on nobody counts the zeros of a number."""


def number(value: float) -> str:
    """A number for people: four digits, thousands apart; beyond all counting a power of ten.

    >>> number(1234567.0), number(0.5), number(0.0), number(-3.4e38)
    ('1,235,000', '0.5', '0', '-3.4e+38')
    """
    if value == 0 or not isfinite(value):
        return "0"
    if 1000 <= abs(value) < BEYOND_COUNTING:
        digits = floor(log10(abs(value)))
        return f"{round(value, 3 - digits):,.0f}"
    return f"{value:.4g}"


def percent(share: float) -> str:
    """A share in percent with two digits, or more where it is near all; never a power of ten.

    >>> percent(1.0), percent(0.996), percent(0.0123), percent(0.00001), percent(0.0)
    ('100 %', '99.6 %', '1.2 %', '0.001 %', '0 %')
    """
    value = 100 * share
    if value >= 99:
        return f"{min(value, 99.99) if share < 1 else value:.4g} %"
    return f"{float(f'{value:.2g}'):.10f}".rstrip("0").rstrip(".") + " %"
