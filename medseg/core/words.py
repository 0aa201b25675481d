"""Numbers with their nouns, for sentences."""

__all__ = ["counted", "operations"]


def counted(n: int, noun: str) -> str:
    """A number with its noun, which takes an s where there is not one of it.

    >>> counted(1, "case"), counted(2, "validation case"), counted(0, "label")
    ('1 case', '2 validation cases', '0 labels')
    """
    return f"{n:,} {noun}" if n == 1 else f"{n:,} {noun}s"


def operations(pflop: float) -> str:
    """How much was computed, in the unit that fits.

    >>> operations(0.00003), operations(0.0154), operations(258.0)
    ('30 GFLOP', '15.4 TFLOP', '258 PFLOP')
    """
    for factor, unit in ((1e6, "GFLOP"), (1e3, "TFLOP")):
        if pflop * factor < 1000:
            return f"{pflop * factor:.3g} {unit}"
    return f"{pflop:,.4g} PFLOP"
