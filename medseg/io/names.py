"""Names of labels as files can hold them."""

from collections.abc import Iterable

from medseg.core.labels import folded

__all__ = ["unique_names"]

LONGEST = 64
"""Characters of a long string of DICOM (LO), which names of segments and structures are."""


def unique_names(names: Iterable[str], longest: int = LONGEST) -> dict[str, str]:
    """Each name as files can hold it: without backslash and control characters, short enough, and no two alike.

    >>> unique_names(["Lung", "lung", "liver "])
    {'Lung': 'Lung', 'lung': 'lung 2', 'liver ': 'liver'}
    """
    found: dict[str, str] = {}
    taken: set[str] = set()
    for name in names:
        plain = "".join(c if c.isprintable() and c != "\\" else "_" for c in name).strip() or "_"
        candidate, number = plain[:longest].rstrip(), 2
        while folded(candidate) in taken:
            ending = f" {number}"
            candidate, number = plain[: longest - len(ending)].rstrip() + ending, number + 1
        found[name] = candidate
        taken.add(folded(candidate))
    return found
