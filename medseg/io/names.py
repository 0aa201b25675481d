"""Names as files can hold them, and names of files as file systems compare them."""

import unicodedata
from collections.abc import Iterable

from medseg.core.labels import folded

__all__ = ["LONGEST_ID", "file_key", "fits_a_file", "unique_names"]

LONGEST_ID = 224
"""Bytes of a case's id: with the longest suffix of an output it still fits the 255 of a file name."""


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


def file_key(name: str) -> str:
    """A key that is equal for names that some file system takes for one: case and composition of letters do not count.

    >>> file_key("Case.NII") == file_key("case.nii"), file_key("u\u0308") == file_key("\u00fc")
    (True, True)
    """
    return unicodedata.normalize("NFC", unicodedata.normalize("NFC", name).casefold())


def fits_a_file(case_id: str) -> bool:
    """Whether a case's id leaves room for the suffixes of its outputs."""
    return len(case_id.encode("utf-8", "surrogateescape")) <= LONGEST_ID
