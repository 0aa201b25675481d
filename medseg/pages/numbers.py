"""Numbers for people."""

from math import floor, isfinite, log10

__all__ = ["number"]


def number(value: float) -> str:
    """A number for people: four digits, thousands apart.

    >>> number(1234567.0), number(0.5), number(0.0)
    ('1,235,000', '0.5', '0')
    """
    if value == 0 or not isfinite(value):
        return "0"
    if abs(value) >= 1000:
        digits = floor(log10(abs(value)))
        return f"{round(value, 3 - digits):,.0f}"
    return f"{value:.4g}"
