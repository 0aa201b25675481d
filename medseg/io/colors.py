"""Which colour a label is shown in, the same in every format that has colours for labels.

What is declared of a label goes first, then what the table of structures recommends for its name, then its place in the
data set, in the palette that pictures have. The module knows no file.
"""

from collections.abc import Iterable, Mapping

from medseg.io.dicom.codes import RGB, Declaration, meaning_of
from medseg.io.raster import palette

__all__ = ["colors_of"]


def colors_of(names: Iterable[str], declared: Mapping[str, Declaration] | None = None) -> dict[str, RGB]:
    """The colour of each name, in their order."""
    declared, fallback = declared or {}, palette()
    found: dict[str, RGB] = {}
    for number, name in enumerate(names):
        red, green, blue = (int(part) for part in fallback[number % 255 + 1])
        found[name] = meaning_of(name, declared.get(name)).color or (red, green, blue)
    return found
