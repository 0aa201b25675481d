"""Numbers with their nouns, for sentences."""

__all__ = ["counted"]


def counted(n: int, noun: str) -> str:
    """A number with its noun, which takes an s where there is not one of it.

    >>> counted(1, "case"), counted(2, "validation case"), counted(0, "label")
    ('1 case', '2 validation cases', '0 labels')
    """
    return f"{n:,} {noun}" if n == 1 else f"{n:,} {noun}s"
