"""Numbers and lists as sentences say them."""

from collections.abc import Sequence

__all__ = ["counted", "few", "left_aside"]


def counted(n: int, what: str) -> str:
    """A number of things.

    >>> counted(1, "slice"), counted(2, "slice"), counted(2, "copy")
    ('1 slice', '2 slices', '2 copies')
    """
    if n == 1:
        return f"1 {what}"
    return f"{n} {what.removesuffix('y')}ies" if what.endswith("y") else f"{n} {what}s"


def few(words: Sequence[str], n: int, between: str = ", ") -> str:
    """The first `n` words, and how many more there are.

    >>> few(["a", "b", "c"], 2)
    'a, b, and 1 more'
    """
    listed = between.join(words[:n])
    return listed if len(words) <= n else f"{listed}{between}and {len(words) - n} more"


def left_aside(n: int, what: str, which: str = "") -> str:
    """The sentence that things were not used.

    >>> left_aside(2, "image", " of another orientation")
    '2 images of another orientation were left aside.'
    """
    return f"{counted(n, what)}{which} {'was' if n == 1 else 'were'} left aside."
